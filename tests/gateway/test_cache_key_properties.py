"""The cache key: one thing that shapes an answer is different, and it misses; nothing else does.

Fields are found by themselves: one that is new must be told here which kind it is, or a test fails.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

import pytest
from django.test import override_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from django_obc_ai.gateway import cache
from django_obc_ai.gateway.book import CallBook
from django_obc_ai.testing import override_ai
from django_obc_ai.types import CallInfo, GenerationRequest, Message, ProviderResponse, Source

SCRIPTED = "django_obc_ai.testing.provider.ScriptedProvider"
OPTIONS: dict[str, Any] = {"script": ["A"], "model": "m", "max_output_tokens": 9}
PROVIDERS = {"default": {"BACKEND": SCRIPTED, "OPTIONS": OPTIONS}}

#: Few letters, and among them those that could end one text and begin another.
TEXTS = st.text(alphabet="ab0:,\n[]'\" é\ud800", max_size=4)
OTHER_OPTIONS = st.dictionaries(TEXTS, st.one_of(TEXTS, st.integers(0, 2)), max_size=2)
BY_FIELD: dict[str, st.SearchStrategy[Any]] = {
    "prompt": TEXTS,
    "model": TEXTS,
    "system": TEXTS,
    "history": st.lists(
        st.builds(Message, role=st.sampled_from(["user", "assistant"]), text=TEXTS), max_size=2
    ).map(tuple),
    "sources": st.lists(st.builds(Source, text=TEXTS, title=TEXTS), max_size=2).map(tuple),
    "response_schema": st.none() | st.dictionaries(TEXTS, TEXTS, max_size=2),
    "max_output_tokens": st.none() | st.integers(1, 3),
    "temperature": st.none() | st.sampled_from([0.0, 0.5, 1.0]),
    "options": OTHER_OPTIONS,
    "prompt_version": TEXTS,
}
REQUESTS = st.builds(GenerationRequest, **BY_FIELD)
INFO = CallInfo(operation_id=uuid.UUID(int=0), scope="tenant", user_id=1)
#: What a call may differ in and still be given the same answer.
SHAPELESS: dict[str, Any] = {
    "operation_id": uuid.UUID(int=1),
    "operation_type": "chat",
    "module": "mana",
    "content_type": "static",
    "user_id": 2,
    "cache_ttl_seconds": 50,
    "may_retry": False,
    "reads_cache": False,
    "line": lambda alias: None,
    "lends_connections": True,
}
SHAPING: dict[str, Any] = {
    "provider": "second",
    "scope": "other tenant",
    "cache_tags": (("places", "v2"),),
    "varies_by_user": True,
    "use_cache": False,
}


@pytest.fixture(autouse=True)
def _cached() -> Iterator[None]:
    with override_ai(PROVIDERS={**PROVIDERS, "second": PROVIDERS["default"]}):
        yield


def _is_served(
    stored: tuple[GenerationRequest, CallInfo], asked: tuple[GenerationRequest, CallInfo]
) -> bool:
    answer = ProviderResponse(text=uuid.uuid4().hex, model="m")
    assert cache.put(*stored, answer, cost_usd=Decimal(1)) is not None
    found = cache.get(*asked)
    return found is not None and found.text == answer.text


def test_every_field_of_a_request_is_changed_here() -> None:
    assert set(BY_FIELD) == {field.name for field in fields(GenerationRequest)}
    made = {kind: {field.name for field in fields(kind)} for kind in (Message, Source)}
    assert made == {Message: {"role", "text"}, Source: {"text", "title"}}


def test_every_field_of_a_call_shapes_the_answer_or_does_not() -> None:
    assert set(SHAPELESS) | set(SHAPING) == {field.name for field in fields(CallInfo)}
    assert not set(SHAPELESS) & set(SHAPING)


@settings(max_examples=200, deadline=None)
@given(request=REQUESTS, name=st.sampled_from(sorted(BY_FIELD)), data=st.data())
def test_a_request_that_differs_in_any_field_misses(
    request: GenerationRequest, name: str, data: st.DataObject
) -> None:
    other = replace(request, **{name: data.draw(BY_FIELD[name])})
    assert _is_served((request, INFO), (other, INFO)) == (other == request)


@settings(max_examples=300, deadline=None)
@given(one=REQUESTS, two=REQUESTS)
def test_two_requests_have_one_entry_only_if_they_are_equal(
    one: GenerationRequest, two: GenerationRequest
) -> None:
    is_same = cache.entry_of(one, INFO) == cache.entry_of(two, INFO)
    assert is_same == (one == two and _orders(one) == _orders(two))


def _orders(request: GenerationRequest) -> list[str]:
    """The order of a schema's properties is that of the answer; that of options is nobody's."""
    return list(request.response_schema or ())


def test_the_order_of_a_schemas_properties_shapes_the_answer_and_that_of_options_does_not() -> None:
    one = GenerationRequest(prompt="Q", options={"a": 1, "b": 2})
    assert _is_served((one, INFO), (replace(one, options={"b": 2, "a": 1}), INFO))
    schema = {"properties": {"reason": {}, "answer": {}}}
    turned = {"properties": {"answer": {}, "reason": {}}}
    thought = replace(one, response_schema=schema)
    assert not _is_served((thought, INFO), (replace(one, response_schema=turned), INFO))


@given(request=REQUESTS)
@settings(max_examples=200, deadline=None)
def test_a_provider_is_asked_all_of_it_with_its_own_model_and_bound(
    request: GenerationRequest,
) -> None:
    book = CallBook(request, INFO)
    book._fit_to("default")
    most = 9 if request.max_output_tokens is None else request.max_output_tokens
    assert book.request == replace(request, model=request.model or "m", max_output_tokens=most)


@pytest.mark.parametrize("name", sorted(SHAPELESS))
def test_what_does_not_shape_the_answer_may_differ(name: str) -> None:
    request = GenerationRequest(prompt="Q")
    assert _is_served((request, INFO), (request, replace(INFO, **{name: SHAPELESS[name]})))


@pytest.mark.parametrize("name", sorted(SHAPING))
def test_what_shapes_the_answer_of_a_call_may_not(name: str) -> None:
    request = GenerationRequest(prompt="Q")
    assert not _is_served((request, INFO), (request, replace(INFO, **{name: SHAPING[name]})))


def test_an_answer_that_varies_by_user_is_for_that_user_alone() -> None:
    request, info = GenerationRequest(prompt="Q"), replace(INFO, varies_by_user=True)
    assert _is_served((request, info), (request, info))
    for other in (2, "1", uuid.UUID(int=1), None):
        assert not _is_served((request, info), (request, replace(info, user_id=other)))


def test_a_personal_answer_of_nobody_is_not_stored_and_not_looked_up() -> None:
    request, info = GenerationRequest(prompt="Q"), replace(INFO, varies_by_user=True, user_id=None)
    assert cache.put(request, info, ProviderResponse(text="A"), cost_usd=Decimal(1)) is None
    assert not cache.is_used(info)
    assert cache.get(request, info) is None


@pytest.mark.parametrize("change", [
    {"BACKEND": "tests.gateway.test_cache_key_properties.Other"},
    {"OPTIONS": {**OPTIONS, "model": "other"}},
    {"OPTIONS": {**OPTIONS, "max_output_tokens": 8}},
    {"OPTIONS": {**OPTIONS, "base_url": "http://127.0.0.1/"}},
    {"OPTIONS": {**OPTIONS, "nested": {"a": [1, {"b": 2}]}}},
], ids=str)  # fmt: skip
def test_another_backend_or_option_misses_and_another_key_does_not(change: dict[str, Any]) -> None:
    request = GenerationRequest(prompt="Q")
    before = cache.entry_of(request, INFO)
    entry = {**PROVIDERS["default"], **change}
    with override_settings(OBC_AI={"PROVIDERS": {"default": entry}}):
        assert cache.entry_of(request, INFO) != before
    keyed = {"BACKEND": SCRIPTED, "OPTIONS": {**OPTIONS, "api_key": "secret"}}
    with override_settings(OBC_AI={"PROVIDERS": {"default": keyed}}):
        assert cache.entry_of(request, INFO) == before
    with override_settings(SECRET_KEY="another"):
        assert cache.entry_of(request, INFO) != before
    assert cache.entry_of(request, INFO) == before


def test_ten_thousand_requests_of_two_tenants_cross_nowhere() -> None:
    """Each answer says for whom it was made; an equal question of another is not given it."""
    import random

    chance = random.Random(8)
    letters, given_to, hits = ["", "a", "b", "ab", "ba"], {}, 0
    for number in range(10_000):
        scope, user = chance.choice(["t", "ta"]), chance.choice([None, 1, 2, 11])
        is_personal = chance.random() < 0.5
        request = GenerationRequest(
            prompt=chance.choice(letters),
            system=chance.choice(letters[:3]),
            sources=(Source(text=chance.choice(letters[:2])),) * chance.randint(0, 2),
        )
        info = CallInfo(
            operation_id=uuid.UUID(int=number),
            scope=scope,
            user_id=user,
            varies_by_user=is_personal,
            cache_tags=chance.choice([(), (("a", "1"),), (("a", "2"),)]),
        )
        meant_for = (scope, user if is_personal else "anybody", request, info.cache_tags)
        found = cache.get(request, info)
        if found is None:
            text = f"answer {number}"
            cache.put(request, info, ProviderResponse(text=text), cost_usd=Decimal(0))
            given_to[text] = meant_for
        else:
            hits += 1
            assert given_to[found.text] == meant_for
            assert not (is_personal and user is None)
    assert hits > 1_000
