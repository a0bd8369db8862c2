"""A chain without room, in all four ways of calling; permits and holds in one trip to Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from django_obc_ai.backends.coordinators.redis import RedisCoordinator
from django_obc_ai.models import AIOperation
from django_obc_ai.services.text import TextService
from tests.gateway.conftest import run_async
from tests.gateway.test_budget import total
from tests.gateway.test_fallback import Chain, Clock, chain, clock, full  # noqa: F401 - fixtures
from tests.servers.valkey import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)


def generated(prompt: str) -> str:
    return TextService().generate_text(prompt).text


def streamed(prompt: str) -> str:
    return "".join(TextService().stream_text(prompt))


def awaited(prompt: str) -> str:
    return run_async(TextService().agenerate_text(prompt)).text


def streamed_async(prompt: str) -> str:
    async def read() -> str:
        return "".join([piece async for piece in TextService().astream_text(prompt)])

    return run_async(read())


@pytest.mark.parametrize("ask", [generated, streamed, awaited, streamed_async])
def test_only_where_none_has_room_is_the_first_room_waited_for(
    ask: Callable[[str], str],
    chain: Chain,  # noqa: F811
    clock: Clock,  # noqa: F811
    waits: list[float],
    monkeypatch: pytest.MonkeyPatch,
    redis_server: RedisServer,
) -> None:
    sleep = asyncio.sleep

    async def wait(seconds: float, *result: Any) -> Any:
        if seconds > 5:  # it is the gate's, and not one of the event loop's own
            waits.append(seconds)
            seconds = 0
        return await sleep(seconds, *result)

    monkeypatch.setattr(asyncio, "sleep", wait)
    monkeypatch.setattr(RedisCoordinator, "clock", staticmethod(clock.now))
    path, options = "django_obc_ai.backends", {"url": redis_server.url}
    coordinator = {"BACKEND": f"{path}.coordinators.redis.RedisCoordinator", "OPTIONS": options}
    store = {"BACKEND": f"{path}.cost_stores.redis.RedisCostStore", "OPTIONS": options}
    chain(
        ["A", "C"],
        ["B"],
        RATE_LIMITS=full("default", "second"),
        COORDINATORS={"default": coordinator},
        COST_STORES={"default": store},
        BUDGETS=[{"scope": "global", "period": "day", "limit_usd": "1"}],
    )
    assert ask("Q0") == "A"
    clock.pass_(40)
    assert (ask("Q1"), waits) == ("B", [])
    assert (ask("Q2"), waits) == ("C", [pytest.approx(20, abs=0.01)])
    rows = AIOperation.objects.order_by("created_at")
    assert list(rows.values_list("provider", "fallback_from", "attempts")) == [
        ("default", "", 1), ("second", "default", 1), ("default", "", 1),
    ]  # fmt: skip
    spent, held = total()
    assert spent == sum(row.cost_usd for row in rows) * 10**9 > 0
    assert held == 0  # who waited held nothing, and who was answered has settled
