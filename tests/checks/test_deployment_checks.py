"""W022, W025 and W028: money, folders and Redis on a server, under ``check --deploy``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from django_obc_ai.backends.coordinators.redis import RedisCoordinator
from django_obc_ai.backends.cost_stores.redis import RedisCostStore
from django_obc_ai.backends.lexical_stores.bm25 import BM25LexicalStore
from django_obc_ai.backends.providers.google_generativeai import GoogleGenerativeAIProvider
from django_obc_ai.backends.task_runners.celery import CeleryRunner
from django_obc_ai.checks.redis_databases import check_redis_databases
from tests.checks.test_checks import BUDGET, PRICED, SHARED, assert_only, found
from tests.extras import is_installed, requires
from tests.fakes import KEY, FolderStore, KeyedProvider, entry

pytestmark = pytest.mark.django_db(transaction=True)
PAID = {"PROVIDERS": entry(KeyedProvider, api_key=KEY), "PRICES": PRICED}
REDIS = "django.core.cache.backends.redis.RedisCache"

if is_installed("celery"):
    from celery import Celery

    app = Celery("shared", set_as_current=False, broker="redis://:secret@localhost/3")
    silent = Celery("silent", set_as_current=False)


@pytest.fixture(autouse=True)
def _shared_cache() -> Any:
    with override_settings(CACHES=SHARED):
        yield


@pytest.mark.parametrize(
    ("budgets", "text"),
    [
        ([], "no budget in OBC_AI['BUDGETS'] limits the dollars of all its calls"),
        ([{"scope": "global", "period": "day", "limit_requests": 9}], "no budget in OBC_AI"),
        ([{**BUDGET, "scope": "module", "key": "mana"}], "no budget in OBC_AI['BUDGETS'] limits"),
        ([{**BUDGET, "enforce": False}], "the budgets in OBC_AI['BUDGETS'] count its dollars and"),
    ],
    ids=["none", "no dollars", "one module", "not enforced"],
)
def test_W022_nothing_holds_the_money_back(budgets: Any, text: str) -> None:  # noqa: N802
    messages = found(deploy=True, **PAID, BUDGETS=budgets)
    assert_only("W022", messages, f"OBC_AI['PROVIDERS']['default'] costs money, and {text}")
    assert found(deploy=False, **PAID, BUDGETS=budgets) == []


def test_one_enforced_budget_of_dollars_is_enough() -> None:
    watched = {**BUDGET, "period": "month", "enforce": False}
    assert found(deploy=True, **PAID, BUDGETS=[watched, BUDGET]) == []
    assert found(deploy=True, **PAID, BUDGETS=[{**BUDGET, "scope": "tenant"}]) == []
    assert found(deploy=True, BUDGETS=[]) == []  # the offline provider is free


def _kept_in(folder: Path | str) -> list[Any]:
    return found(deploy=True, VECTOR_STORES=entry(FolderStore, path=str(folder)))


@pytest.mark.parametrize("name", ["MEDIA_ROOT", "STATIC_ROOT", "STATICFILES_DIRS"])
def test_W025_files_where_everybody_gets_them(name: str, tmp_path: Path) -> None:  # noqa: N802
    public = tmp_path / "public"
    public.mkdir()
    for value in [public, f"{public}/"] if name != "STATICFILES_DIRS" else [
        [public], [("prefix", str(public))]
    ]:  # fmt: skip
        with override_settings(**{name: value}):
            messages = _kept_in(public / "var" / "vectors")
            assert_only("W025", messages, f"'default'] lies inside of {name}, whose files a web")
            assert_only("W025", _kept_in(public))
            words = entry(BM25LexicalStore, path=str(public / "words"))
            place = f"The path of OBC_AI['LEXICAL_STORES']['default'] lies inside of {name}, whose"
            assert_only("W025", found(deploy=True, LEXICAL_STORES=words), place)
            assert_only("W025", found(deploy=True, LOG={"spool": public / "spool"}), "['spool'] l")
            assert _kept_in(tmp_path / "public-not" / "vectors") == []
            assert _kept_in(tmp_path) == []


def test_a_link_does_not_hide_where_a_folder_lies(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "media")
    with override_settings(MEDIA_ROOT=tmp_path / "media"):
        assert_only("W025", _kept_in(tmp_path / "link" / "vectors"))


def test_no_media_folder_is_not_the_current_one(tmp_path: Path) -> None:
    with override_settings(MEDIA_ROOT="", STATIC_ROOT=None, STATICFILES_DIRS=[]):
        assert _kept_in(os.path.relpath(tmp_path)) == []
        assert found(deploy=True, LOG={"spool": "var/spool"}) == []


def _with_redis(location: Any, store: str, **options: Any) -> list[Any]:
    """Check a cache in Redis beside a cost store (and so a coordinator) in Redis."""
    cache = {"BACKEND": REDIS, "LOCATION": location, "OPTIONS": options}
    with override_settings(CACHES={"default": cache}):
        return found(deploy=True, COST_STORES=entry(RedisCostStore, url=store))


@requires("redis")
@pytest.mark.parametrize(
    ("location", "store"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:word@localhost", "redis://127.0.0.1:6379/0"),
        ("redis://Cache.example.org/2", "redis://user:word@cache.example.org:6379?db=2"),
        ("redis://one:6379/1;redis://two:6379/1", "redis://two/1"),
        (["redis://one/1", "redis://two/1"], "redis://two/1"),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
    ],
)
def test_W028_a_cache_that_empties_the_cost_store(location: Any, store: str) -> None:  # noqa: N802
    (message,) = _with_redis(location, store)
    text = "OBC_AI['COST_STORES']['default'] and OBC_AI['COORDINATORS']['default'] share one data"
    assert_only("W028", [message], f"CACHES['default'] and {text}")
    assert "word" not in str(message)


@requires("redis")
@pytest.mark.parametrize(
    ("location", "store", "options"),
    [
        ("redis://127.0.0.1:6379/1", "redis://127.0.0.1:6379/0", {}),
        ("redis://127.0.0.1:6380/0", "redis://127.0.0.1:6379/0", {}),
        ("redis://cache/0", "redis://money/0", {}),
        ("redis://127.0.0.1", "redis://127.0.0.1", {"db": 1}),
        ("unix:///run/cache.sock", "unix:///run/money.sock", {}),
        ("redis://host:port/0", "redis://127.0.0.1", {}),
    ],
)
def test_a_database_of_its_own_is_right(location: str, store: str, options: Any) -> None:
    assert _with_redis(location, store, **options) == []


@requires("redis")
def test_django_redis_empties_the_database_as_well() -> None:
    cache = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:6379"}
    ours = {"COST_STORES": entry(RedisCostStore)}
    with override_settings(CACHES={"default": cache}, OBC_AI=ours):
        assert_only("W028", list(check_redis_databases()))  # Django's own checks would import it


@requires("redis")
def test_other_caches_and_stores_share_nothing() -> None:
    redis = {"COST_STORES": entry(RedisCostStore)}
    assert found(deploy=True, **redis) == []
    cache = {"BACKEND": REDIS, "LOCATION": "redis://127.0.0.1:6379/0"}
    with override_settings(CACHES={"default": cache}):
        assert found(deploy=True) == []
        assert_only("W028", found(deploy=True, COORDINATORS=entry(RedisCoordinator)), "COORDIN")
        assert_only("E003", found(deploy=True, COST_STORES=entry("no.such.Store")))


@requires("celery")
def test_the_broker_may_not_lie_in_a_cache_either() -> None:
    runner = {"TASK_RUNNERS": entry(CeleryRunner, app=f"{__name__}.app")}
    cache = {"BACKEND": REDIS, "LOCATION": "redis://127.0.0.1:6379/3"}
    with override_settings(CACHES={"default": cache}):
        (message,) = found(deploy=True, **runner)
        assert_only("W028", [message], "the broker of OBC_AI['TASK_RUNNERS']['default'] share")
        assert "secret" not in str(message)
        nowhere = entry(CeleryRunner, app="tests.nowhere.app")
        assert_only("E003", found(deploy=True, TASK_RUNNERS=nowhere))
        assert_only("W020", found(deploy=True, TASK_RUNNERS=entry(
            CeleryRunner, app=f"{__name__}.silent")))  # fmt: skip


def test_an_unsupported_sdk_is_told_before_a_deployment() -> None:
    if not GoogleGenerativeAIProvider.is_installed():
        pytest.skip("google-generativeai is not installed")
    old = entry(GoogleGenerativeAIProvider, api_key=KEY, model="gemini-2.5-flash")
    messages = found(deploy=True, PROVIDERS=old, BUDGETS=[BUDGET])
    assert_only("W006", messages, "google-generativeai has been unsupported since")


@requires("celery")
def test_a_visibility_timeout_that_is_too_short_is_told_before_a_deployment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hasty = Celery("hasty", set_as_current=False, broker="redis://localhost")
    hasty.conf.broker_transport_options = {"visibility_timeout": 60}
    monkeypatch.setattr(f"{__name__}.app", hasty)
    runner = entry(CeleryRunner, app=f"{__name__}.app")
    assert_only("W019", found(deploy=True, TASK_RUNNERS=runner), "visibility_timeout of 60 seconds")
