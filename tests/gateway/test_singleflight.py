"""One paid call for all who ask the same at the same time, in one process.

tests/acceptance/single_flight.py does it with processes, on each coordinator.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections, transaction

from django_obc_ai.backends.coordinators import coordinators
from django_obc_ai.backends.coordinators.memory import MemoryCoordinator
from django_obc_ai.exceptions import (
    CoordinatorError,
    InvalidRequestError,
    StreamInterruptedError,
    TransientError,
)
from django_obc_ai.gateway import leases, ratelimit
from django_obc_ai.gateway.bill import Bill
from django_obc_ai.models import AIOperation
from django_obc_ai.services.cache import read_tags
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import Reply, override_ai
from django_obc_ai.types import GenerationRequest, GenerationResult
from tests.gateway.conftest import PRICES

pytestmark = pytest.mark.django_db(transaction=True)
SAME = "Which barangays lie on the coast?"


class Gate:
    """A script item that says when it was asked, and answers when it may."""

    def __init__(self, item: Any) -> None:
        self.item, self.asked, self.go = item, threading.Event(), threading.Event()

    def __call__(self, _: GenerationRequest) -> Any:
        self.asked.set()
        assert self.go.wait(30)
        return self.item


def ask(**arguments: Any) -> GenerationResult:
    try:
        return TextService().generate_text(SAME, include_context=False, **arguments)
    finally:
        connections.close_all()


def boarded(count: int) -> None:
    """Wait until so many calls follow the flight that is under way."""
    coordinator: Any = coordinators["default"]
    deadline = time.monotonic() + 30
    while len(coordinator.followers) < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


class WatchedCoordinator(MemoryCoordinator):
    """Notes who follows."""

    def __init__(self) -> None:
        super().__init__()
        self.followers: set[str] = set()

    def board(self, key: str, token: str, **given: Any) -> Any:
        found = super().board(key, token, **given)
        if found.role == "follow":
            self.followers.add(token)
        return found


WATCHED = f"{WatchedCoordinator.__module__}.{WatchedCoordinator.__qualname__}"


@pytest.fixture
def script() -> Callable[..., override_ai]:
    def enter(*items: Any, **settings: Any) -> override_ai:
        watched = {"default": {"BACKEND": WATCHED}}
        return override_ai(list(items), PRICES=PRICES, COORDINATORS=watched, **settings)

    return enter


def together(
    gate: Gate, others: int, work: Callable[..., Any] = ask, **arguments: Any
) -> list[Any]:
    """Let one call lead and others follow, open the gate, and return what all got."""
    with ThreadPoolExecutor(others + 1) as pool:
        first = pool.submit(work, **arguments)
        assert gate.asked.wait(30)
        rest = [pool.submit(work, **arguments) for _ in range(others)]
        boarded(others)
        gate.go.set()
        return [each.result(60) for each in (first, *rest)]


@pytest.mark.parametrize("cache", [{}, {"alias": None}], ids=["cache", "no cache"])
@pytest.mark.parametrize("finish", ["stop", "length"])
def test_one_call_answers_all_who_ask_the_same(script: Any, cache: Any, finish: Any) -> None:
    gate = Gate(Reply("A", finish_reason=finish))
    with script(gate, **({"CACHE": cache} if cache else {})) as kit:
        results = together(gate, 5)
        assert kit.provider.call_count == 1
    assert {(each.text, each.finish_reason) for each in results} == {("A", finish)}
    paid = AIOperation.objects.get(coalesced=False)
    free = AIOperation.objects.filter(coalesced=True)
    assert paid.cost_usd > 0
    assert len(free) == 5
    assert {(row.cost_usd, row.saved_usd, row.attempts, row.cached) for row in free} == {
        (Decimal(0), paid.cost_usd, 0, False)
    }
    assert all(row.waited_ms > 0 for row in free)


def test_who_does_not_use_the_cache_shares_nothing(script: Any) -> None:
    gate = Gate("A")
    with script(gate, "B") as kit, ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, use_cache=False)
        assert gate.asked.wait(30)
        assert ask(use_cache=False).text == "B"
        gate.go.set()
        assert (first.result(30).text, kit.provider.call_count) == ("A", 2)


@pytest.mark.parametrize(
    "other",
    [{"scope": "b"}, {"cache_tags": ["b"]}, {"temperature": 0.5}, {"prompt_version": "2"}],
    ids=str,
)
def test_who_asks_something_else_does_not_join(script: Any, other: dict[str, Any]) -> None:
    gate = Gate("A")
    with script(gate, "B"), ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask)
        assert gate.asked.wait(30)
        assert ask(**other).text == "B"
        gate.go.set()
        assert first.result(30).text == "A"


def test_who_read_newer_data_does_not_join(script: Any) -> None:
    from django_obc_ai.services.cache import invalidate

    gate = Gate("old")
    with script(gate, "new"), ThreadPoolExecutor(1) as pool:
        before = read_tags("data")
        first = pool.submit(ask, cache_tags=before)
        assert gate.asked.wait(30)
        invalidate(tags=["data"])
        assert ask(cache_tags=["data"]).text == "new"
        gate.go.set()
        assert first.result(30).text == "old"


def test_an_error_that_would_repeat_is_shared(script: Any) -> None:
    gate = Gate(InvalidRequestError("No."))
    with script(gate) as kit:
        results = together(gate, 3)
        assert kit.provider.call_count == 1
    assert {each.error for each in results} == {"invalid_request"}
    assert AIOperation.objects.filter(coalesced=True, success=False).count() == 3


def test_after_an_error_that_may_pass_one_of_the_others_asks_anew(script: Any) -> None:
    gate = Gate(TransientError("Down.", is_possibly_billed=False))
    with script(gate, "A", RETRY={"attempts": 1}) as kit:
        results = together(gate, 3)
        assert kit.provider.call_count == 2
    assert sorted(each.text for each in results) == ["", "A", "A", "A"]


def test_followers_of_a_stream_get_its_text_while_it_comes(script: Any) -> None:
    more = threading.Event()

    def read() -> list[str]:
        try:
            return list(TextService().stream_text(SAME, include_context=False))
        finally:
            connections.close_all()

    def paused(request: GenerationRequest) -> Iterator[Any]:
        for number, chunk in enumerate(whole(request)):
            if number == 1:
                assert more.wait(30)
            yield chunk

    gate = Gate(Reply(chunks=["one ", "two ", "three"]))
    with script(gate) as kit, ThreadPoolExecutor(1) as pool:
        whole, kit.provider.stream = kit.provider.stream, paused
        leader = pool.submit(read)
        assert gate.asked.wait(30)
        follower = iter(TextService().stream_text(SAME, include_context=False))
        gate.go.set()
        first = next(follower)
        more.set()
        assert first == "one "
        assert first + "".join(follower) == "one two three"
        assert "".join(leader.result(30)) == "one two three"
        assert kit.provider.call_count == 1
    assert AIOperation.objects.get(coalesced=True).first_chunk_ms is not None


def test_a_waiter_gives_up_at_its_own_deadline(script: Any) -> None:
    gate = Gate("A")
    with script(gate, RETRY={"deadline_seconds": 0.2}), ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask)
        assert gate.asked.wait(30)
        late = ask()
        assert (late.success, late.error) == (False, "transient")
        assert "within 0.2 seconds" in late.error_message
        gate.go.set()
        assert first.result(30).text == "A"


def test_inside_a_transaction_nobody_waits_and_the_call_is_made(script: Any) -> None:
    gate = Gate("A")
    with script(gate, "B") as kit, ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask)
        assert gate.asked.wait(30)
        with transaction.atomic():
            assert TextService().generate_text(SAME, include_context=False).text == "B"
        gate.go.set()
        assert first.result(30).text == "A"
        assert kit.provider.call_count == 2
    assert not AIOperation.objects.filter(coalesced=True).exists()


class BrokenCoordinator(MemoryCoordinator):
    """Cannot be reached."""

    def board(self, *_: Any, **__: Any) -> Any:
        raise CoordinatorError("Away.")

    acquire = release = board


def test_without_its_coordinator_a_call_goes_on_alone(caplog: pytest.LogCaptureFixture) -> None:
    broken = {"default": {"BACKEND": f"{__name__}.BrokenCoordinator"}}
    with override_ai(["A", "B"], PRICES=PRICES, COORDINATORS=broken):
        assert ask().text == "A"
        ratelimit._away.clear()
        assert ask(use_cache=False).text == "B"
        ratelimit._away.clear()
    told = {getattr(record, "event", "") for record in caplog.records}
    assert {"traffic.not_shared", "traffic.limits_local"} <= told


class StandingReader(MemoryCoordinator):
    """Has leases so short that a test can wait for one."""

    flight_lease_seconds = 0.3


def test_nobody_waits_for_the_reader_of_a_stream_who_has_stopped_reading() -> None:
    short = {"default": {"BACKEND": f"{__name__}.StandingReader"}}
    script = [Reply(chunks=["one ", "two ", "three"]), "B"]
    with override_ai(script, PRICES=PRICES, COORDINATORS=short) as kit:
        stream = TextService().stream_text(SAME, include_context=False)
        assert next(stream) == "one "
        assert ask().text == "B"
        assert "".join(stream) == "two three"
        assert kit.provider.call_count == 2


class KeyedCoordinator(MemoryCoordinator):
    """Notes keys, and lets a test speak for the leader."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: set[str] = set()
        self.is_away = False

    def board(self, key: str, token: str, **given: Any) -> Any:
        self.keys.add(key)
        if self.is_away:
            raise CoordinatorError("Away.")
        if len(self._flights) == 0 and not self._landings:
            super().board(key, "old leader", **given)
            self.publish(key, "old leader", "Old text. ")
        return super().board(key, token, **given)


@pytest.fixture
def spoken_for() -> Iterator[Any]:
    """A flight that a test leads as "old leader", who has said "Old text. "."""
    keyed = {"default": {"BACKEND": f"{__name__}.KeyedCoordinator"}}
    with override_ai(["New answer."], PRICES=PRICES, COORDINATORS=keyed):
        yield coordinators["default"]
        ratelimit._away.clear()


@pytest.mark.parametrize("end", ["away", "another lands", "it gives up"])
def test_a_reader_never_gets_parts_of_two_answers(spoken_for: Any, end: str) -> None:
    stream = iter(TextService().stream_text(SAME, include_context=False))
    assert next(stream) == "Old text. "
    (key,) = spoken_for.keys
    if end == "away":
        spoken_for.is_away = True
    else:
        spoken_for.land(key, "old leader", None, keep_seconds=1)
    if end == "another lands":
        spoken_for.board(key, "other", age_seconds=0)
        answer = {"text": "Greetings.", "finish": "stop", "model": "m", "cost": "0", "entry": None}
        spoken_for.land(key, "other", json.dumps(answer), keep_seconds=9)
    with pytest.raises(StreamInterruptedError):
        list(stream)
    assert AIOperation.objects.get().error_category == "stream_interrupted"


def test_an_attempt_of_which_nobody_said_what_it_cost_is_booked_at_its_ceiling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(Bill, "count", broken)
    budgets = [{"scope": "global", "period": "day", "limit_usd": "1"}]
    with override_ai(["A"], PRICES=PRICES, BUDGETS=budgets):
        with pytest.raises(MemoryError):
            ask()
        assert not leases._holds.open
    row = AIOperation.objects.get()
    assert (row.cost_usd > 0, row.cost_known) == (True, False)
