"""`OBC_AI["CACHE"]`: defaults, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

from django_obc_ai.conf import find_errors, get_settings


def read(**cache: Any) -> Any:
    with override_settings(OBC_AI={"CACHE": cache}):
        return get_settings().cache


def test_without_the_key_nothing_is_stale_and_no_model_is_watched() -> None:
    cache = read()
    assert (cache.alias, cache.stale_seconds, cache.models) == ("default", 0, ())
    assert (cache.compress_over_bytes, cache.max_bytes) == (2_048, 1_000_000)


def test_what_is_given_is_taken() -> None:
    cache = read(stale_seconds=60, compress_over_bytes=1, max_bytes=9, models=["auth.Group"])
    assert (cache.stale_seconds, cache.compress_over_bytes) == (60, 1)
    assert (cache.max_bytes, cache.models) == (9, ("auth.Group",))


@pytest.mark.parametrize(
    ("cache", "text"),
    [
        ({"stale_seconds": -1}, "['stale_seconds'] is -1."),
        ({"stale_seconds": False}, "['stale_seconds'] is of type bool, not a whole number, 0"),
        ({"stale_seconds": 0.0}, "['stale_seconds'] is of type float, not a whole number, 0"),
        ({"compress_over_bytes": 0}, "['compress_over_bytes'] is 0."),
        ({"max_bytes": None}, "['max_bytes'] is of type NoneType, not a whole number above 0"),
        ({"models": "auth.Group"}, "['models'] is of type str, not a list of models"),
        ({"models": [3]}, "['models'][0] is of type int, not a non-empty string"),
        ({"models": ["auth.Group", "Group"]}, "['models'][1] names no model."),
        ({"stale": 1}, "has the unknown key 'stale'"),
    ],
    ids=repr,
)
def test_what_is_no_value_is_refused(cache: dict[str, Any], text: str) -> None:
    with override_settings(OBC_AI={"CACHE": cache}):
        (error,) = find_errors()
    assert text in str(error)
