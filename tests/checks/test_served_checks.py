"""W021, W023, W024, W026 and W027: what people on the network can do, under ``check --deploy``."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from django.test import override_settings
from django.urls import include, path

from django_obc_ai.api.prometheus import metrics_view
from django_obc_ai.checks.served import check_served
from tests.checks.test_checks import PRIVATE, SHARED, assert_only, found

pytestmark = pytest.mark.django_db
#: Ours by name alone, so that no extra is needed: the checks look at nothing else.
API = include(([path("chat/", metrics_view)], "django_obc_ai_api"))
CHAT = include(([path("", metrics_view)], "django_obc_ai_chat"))
OFF = {"anon": None, "user": None, "burst": None}
CACHES = {**SHARED, "own": PRIVATE["default"]}


def served(**includes: Any) -> Any:
    """Serve addresses, each include below its name, and the answers' cache from all workers."""
    urls = ModuleType("urls_of_a_test")
    urls.urlpatterns = [path(f"{name}/", each) for name, each in includes.items()]  # type: ignore[attr-defined]  # a module made here
    return override_settings(ROOT_URLCONF=urls, CACHES=CACHES)


@pytest.fixture(autouse=True)
def _both() -> Iterator[None]:
    with served(api=API, chat=CHAT):
        yield


def web(**settings: Any) -> list[Any]:
    return found(deploy=True, WEB=settings)


ALL_WRONG = {"WEB": {"throttles": OFF, "throttle_cache": "own", "anonymous_scope": "visitors"}}


def test_who_serves_no_address_of_ours_is_not_warned() -> None:
    proxied = override_settings(
        SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
        SESSION_ENGINE="django.contrib.sessions.backends.cache",
        SESSION_CACHE_ALIAS="own",
    )
    with proxied:
        assert len(found(deploy=True, **ALL_WRONG)) == 4  # two of them are of one cache
        assert found(deploy=False, **ALL_WRONG) == []
        with served(metrics=include([path("", metrics_view)])):
            assert found(deploy=True, **ALL_WRONG) == []


def test_addresses_below_others_are_found() -> None:
    inner = include(([path("ai/", API)], "ours"))
    with served(site=include([path("more/", inner)])):
        messages = web(anonymous_scope="visitors")
    assert_only("W024", messages, "can reach the REST API may ask")


def test_a_broken_urlconf_is_left_to_django() -> None:
    with override_settings(ROOT_URLCONF="tests.no_such_urls"):
        assert check_served() == []


def test_W021_each_worker_counts_for_itself() -> None:  # noqa: N802
    assert_only("W021", web(throttle_cache="own"), "LocMemCache")


def test_one_cache_is_warned_of_once() -> None:
    with override_settings(CACHES=PRIVATE, SESSION_ENGINE="django.contrib.sessions.backends.cache"):
        assert_only("W003", found(deploy=True))


@pytest.mark.parametrize(
    ("throttles", "names"),
    [
        ({"anon": None}, "'anon'"),
        ({"user": None}, "'user'"),
        ({"burst": None}, "'burst'"),
        (OFF, "'anon' and 'user' and 'burst'"),
    ],
)
def test_W023_throttles_switched_off(throttles: Any, names: str) -> None:  # noqa: N802
    messages = web(throttles=throttles)
    assert_only("W023", messages, f"OBC_AI['WEB']['throttles'] switches off {names}: one person")
    assert f"Remove {names} there" in messages[0].hint
    assert ("passwords" in messages[0].msg) == (throttles == OFF)


def test_a_throttle_that_counts_nobody_may_be_off() -> None:
    with served(chat=CHAT):  # where people log in first, and not by way of these addresses
        assert web(throttles={"anon": None}) == []
        codes = {each.id for each in web(throttles={"anon": None}, anonymous_scope="visitors")}
    assert codes == {"django_obc_ai.W023", "django_obc_ai.W024"}


def test_slow_rates_are_rates() -> None:
    assert web(throttles={"anon": "1/day", "user": "100000/second", "burst": "1/second"}) == []


def test_W024_open_to_everybody() -> None:  # noqa: N802
    messages = web(anonymous_scope="visitors")
    assert_only("W024", messages, "is 'visitors': everybody who can reach the chat page and the RE")
    with override_settings(SILENCED_SYSTEM_CHECKS=["django_obc_ai.W024"]):
        assert all(each.is_silenced() for each in messages)
    assert web(anonymous_scope=None) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECURE_PROXY_SSL_HEADER", ("HTTP_X_FORWARDED_PROTO", "https")),
        ("USE_X_FORWARDED_HOST", True),
        ("USE_X_FORWARDED_PORT", True),
    ],
)
def test_W026_a_proxy_that_is_not_counted(name: str, value: Any) -> None:  # noqa: N802
    with override_settings(**{name: value}):
        assert_only("W026", web(), f"{name} says that a proxy stands in front, but")
        assert web(trusted_proxies=1) == []
    assert web() == []


def test_W027_sessions_that_one_worker_knows() -> None:  # noqa: N802
    engine = "django.contrib.sessions.backends"
    with override_settings(SESSION_ENGINE=f"{engine}.cache", SESSION_CACHE_ALIAS="own"):
        assert_only("W027", web(), "Sessions are kept in the cache 'own', a LocMemCache")
    for name, alias in (("cached_db", "own"), ("cache", "default")):
        with override_settings(SESSION_ENGINE=f"{engine}.{name}", SESSION_CACHE_ALIAS=alias):
            assert web() == []
