"""What the tests of the paid path share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from django_obc_ai.backends.coordinators.database import DatabaseCoordinator
from django_obc_ai.backends.coordinators.memory import MemoryCoordinator
from django_obc_ai.gateway import draining, ratelimit
from django_obc_ai.models import AIOperation
from django_obc_ai.services.ledger import flush_rows
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import Reply, override_ai
from django_obc_ai.types import Usage

#: $1 per million input tokens and $4 per million output tokens: 1,000 and 4,000 nano each.
PRICES = {"scripted": {"input_usd": "1", "output_usd": "4", "cached_input_usd": "0.25"}}

ResultT = TypeVar("ResultT")


def run_async(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run in a loop of its own, and close the connections of that loop's thread."""

    async def whole() -> ResultT:
        try:
            return await work
        finally:
            await sync_to_async(connections.close_all)()

    return asyncio.run(whole())


@pytest.fixture(autouse=True)
def _coordinator_is_asked() -> None:
    """What one test's coordinator failed in does not keep another's from being asked."""
    ratelimit._away.clear()


Scripted = Callable[..., override_ai]


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """Return a function that scripts the provider for the rest of the test."""
    with ExitStack() as stack:

        def enter(*script: Any, **settings: Any) -> override_ai:
            settings = {"PRICES": PRICES, **settings}
            return stack.enter_context(override_ai(list(script), **settings))

        yield enter


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace the clock's sleep and return the waits that were asked for; gates see them pass."""
    slept: list[float] = []
    clock = staticmethod(lambda: time.time() + sum(slept))
    for coordinator in (DatabaseCoordinator, MemoryCoordinator):
        monkeypatch.setattr(coordinator, "clock", clock)
    monkeypatch.setattr("django_obc_ai.gateway.call._sleep", slept.append)
    return slept


COST = Decimal("0.000931")
ANSWER = Reply("A", usage=Usage(input_tokens=131, output_tokens=200))
SECRET = "Whose land is it?"
SpoolOf = Callable[..., override_ai]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spooled(scripted: Scripted, folder: Path) -> SpoolOf:
    def enter(*script: Any, **settings: Any) -> override_ai:
        return scripted(*(script or [ANSWER] * 40), **{"LOG": {"spool": folder}, **settings})

    return enter


def ask() -> Any:
    result = TextService().generate_text(SECRET, use_cache=False)
    assert (result.text, result.cost) == ("A", COST)
    return result


def pks() -> set[Any]:
    return set(AIOperation.objects.values_list("pk", flat=True))


Batched = Callable[..., override_ai]


@pytest.fixture
def batched(scripted: Scripted, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Batched]:
    """Script the provider, and let rows wait until they are flushed."""
    monkeypatch.setattr("django_obc_ai.gateway.batch._PAUSE_SECONDS", 60.0)
    monkeypatch.setattr("django_obc_ai.gateway.batch._LATE_SECONDS", 60.0)
    flush_rows()

    def enter(*script: Any, **settings: Any) -> override_ai:
        log = {"spool": folder, "rows": "batched", **settings.pop("LOG", {})}
        return scripted(*(script or [ANSWER] * 40), LOG=log, **settings)

    yield enter
    draining.batch._avoid_until = 0.0
