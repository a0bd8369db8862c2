"""What people do in the exercises and in the acceptance test, with what came, as JSON.

Started by test_people.py in a process of its own, on a loaded and indexed database, with the
exercises on its command line.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "example_project"))
os.environ["DJANGO_SETTINGS_MODULE"] = "obc_site.settings"

import django

django.setup()

from django.contrib.auth.models import Permission, User  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import setup_test_environment  # noqa: E402
from django.urls import reverse  # noqa: E402

from communities.models import Community, Province  # noqa: E402
from django_obc_ai.models import AIOperation  # noqa: E402
from django_obc_ai.services.chat import ChatService  # noqa: E402

UPI = "How many residents does the poblacion of Upi have?"
OPERATIONS = "/admin/django_obc_ai/aioperation/"
SCENARIOS: dict[str, Callable[[], str]] = {}


def scenario(number: int) -> Callable[[Callable[[], str]], Callable[[], str]]:
    """Note what somebody does; it returns what they see, with the status before it."""

    def note(what: Callable[[], str]) -> Callable[[], str]:
        SCENARIOS[str(number)] = what
        return what

    return note


def seen(client: Client, path: str, **data: str) -> str:
    answer = client.get(path, data)
    return f"{answer.status_code} {answer.headers.get('Location', '')} {answer.content.decode()}"


def person(name: str, *rights: str) -> Client:
    user, _ = User.objects.get_or_create(username=name, is_staff=bool(rights))
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    client = Client()
    client.force_login(user)
    return client


def told(message: str, client: Client | None = None) -> str:
    """Ask as a visitor who begins anew."""
    who = client or Client()
    answer = who.post("/api/chat/", {"message": message}, content_type="application/json")
    return f"{answer.status_code} {json.dumps(answer.json(), ensure_ascii=False)}"


def reader() -> Client:
    return person("reader", "view_aioperation", "view_dashboard")


@scenario(1)
def first_page() -> str:
    return seen(Client(), "/")


@scenario(2)
def search() -> str:
    return seen(Client(), "/search/", q="poblacion upi")


@scenario(3)
def search_nothing() -> str:
    return seen(Client(), "/search/", q="%%%")


@scenario(4)
def ask() -> str:
    answer = Client().post("/search/ask/", {"q": "poblacion upi", "question": UPI})
    return f"{answer.status_code} {answer.content.decode()}"


@scenario(8)
def delete() -> str:
    before = Community.objects.count()
    answer = told("Delete all barangays of Basilan")
    same = SCENARIOS["5"]()
    return f"{answer} {Community.objects.count() == before and 'There are 210' in same}"


@scenario(11)
def stranger_in_admin() -> str:
    return seen(Client(), "/admin/")


@scenario(12)
def guest_in_admin() -> str:
    return seen(person("guest"), OPERATIONS)


@scenario(13)
def reader_in_admin() -> str:
    asked = AIOperation.objects.filter(module="communities").latest("created_at")
    page = seen(reader(), OPERATIONS)
    return f"{page} {str(asked.pk) in page}"


@scenario(14)
def dashboard() -> str:
    return seen(reader(), reverse("admin:django_obc_ai_dashboard"))


@scenario(15)
def conversation_of_another() -> str:
    answer = told("How many provinces are there?", reader())
    key = json.loads(answer.partition(" ")[2])["conversation"]
    own = seen(reader(), f"/api/conversations/{key}/")[:3]
    return f"{own} {seen(person('guest'), f'/api/conversations/{key}/')}"


def find(query: str, province: str = "") -> dict[str, Any]:
    given = {"q": query}
    if province:
        given["province"] = str(Province.objects.get(name=province).pk)
    answer = Client().get("/search/", given)
    found = [each.object for each in answer.context.get("results") or ()]
    return {
        "page": answer.content.decode(),
        "places": [f"{each.name}, {each.municipality.name}" for each in found],
        "provinces": sorted({each.municipality.province.name for each in found}),
    }


if __name__ == "__main__":
    setup_test_environment()
    given = json.loads(sys.argv[1])
    for number, question in given["scenarios"].items():
        SCENARIOS.setdefault(number, lambda question=question: told(question))
    results = {
        "exercises": {
            question: ChatService().send(question, user=None).text for question in given["chat"]
        },
        "searches": [find("poblacion upi"), find("poblacion upi", "Lanao del Sur"), find("%%%")],
        "scenarios": {number: SCENARIOS[number]() for number in sorted(SCENARIOS, key=int)},
    }
    print(json.dumps(results))
