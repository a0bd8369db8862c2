"""Visit the example site with Django's test client and print what came back, as JSON.

Started by test_example.py in a process of its own, with the example's settings on a loaded and
indexed database. It commits for real, as the site does.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "example_project"))
os.environ["DJANGO_SETTINGS_MODULE"] = "obc_site.settings"

import django

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import setup_test_environment  # noqa: E402

from communities.models import Community, Province  # noqa: E402
from django_obc_ai.exceptions import TransientError  # noqa: E402
from django_obc_ai.models import AIOperation  # noqa: E402
from django_obc_ai.testing import override_ai  # noqa: E402

QUESTION = {"q": "poblacion upi", "question": "How many residents does the poblacion of Upi have?"}
pages: dict[str, Any] = {}


def keep(name: str, response: HttpResponse) -> None:
    pages[name] = {
        "status": response.status_code,
        "html": response.content.decode(),
        "csp": response.headers.get("Content-Security-Policy", ""),
        "location": response.headers.get("Location", ""),
    }


def visit_pages(client: Client) -> None:
    keep("home", client.get("/"))
    keep("blank", client.get("/search/"))
    keep("search", client.get("/search/", {"q": "poblacion upi"}))
    province = Province.objects.get(name="Lanao del Sur")
    found = client.get("/search/", {"q": "poblacion upi", "province": province.pk})
    keep("filtered", found)
    pages["filtered_provinces"] = sorted(
        {each.object.municipality.province.name for each in found.context["results"]}
    )
    keep("nothing", client.get("/search/", {"q": "%%%"}))
    keep("empty_query", client.get("/search/", {"q": " "}))
    keep("wrong_province", client.get("/search/", {"q": "upi", "province": "x"}))
    shown = Community.objects.get(name="Nuro Poblacion")
    keep("community", client.get(shown.get_absolute_url()))
    unverified = Community.objects.filter(is_position_verified=False).first()
    assert unverified is not None
    keep("unverified", client.get(unverified.get_absolute_url()))
    keep("no_community", client.get("/communities/0000000000/"))
    keep("head", client.head("/"))


def visit_answers(client: Client) -> None:
    keep("answer", client.post("/search/ask/", QUESTION))
    keep("answer_again", client.post("/search/ask/", QUESTION))
    keep("no_question", client.post("/search/ask/", QUESTION | {"question": ""}))
    keep("ask_by_get", client.get("/search/ask/"))
    keep("ask_without_token", Client(enforce_csrf_checks=True).post("/search/ask/", QUESTION))
    pages["operations"] = list(
        AIOperation.objects.order_by("created_at").values_list("cached", "success", "module")
    )
    with override_ai(script=["Eight thousand [1], or so [99]. <b>"]):
        keep("ask_paid_anonymous", client.post("/search/ask/", QUESTION))
        client.force_login(get_user_model().objects.get(username="ana"))
        keep("ask_paid", client.post("/search/ask/", QUESTION))
    with override_ai(script=[TransientError("down")] * 5, RETRY={"attempts": 1}):
        keep("ask_fails", client.post("/search/ask/", QUESTION))
    few = {"throttles": {"anon": "1/hour", "user": "1/hour"}}
    with override_ai(script=["Not asked."], WEB=few):
        keep("ask_too_often", client.post("/search/ask/", QUESTION))


def visit_chat(client: Client) -> None:
    keep("chat", client.get("/chat/"))
    asked = client.post("/chat/", {"message": "How many barangays are in Basilan?"})
    keep("chat_asked", asked)
    keep("chat_answer", client.get(asked["Location"]))
    keep("chat_of_others", Client().get(asked["Location"]))
    sent = {"message": "Ilang barangay ang nasa Lanao del Sur?"}
    api = client.post("/api/chat/", sent, content_type="application/json")
    pages["chat_api"] = {"status": api.status_code, **api.json()}


def visit_admin(client: Client) -> None:
    for name in ("region", "province", "municipality", "community"):
        keep(f"admin_{name}", client.get(f"/admin/communities/{name}/?q=upi"))
    keep("admin_operations", client.get("/admin/django_obc_ai/aioperation/"))


def change_rows(client: Client) -> None:
    """Save and delete a row; the index follows without a command."""
    renamed = Community.objects.get(name="Nuro Poblacion")
    renamed.name = "Quezonquartz"
    renamed.save()
    keep("renamed", client.get("/search/", {"q": "quezonquartz"}))
    renamed.delete()
    keep("deleted", client.get("/search/", {"q": "quezonquartz"}))


if __name__ == "__main__":
    setup_test_environment()
    get_user_model().objects.create_superuser("ana", "ana@example.org", "not-a-secret")
    browser = Client()
    visit_pages(browser)
    visit_chat(browser)
    visit_answers(browser)
    visit_admin(browser)
    change_rows(browser)
    print(json.dumps(pages))
