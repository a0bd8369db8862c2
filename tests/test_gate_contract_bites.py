"""The contract suite of gates finds the faults that matter."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from django_obc_ai.backends.coordinators.memory import MemoryCoordinator
from django_obc_ai.testing import GateContract
from django_obc_ai.types.coordination import UNQUEUED, Admission, GateState
from tests.test_contracts_bite import failures


class NotAtomic(MemoryCoordinator):
    """Looks first and takes later, like a read-modify-write without a lock."""

    def acquire(self, gate: str, permit: str, *, limits: Any, **asked: Any) -> Admission:
        if self.gate_state(gate, limits).requests >= (limits.requests or 10**9):
            return Admission(reason="requests", wait_seconds=60)
        threading.Event().wait(0.01)
        return super().acquire(gate, permit, limits=replace(limits, requests=None), **asked)


class ForgetsAtTheEnd(MemoryCoordinator):
    """Counts what is under way only, as a semaphore does."""

    def release(self, gate: str, permit: str, **told: Any) -> GateState | None:
        answer = super().release(gate, permit, **told)
        self._gates[gate].permits.pop(permit, None)
        return answer


class FromTheBeginning(MemoryCoordinator):
    """A window that begins with the question, as most limiters have it."""

    def release(self, gate: str, permit: str, **told: Any) -> GateState | None:
        held = self._gates[gate].permits.get(permit, [0])
        since = held[-1] if len(held) > 2 else None
        answer = super().release(gate, permit, **told)
        if since is not None and permit in self._gates[gate].permits:
            self._gates[gate].permits[permit][0] = since + 60_000
        return answer


class NeverFreesItself(MemoryCoordinator):
    def acquire(self, gate: str, permit: str, **asked: Any) -> Admission:
        answer = super().acquire(gate, permit, **asked)
        for each in self._gates[gate].permits.values():
            if len(each) > 2:
                each[0] = 10**15
        return answer


class CountsCeilings(MemoryCoordinator):
    def release(self, gate: str, permit: str, *, tokens: int = 0, **told: Any) -> GateState | None:
        held = self._gates[gate].permits.get(permit, [0, tokens])
        return super().release(gate, permit, tokens=held[1], **told)


class WithoutAQueue(MemoryCoordinator):
    def acquire(self, gate: str, permit: str, **asked: Any) -> Admission:
        answer = super().acquire(gate, permit, **asked)
        self._gates[gate].waiters.clear()
        return answer


class QueuesForWhatLasts(MemoryCoordinator):
    def acquire(self, gate: str, permit: str, **asked: Any) -> Admission:
        answer = super().acquire(gate, permit, **asked)
        if answer.reason in UNQUEUED and answer.wait_seconds <= asked["patience_seconds"]:
            self._gates[gate].waiters[permit] = [10**15, asked["tokens"]]
        return answer


class KeepsTheDead(MemoryCoordinator):
    def acquire(self, gate: str, permit: str, **asked: Any) -> Admission:
        answer = super().acquire(gate, permit, **asked)
        for each in self._gates[gate].waiters.values():
            each[0] = 10**15
        return answer


class HearsTwice(MemoryCoordinator):
    def release(self, gate: str, permit: str, **told: Any) -> GateState | None:
        self._gates[gate].others.pop(permit, None)
        held = self._gates[gate].permits.get(permit)
        if held is not None and len(held) == 2:
            held += [0, 0]
        return super().release(gate, permit, **told)


class OpensAtOnce(MemoryCoordinator):
    def acquire(self, gate: str, permit: str, **asked: Any) -> Admission:
        answer = super().acquire(gate, permit, **asked)
        if answer.reason == "reopening":
            self._gates[gate].level = 0
            return super().acquire(gate, permit, **asked)
        return answer


class DayOfTheCaller(MemoryCoordinator):
    """Believes a caller whose clock is ahead."""

    def acquire(self, gate: str, permit: str, *, limits: Any, **asked: Any) -> Admission:
        if self._gates[gate].day < limits.day_starts_at * 1000:
            self._gates[gate].today = 0
        return super().acquire(gate, permit, limits=limits, **asked)


@pytest.mark.parametrize(
    ("backend", "found_by"),
    [
        (NotAtomic, "test_many_threads_never_pass_the_limit"),
        (ForgetsAtTheEnd, "test_a_permit_counts_for_a_window_after_it_ended"),
        (FromTheBeginning, "test_a_permit_counts_for_a_window_after_it_ended"),
        (NeverFreesItself, "test_a_permit_whose_caller_died_or_is_slow_frees_itself"),
        (CountsCeilings, "test_tokens_count_as_asked_for_and_then_as_used"),
        (WithoutAQueue, "test_nobody_takes_the_place_of_those_who_wait"),
        (QueuesForWhatLasts, "test_nobody_waits_for_what_lasts"),
        (KeepsTheDead, "test_a_waiter_who_is_gone_loses_its_place"),
        (HearsTwice, "test_repeated_ids_change_nothing"),
        (OpensAtOnce, "test_it_reopens_with_one_at_a_time_and_twice_as_many_with_each_success"),
        (DayOfTheCaller, "test_a_day_ends_at_its_midnight_and_what_is_under_way_counts_twice"),
    ],
)
def test_a_broken_gate_fails_its_suite(backend: type, found_by: str) -> None:
    assert found_by in failures(GateContract, "make_coordinator", backend)


def test_the_gates_in_memory_pass_it() -> None:
    assert failures(GateContract, "make_coordinator", MemoryCoordinator) == set()
