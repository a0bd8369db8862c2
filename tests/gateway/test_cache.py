"""The response cache: what hits, what misses, what is never stored."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from django.contrib.auth import get_user_model
from django.core.cache.backends.locmem import LocMemCache
from django.test import override_settings

from django_obc_ai.contexts import BaseContext
from django_obc_ai.gateway import cache
from django_obc_ai.models import AIOperation
from django_obc_ai.services.cache import invalidate, read_tags
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import Reply
from django_obc_ai.types import CallInfo, GenerationRequest, Message, Source
from tests.gateway.conftest import Scripted

pytestmark = pytest.mark.django_db


class PersonalContext(BaseContext):
    """A context that names the user."""

    varies_by_user: ClassVar[bool] = True

    def render(self, *, user: Any, operation_type: str, module: str) -> str:
        return "Speak plainly."


class BrokenCache(LocMemCache):
    """A cache whose server is gone."""

    def get(self, *args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("gone")

    set = add = get_many = get


def test_the_same_question_is_paid_once(scripted: Scripted) -> None:
    kit = scripted("A")
    first = TextService().generate_text("Q")
    again = TextService().generate_text("Q")
    assert kit.provider.call_count == 1
    assert (first.cached, again.cached, again.text) == (False, True, "A")
    assert (again.cost, again.tokens_used, again.model) == (0, 0, "scripted")
    row = AIOperation.objects.get(pk=again.operation_id)
    assert (row.cached, row.cost_usd, row.attempts, row.success) == (True, 0, 0, True)


DIFFERENCES: list[dict[str, Any]] = [
    {"prompt": "Q "},
    {"scope": "other"},
    {"system_context": "Other."},
    {"sources": [Source(text="S")]},
    {"sources": [Source(text="S", title="T")]},
    {"history": [Message(role="user", text="H")]},
    {"history": [Message(role="assistant", text="H")]},
    {"response_schema": {"type": "string"}},
    {"max_output_tokens": 7},
    {"temperature": 0.0},
]


@pytest.mark.parametrize("difference", DIFFERENCES, ids=str)
def test_whatever_shapes_the_answer_is_in_the_key(
    scripted: Scripted, difference: dict[str, Any]
) -> None:
    kit = scripted('"A"', '"B"')
    assert TextService().generate_text("Q").text == '"A"'
    assert TextService().generate_text(**{"prompt": "Q", **difference}).text == '"B"'
    assert kit.provider.call_count == 2


def test_another_model_or_option_of_the_backend_misses(scripted: Scripted) -> None:
    kit = scripted("A", "B")
    TextService().generate_text("Q")
    assert TextService(model="other").generate_text("Q").text == "B"
    assert kit.provider.call_count == 2


def test_what_does_not_shape_the_answer_is_not_in_the_key(scripted: Scripted) -> None:
    kit = scripted("A")
    user = get_user_model().objects.create_user("amina")
    TextService().generate_text("Q")
    TextService().generate_text("Q", user=user, module="mana", operation_type="chat")
    assert kit.provider.call_count == 1


def test_answers_that_vary_by_user_are_kept_apart(scripted: Scripted) -> None:
    kit = scripted("A", "B", CONTEXT=[f"{__name__}.PersonalContext"])
    users = [get_user_model().objects.create_user(name) for name in ("amina", "omar")]
    for _ in range(2):
        assert [TextService().generate_text("Q", user=user).text for user in users] == ["A", "B"]
    assert kit.provider.call_count == 2


@pytest.mark.parametrize("reason", ["length", "other", "interrupted"])
def test_unfinished_answers_are_never_stored(scripted: Scripted, reason: Any) -> None:
    kit = scripted(Reply("A", finish_reason=reason), "B")
    TextService().generate_text("Q")
    assert TextService().generate_text("Q").text == "B"
    assert kit.provider.call_count == 2


def test_failed_and_blocked_answers_are_never_stored(scripted: Scripted) -> None:
    scripted(Reply("A", finish_reason="blocked"), RuntimeError(), "B")
    assert [TextService().generate_text("Q").text for _ in range(3)] == ["", "", "B"]


@pytest.mark.parametrize("options", [{"use_cache": False}, {"cache_ttl": 0}])
def test_the_cache_can_be_left_out(scripted: Scripted, options: dict[str, Any]) -> None:
    scripted("A", "B", "C")
    assert TextService().generate_text("Q", **options).text == "A"
    assert TextService().generate_text("Q").text == "B"
    expected = "B" if "cache_ttl" in options else "C"
    assert TextService().generate_text("Q", **options).text == expected


def test_the_cache_can_be_switched_off(scripted: Scripted) -> None:
    scripted("A", "B", CACHE={"alias": None})
    texts = [TextService().generate_text("Q", cache_tags=["t"]).text for _ in range(2)]
    invalidate(tags=["t"])
    assert texts == ["A", "B"]


@pytest.mark.parametrize(
    ("content_type", "ttl", "wanted"),
    [("analysis", None, 86_400), ("static", None, 604_800), ("chat", None, 3_600), ("chat", 5, 5)],
)
def test_the_time_to_live_follows_the_content_type(
    scripted: Scripted,
    monkeypatch: pytest.MonkeyPatch,
    content_type: str,
    ttl: int | None,
    wanted: int,
) -> None:
    scripted("A")
    stored: list[int] = []
    original = LocMemCache.set

    def set_noting(self: Any, key: str, value: Any, timeout: int, **_: Any) -> None:
        stored.append(timeout)
        original(self, key, value, timeout)

    monkeypatch.setattr(LocMemCache, "set", set_noting)
    TextService().generate_text("Q", content_type=content_type, cache_ttl=ttl)
    assert stored == [wanted]


def test_a_broken_cache_is_a_miss_and_fails_no_call(
    settings: Any, scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CACHES = {"default": {"BACKEND": f"{__name__}.BrokenCache"}}
    scripted("A", "B", CACHE={"alias": "default"})
    texts = [TextService().generate_text("Q", cache_tags=["t"]).text for _ in range(2)]
    assert texts == ["A", "B"]
    assert "The response cache failed to answer" in caplog.text


def test_dropping_a_tag_drops_its_answers_only(scripted: Scripted) -> None:
    scripted("A", "B", "C")
    TextService().generate_text("one", cache_tags=["places", "people"])
    TextService().generate_text("two", cache_tags=["people"])
    invalidate(tags=["places"])
    assert TextService().generate_text("two", cache_tags=["people"]).text == "B"
    assert TextService().generate_text("one", cache_tags=["places", "people"]).text == "C"


def test_an_answer_from_before_an_edit_and_stored_after_it_is_never_served(
    scripted: Scripted,
) -> None:
    scripted("old", "new")
    tags = read_tags("places")  # then the rows are read, and then somebody edits them
    invalidate(tags=["places"])
    TextService().generate_text("Q", cache_tags=tags)
    assert TextService().generate_text("Q", cache_tags=["places"]).text == "new"


def test_keys_reveal_nothing_and_depend_on_the_project(scripted: Scripted) -> None:
    scripted("A")
    request = GenerationRequest(prompt="a very secret prompt")
    info = CallInfo(operation_id=None, scope="tenant-7")  # type: ignore[arg-type]  # not in the key
    key = cache.key_of(cache.entry_of(request, info))
    assert "secret" not in key
    assert "tenant" not in key
    with override_settings(SECRET_KEY="another"):
        assert cache.key_of(cache.entry_of(request, info)) != key
