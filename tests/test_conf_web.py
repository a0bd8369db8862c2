"""``OBC_AI["WEB"]``: what is taken, and what is said of the rest."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.test import override_settings

from django_obc_ai.conf import find_errors, get_settings
from django_obc_ai.services.text import scope_of
from django_obc_ai.types.settings import Rate, WebSettings


def web(**entry: Any) -> WebSettings:
    with override_settings(OBC_AI={"WEB": entry}):
        return get_settings().web


def error_of(**entry: Any) -> str:
    with override_settings(OBC_AI={"WEB": entry}):
        (error,) = find_errors()
    return f"{error} {error.hint}"


def test_nothing_set_keeps_strangers_out_and_counts_everybody() -> None:
    found = web()
    assert (found.anonymous_scope, found.may_ask, found.trusted_proxies) == (None, None, 0)
    assert found.throttles == {
        "anon": Rate(requests=100, seconds=3600),
        "user": Rate(requests=1000, seconds=3600),
        "burst": Rate(requests=60, seconds=60),
    }


def test_one_throttle_is_changed_and_the_others_stay() -> None:
    found = web(throttles={"anon": None, "burst": "5/second"}).throttles
    assert found["anon"] is None
    assert found["burst"] == Rate(requests=5, seconds=1)
    assert found["user"] == Rate(requests=1000, seconds=3600)


@pytest.mark.parametrize(
    ("rate", "seconds"),
    [("3/s", 1), ("3/sec", 1), ("3/min", 60), ("3/hours", 3600), ("3/d", 86_400)],
)
def test_periods_may_be_shortened(rate: str, seconds: int) -> None:
    assert web(throttles={"user": rate}).throttles["user"] == Rate(requests=3, seconds=seconds)


@pytest.mark.parametrize("rate", ["", "5", "0/hour", "-1/hour", "5/week", "5 / hour", "five/hour"])
def test_what_is_no_rate_is_refused(rate: str) -> None:
    assert "OBC_AI['WEB']['throttles']['anon'] is no rate. Write it" in error_of(
        throttles={"anon": rate}
    )


@pytest.mark.parametrize(
    "entry",
    [
        {"anonymous_scope": 5},
        {"may_ask": True},
        {"throttles": ["5/hour"]},
        {"throttles": {"anon": 5}},
        {"throttle_cache": None},
        {"trusted_proxies": True},
        {"trusted_proxies": -1},
        {"max_body_bytes": 0},
        {"max_body_bytes": 1.5},
        {"keep_alive_seconds": 0},
        {"keep_alive_seconds": "15"},
    ],
    ids=str,
)
def test_wrong_values_are_named(entry: dict[str, Any]) -> None:
    assert f"OBC_AI['WEB']['{next(iter(entry))}']" in error_of(**entry)


@pytest.mark.parametrize("entry", [{"throtles": {}}, {"throttles": {"annon": "5/hour"}}], ids=str)
def test_unknown_names_have_the_nearest_in_the_hint(entry: dict[str, Any]) -> None:
    assert "throttles" in error_of(**entry)


def test_strangers_have_the_anonymous_scope_and_nobody_else() -> None:
    known = User(username="amina")
    with override_settings(OBC_AI={"WEB": {"anonymous_scope": "visitors"}, "SCOPE": _scope}):
        assert scope_of(AnonymousUser()) == "visitors"
        assert scope_of(known) == "of amina"
        assert scope_of(None) == "of nobody"  # a program, not a person on the network


def test_without_it_the_project_names_their_scope() -> None:
    with override_settings(OBC_AI={"SCOPE": _scope}):
        assert scope_of(AnonymousUser()) == "of "


def _scope(user: Any) -> str:
    return "of nobody" if user is None else f"of {user.username}"
