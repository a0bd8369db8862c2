"""Words that look dangerous are only words, in the values of plans and in questions."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from django_obc_ai.chat.guard import check_message
from django_obc_ai.chat.query import run
from tests.testapp.models import Place

WORDS = (
    "update delete open raw system executive drop insert exec eval import select union script"
    " password admin root grant alter truncate create set lock kill remove replace shell cast table"
    " order group limit where from like null true false regex lambda class super global"
).split()
PLANS = [(word, lookup) for word in WORDS for lookup in ("exact", "icontains", "startswith")]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("declared")]


@pytest.fixture
def named(asker: User) -> User:
    Place.objects.bulk_create(
        Place(name=f"{word.title()} Barangay", province=f"of {word}") for word in WORDS
    )
    return asker


def test_no_benign_plan_is_refused_and_each_finds_its_rows(named: User) -> None:
    assert len(PLANS) >= 120
    for word, lookup in PLANS:
        value = {"exact": f"{word.title()} Barangay", "icontains": word}.get(lookup, word.title())
        condition = {"path": "name", "lookup": lookup, "value": value, "negate": False}
        plan: dict[str, Any] = {"kind": "query", "model": "testapp.Place", "fields": ["name"]}
        found = run({**plan, "filters": [condition]}, user=named)
        wanted = Place.objects.filter(**{f"name__{lookup}": value}).order_by("name")
        assert [row[0] for row in found.rows] == list(wanted.values_list("name", flat=True))
        assert f"{word.title()} Barangay" in [row[0] for row in found.rows]


@pytest.mark.parametrize("word", WORDS)
def test_a_question_about_such_a_name_passes(word: str) -> None:
    question = f"How many communities are in {word.title()} Barangay?"
    assert check_message(question) == question
