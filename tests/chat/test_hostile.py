"""A corpus of plans and messages that try to get at, or change, what they may not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection, reset_queries
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_obc_ai.chat.guard import check_message, check_plan
from django_obc_ai.chat.query import run
from django_obc_ai.exceptions import DangerousQuery
from django_obc_ai.services.chat import ChatService
from tests.chat.surveys import DECLARED
from tests.testapp.models import Place, Survey, Tag

_HERE = Path(__file__).parent
PLANS: list[dict[str, Any]] = json.loads((_HERE / "hostile_plans.json").read_text())
MESSAGES: list[dict[str, str]] = json.loads((_HERE / "hostile_messages.json").read_text())
BENIGN: list[str] = json.loads((_HERE / "benign_messages.json").read_text())
#: Columns that no declaration names and no scope of surveys.py reads.
HIDDEN = ("answers_secret", "data", "province", "password", "email", "is_superuser", "is_staff",
          "last_login", "session_key", "session_data", "codename")  # fmt: skip
CANARY = "canary-7f3a"
READ_ONLY = "I can only read data, not modify it."
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _declared() -> Iterator[None]:
    with override_settings(OBC_AI={"CHAT": {"models": DECLARED, "suggestions": False}}):
        yield


@pytest.fixture
def root(db: None) -> User:
    """A superuser, with hidden rows and columns around that hold a canary."""
    root = User.objects.create_superuser("root", email=f"{CANARY}@example.org", password=CANARY)
    ghost = User.objects.create_user("ghost")
    secret = Place.objects.create(
        name=f"secret {CANARY}", province=CANARY, is_hidden=True, owner=root
    )
    hidden = Tag.objects.create(name="hidden")
    for place in (secret, Place.objects.create(name="open", owner=ghost), None):
        Survey.objects.create(title="a", place=place, by_slug=hidden, answers_secret=CANARY)
    return root


def _snapshot() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in (User, Place, Tag, Survey)]


def test_the_corpus_is_large_and_holds_every_category() -> None:
    assert len(PLANS) + len(MESSAGES) >= 250
    assert len({each["why"] for each in PLANS}) >= 25
    texts = [json.dumps(each, sort_keys=True) for each in PLANS]
    assert len(set(texts)) == len(texts)


def test_hostile_plans_are_refused_without_a_query_or_are_harmless(root: User) -> None:
    before = _snapshot()
    for each in PLANS:
        reset_queries()  # a full log would leave every capture empty
        with CaptureQueriesContext(connection) as captured:
            try:
                result = run(each["plan"], user=root)
            except DangerousQuery:
                result = None
        outcome = "refused" if result is None else "harmless"
        assert outcome == each["expect"], each
        if result is None:
            assert len(captured) == 0, each
            continue
        assert len(captured) >= 3, each
        assert CANARY not in repr(result.rows), each
        for statement in captured.captured_queries:
            sql = statement["sql"]
            assert sql.startswith(("SELECT", "SAVEPOINT", "ROLLBACK TO", "RELEASE")), each
            assert not any(f'"{name}"' in sql for name in HIDDEN), each
    assert _snapshot() == before


def test_whoever_is_not_logged_in_gets_no_more(root: User) -> None:
    for user in (None, AnonymousUser(), User.objects.create_user("nobody")):
        for each in PLANS:
            if each["expect"] == "refused":
                with pytest.raises(DangerousQuery):
                    check_plan(each["plan"], user=user)


def test_refusals_tell_neither_values_nor_names(root: User) -> None:
    names = {"answers_secret", "is_hidden", "password", "email", "owner", "tags", "permission"}
    for each in PLANS:
        if each["expect"] == "refused":
            with pytest.raises(DangerousQuery) as caught:
                check_plan(each["plan"], user=root)
            assert not any(name in str(caught.value) for name in names), each


@pytest.mark.parametrize("case", MESSAGES, ids=map(str, range(len(MESSAGES))))
def test_hostile_messages_change_nothing_and_show_nothing_hidden(
    case: dict[str, str], root: User
) -> None:
    if case["expect"] == "write":
        with pytest.raises(DangerousQuery) as caught:
            check_message(case["message"])
        assert str(caught.value) == READ_ONLY
    before = _snapshot()
    with CaptureQueriesContext(connection) as captured:
        answer = ChatService().send(case["message"], user=root)
    assert _snapshot() == before
    assert CANARY not in answer.text + repr(answer.rows) + repr(answer.citations)
    for statement in captured.captured_queries:
        sql = statement["sql"]
        about_data = any(f'"{model._meta.db_table}"' in sql for model in (User, Place, Tag, Survey))
        if about_data and "django_obc_ai" not in sql:
            assert sql.startswith("SELECT"), sql
            assert not any(f'"{name}"' in sql for name in HIDDEN), sql


@pytest.mark.parametrize("message", BENIGN)
def test_benign_messages_pass(message: str) -> None:
    assert check_message(message) == message
