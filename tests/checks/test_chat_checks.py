"""One test for each system check of the models that may be asked about."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import checks

from django_obc_ai.chat import ChatModel, register
from django_obc_ai.chat.registry import unregister
from tests.checks.test_checks import assert_only, found
from tests.testapp.models import Slugged

PLACE = {"fields": ["name"], "visible_to": lambda rows, user: rows}
SURVEY = {
    "fields": {"title": "Title.", "status": ""},
    "relations": ["place"],
    "lookups": {"title": ["exact"]},
    "aggregates": ["count"],
    "default_fields": ["title"],
    "field_synonyms": {"title": ["pamagat"], "place": ["lugar"]},
    "visible_to": lambda rows, user: rows,
}


def faults(**changes: Any) -> list[checks.CheckMessage]:
    models = {"testapp.Place": PLACE, "testapp.Survey": {**SURVEY, **changes}}
    return found(CHAT={"models": models})


def test_a_sound_declaration_is_silent() -> None:
    assert faults() == []


def test_E009_no_visible_to() -> None:  # noqa: N802
    @register
    class SluggedChat(ChatModel):
        model = Slugged
        fields = ("title",)

    try:
        assert_only("E009", found(), "The chat declaration of testapp.Slugged does not define")
    finally:
        unregister("testapp.Slugged")


@pytest.mark.parametrize(
    ("changes", "text", "hint"),
    [
        ({"fields": ["titel"], "default_fields": [], "lookups": {}, "field_synonyms": {}},
         "fields names 'titel', which the model lacks.", "'title'"),
        ({"fields": ["title", "data"]}, "fields names 'data', which chat cannot handle.", ""),
        ({"fields": ["title", "place"]}, "fields names 'place', which chat cannot handle.", ""),
        ({"fields": ["title", "place_id"]}, "fields names 'place_id', which the model lacks.", ""),
        ({"fields": ["title", "pk"]}, "fields names 'pk', which the model lacks.", ""),
        ({"relations": ["plaice"], "field_synonyms": {}}, "'plaice', which is no relation",
         "'place'"),
        ({"relations": ["by_slug"], "field_synonyms": {}}, "but testapp.Tag may not be asked", ""),
        ({"lookups": {"title": ["regex"]}}, "lookups['title'] names 'regex', which is none.", ""),
        ({"lookups": {"titel": ["exact"]}}, "lookups names 'titel', which is none.", "'title'"),
        ({"aggregates": ["cuont"]}, "aggregates names 'cuont', which is none.", "'count'"),
        ({"default_fields": ["stats"]}, "default_fields names 'stats', which is none.", "'status'"),
        ({"field_synonyms": {"x": ["y"]}}, "field_synonyms names 'x', which is none.", ""),
        ({"fields": "title"}, "fields is no list of names.", "['name']"),
        ({"relations": ("place")}, "relations is no list of names.", "['name']"),
        ({"lookups": {"title": "exact"}}, "lookups['title'] is no list of names.", ""),
        ({"lookups": ["title"]}, "lookups is no dictionary.", ""),
        ({"fields": [1]}, "fields is no list of names.", ""),
    ],
)  # fmt: skip
def test_E018_names_that_are_none(changes: Any, text: str, hint: str) -> None:  # noqa: N802
    messages = faults(**changes)
    assert_only("E018", messages, text)
    assert hint in (messages[0].hint or "")


@pytest.mark.parametrize(
    "change",
    [
        {"max_rows": 0}, {"max_rows": True}, {"max_rows": "5"}, {"max_seconds": 0},
        {"max_seconds": float("nan")}, {"max_seconds": None}, {"min_group_size": -1},
        {"needs_permission": "no"},
    ],
)  # fmt: skip
def test_E019_limits_that_are_none(change: Any) -> None:  # noqa: N802
    (message,) = faults(**change)
    assert_only("E019", [message], f": {next(iter(change))} is not ")


@pytest.mark.parametrize("name", ["token", "answers_secret"])
def test_W016_a_field_that_looks_like_a_secret(name: str) -> None:  # noqa: N802
    (message,) = faults(fields=["title", name])
    assert_only("W016", [message], f"lets people ask about {name!r}, which looks like a secret.")


def test_a_model_that_does_not_exist_is_named() -> None:
    (message,) = found(CHAT={"models": {"testapp.Plaice": PLACE}})
    assert_only("E002", [message], "names no model of an installed app.")
    assert "testapp.Place" in (message.hint or "")
