"""One process that asks while rows change: ``python -m tests.gateway.ask_in_process JSON``.

JSON holds DATABASES, CACHES, OBC_AI, the url of a Redis server and the keys of the rows. For each
row the writer counts there what it has committed. Prints "ready", asks until the key "over" is
there, and then prints how many answers it got, how many from the cache, and which were stale: older
than what had been committed before it asked, or of a transaction that was rolled back.
"""

from __future__ import annotations

import json
import random
import sys

import django
from django.conf import settings


def main() -> None:
    given = json.loads(sys.argv[1])
    settings.configure(
        DATABASES=given["DATABASES"],
        CACHES=given["CACHES"],
        OBC_AI=given["OBC_AI"],
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django_obc_ai",
            "tests.testapp",
        ],
        USE_TZ=True,
        SECRET_KEY="only for tests",
    )
    django.setup()

    import valkey
    from django.db import connections

    from django_obc_ai.services.cache import read_tags
    from django_obc_ai.services.text import TextService
    from tests.testapp.models import Place

    asked = cached = 0
    stale: list[str] = []
    with valkey.Valkey.from_url(given["url"], decode_responses=True) as client:
        print("ready", flush=True)
        while client.get("over") is None:
            pk = random.choice(given["pks"])
            committed = int(client.get(f"committed:{pk}") or 0)
            seen = read_tags(Place(pk=pk))
            result = TextService().generate_text(str(pk), cache_tags=seen)
            result.raise_for_error()
            asked, cached = asked + 1, cached + result.cached
            if int(result.text.split()[0]) < committed:
                stale.append(f"{result.text} after {committed}, cached: {result.cached}")
    connections.close_all()
    print(json.dumps([asked, cached, stale]))


if __name__ == "__main__":
    main()
