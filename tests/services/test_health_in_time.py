"""What hangs holds up nothing else: real servers that accept a connection and say no more."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from django.core.cache.backends.locmem import LocMemCache
from django.db import OperationalError, connection
from django.test import override_settings

from django_obc_ai.backends.vector_stores.numpy import NumpyVectorStore
from django_obc_ai.logs import bound, current
from django_obc_ai.services import _lanes, _money_health
from django_obc_ai.services.health import HealthItem, check_health
from django_obc_ai.testing import override_ai
from tests.background import ScriptedRunner, runner
from tests.extras import requires
from tests.fakes import entry

pytestmark = pytest.mark.django_db(transaction=True)


class HangingStore(NumpyVectorStore):
    """Waits for whatever does not come, until the test is over."""

    over: ClassVar[threading.Event]

    def check(self, setting: str) -> list[Any]:
        self.over.wait(60)
        return []


class HangingCache(LocMemCache):
    """The same of a cache."""

    def set(self, *args: Any, **kwargs: Any) -> None:
        HangingStore.over.wait(60)


@pytest.fixture(autouse=True)
def _over() -> Iterator[None]:
    HangingStore.over = threading.Event()
    yield
    HangingStore.over.set()
    lingering = ("obc-ai-rows", "obc-ai-leases")  # which wait for what may still come
    for thread in threading.enumerate():
        if thread.name.startswith("obc-ai-") and thread.name not in lingering:
            thread.join(30)


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]


def by_name(**options: Any) -> dict[str, HealthItem]:
    return {each.name: each for each in check_health(**options).items}


def test_a_part_that_hangs_is_unknown_and_all_others_are_told() -> None:
    cache = {"default": {"BACKEND": f"{__name__}.HangingCache"}}
    with override_ai(VECTOR_STORES=entry(HangingStore), CACHE={"alias": "default"}):
        with override_settings(CACHES=cache):
            found = by_name(timeout_seconds=1.5)
    late = {name for name, each in found.items() if "did not answer" in each.message}
    assert {"vector store default", "response cache"} <= late
    assert found["vector store default"].status == "unknown"
    assert found["vector store default"].message == "It did not answer within 1.5 seconds."
    assert found["vector store default"].hint.endswith("--timeout.")
    assert found["embedder default"].status == found["database default"].status == "ok"
    assert next(iter(found)) == "settings"  # the order is that of the report


def test_a_broker_that_hangs_is_unknown_and_jobs_are_told_all_the_same() -> None:
    ScriptedRunner.over = HangingStore.over
    with override_ai(TASK_RUNNERS=runner(hangs=True)):
        found = by_name(timeout_seconds=1.5, only=["task runner", "jobs", "workers", "schedule"])
    assert found["task runner default"].status == "unknown"
    assert found["task runner default"].message == "It did not answer within 1.5 seconds."
    assert (found["jobs"].status, found["workers"].status) == ("ok", "ok")


@requires("openai")
def test_a_provider_that_does_not_answer_is_unknown(silent: int) -> None:
    path = "django_obc_ai.backends.providers.openai_compatible.OpenAICompatibleProvider"
    options = {"api_key": "k", "model": "m", "base_url": f"http://127.0.0.1:{silent}/v1"}
    provider = {"default": {"BACKEND": path, "OPTIONS": {**options, "deadline_seconds": 4}}}
    with override_ai(PROVIDERS=provider):
        found = by_name(timeout_seconds=1)
    assert found["provider default"].status == "unknown"
    assert found["provider default"].message == "It did not answer within 1 seconds."


@requires("redis")
def test_a_redis_that_does_not_answer_is_unknown(silent: int) -> None:
    path = "django_obc_ai.backends.cost_stores.redis.RedisCostStore"
    options = {"url": f"redis://127.0.0.1:{silent}/0", "timeout_seconds": 3}
    budgets = [{"scope": "global", "period": "day", "limit_usd": "1"}]
    store = {"default": {"BACKEND": path, "OPTIONS": options}}
    with override_ai(COST_STORES=store, BUDGETS=budgets):
        found = by_name(timeout_seconds=1)
        assert found["cost store default"].status == found["budgets"].status == "unknown"
        assert found["ledger drift"].status == "warning"  # it may be large only
        patient = by_name(timeout_seconds=30, only=["cost store"])
    told = patient["cost store default"]
    assert told.status == "unknown" and "could not be asked" in told.message


@requires("redis")
def test_a_redis_that_answers_is_looked_at_beside_the_others(redis_server: Any) -> None:
    path = "django_obc_ai.backends.cost_stores.redis.RedisCostStore"
    store = {"default": {"BACKEND": path, "OPTIONS": {"url": redis_server.url}}}
    budgets = [{"scope": "global", "period": "day", "limit_usd": "1"}]
    with override_ai(COST_STORES=store, BUDGETS=budgets):
        found = by_name(timeout_seconds=60)
    assert found["cost store default"].status == "ok"
    assert found["budgets"].status == "ok"
    assert found["ledger drift"].message == "Cost store and ledger agree."


def test_what_hangs_takes_one_thread_however_often_it_is_asked() -> None:
    with override_ai(VECTOR_STORES={"default": entry(HangingStore)["default"]}):
        for _ in range(3):
            found = by_name(timeout_seconds=0.05, only=["vector store"])
            assert found["vector store default"].status == "unknown"
        assert (
            sum(each.name == "obc-ai-vector store default" for each in threading.enumerate()) == 1
        )
        HangingStore.over.set()
        assert by_name(timeout_seconds=60, only=["vector store"])


def test_looking_leaves_no_thread_and_no_connection_behind() -> None:
    before = set(threading.enumerate())
    check_health(timeout_seconds=60)
    assert set(threading.enumerate()) == before


def test_parts_know_for_which_request_they_are_looked_at() -> None:
    seen: list[tuple[str, bool]] = []

    def check() -> HealthItem:
        seen.append((current(), threading.current_thread() is threading.main_thread()))
        return HealthItem(name="a", status="ok", message="")

    with bound("request-1"):
        _lanes.look_at([_lanes.Part(name="a", check=check, lane="a")], 30)
    assert seen == [("request-1", False)]


ENDLESS = {
    "postgresql": "SELECT pg_sleep(60)",
    "sqlite": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x FROM n) SELECT count(*) FROM n",
}


def test_a_database_gives_up_sums_that_nobody_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless() -> dict[str, tuple[int, int]]:
        with connection.cursor() as cursor:
            cursor.execute(ENDLESS[connection.vendor])
            cursor.fetchall()
        return {}

    real = _money_health._differing
    monkeypatch.setattr(_money_health, "_differing", endless)
    found = _money_health.check_drift(0.2)
    assert found.status == "warning"
    assert found.message == "The ledger takes longer than 0.2 seconds to add up."
    monkeypatch.setattr(_money_health, "_differing", real)
    assert _money_health.check_drift(60).status == "ok"  # the connection works as before
    assert not connection.in_atomic_block


def test_a_ledger_that_cannot_be_read_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> dict[str, tuple[int, int]]:
        raise OperationalError("no such table")

    monkeypatch.setattr(_money_health, "_differing", broken)
    assert by_name(only=["ledger drift"], timeout_seconds=60)["ledger drift"].status == "unknown"


def test_only_looks_at_what_is_named() -> None:
    found = by_name(only=["index places", "provider"], timeout_seconds=60)
    assert list(found) == ["settings", "provider default", "index places"]
    with pytest.raises(ValueError, match=r"no part 'indx' to look at. There are: 'provider def"):
        by_name(only=["indx"])
