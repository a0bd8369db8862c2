"""What the suite of gates says of closed ones, and what all its tests ask with."""

from __future__ import annotations

import unittest
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django_obc_ai.backends.coordinators.base import BaseCoordinator
from django_obc_ai.types.coordination import UNQUEUED, Admission, GateState, Limits, Verdict

if TYPE_CHECKING:
    _Case = unittest.TestCase
else:
    _Case = object

START = 1_900_000_000.0
TWO = Limits(requests=2)
_BREAKER = Limits(failures=3, open_seconds=30)


class ClosedGates(_Case):
    """What every coordinator must do about gates that close and reopen."""

    now = 0.0

    def make_coordinator(self) -> BaseCoordinator:
        """Return a coordinator that knows no gate."""
        raise NotImplementedError

    def _clocked(self) -> BaseCoordinator:
        coordinator = self.make_coordinator()
        self.now = START
        coordinator.clock = lambda: self.now
        return coordinator

    def _ask(
        self,
        coordinator: BaseCoordinator,
        permit: str,
        limits: Limits = TWO,
        *,
        tokens: int = 1,
        patience: float = 0.0,
    ) -> Admission:
        return coordinator.acquire(
            "default", permit, tokens=tokens, limits=limits, patience_seconds=patience
        )

    def _end(
        self,
        coordinator: BaseCoordinator,
        permit: str,
        verdict: Verdict = "ok",
        limits: Limits = TWO,
        **told: Any,
    ) -> GateState | None:
        return coordinator.release("default", permit, verdict=verdict, limits=limits, **told)

    def _call(
        self,
        coordinator: BaseCoordinator,
        permit: str,
        verdict: Verdict = "ok",
        limits: Limits = TWO,
        **told: Any,
    ) -> GateState | None:
        self.assertEqual(self._ask(coordinator, permit, limits), Admission())
        return self._end(coordinator, permit, verdict, limits, **told)

    def test_throttled_it_closes_for_as_long_as_the_provider_says(self) -> None:
        gates = self._clocked()
        closed = self._call(gates, "a", "throttled", closed_seconds=7)
        until = START + 7
        assert closed is not None
        self.assertEqual((closed.reason, closed.until), ("throttled", until))
        refused = Admission(reason="throttled", wait_seconds=7.0, until=until)
        self.assertEqual(self._ask(gates, "b"), refused)
        self.now = until
        self.assertEqual(self._ask(gates, "b"), Admission())

    def test_throttled_without_a_time_it_closes_for_longer_and_longer(self) -> None:
        gates = self._clocked()
        waits = []
        for number in range(8):
            closed = self._call(gates, str(number), "throttled", Limits())
            assert closed is not None and closed.until is not None
            waits.append(closed.until - self.now)
            self.now = closed.until
        self.assertEqual(waits, [1, 2, 4, 8, 16, 32, 60, 60])

    def test_many_throttled_at_once_close_it_once(self) -> None:
        gates, limits = self._clocked(), Limits()
        for permit in "abcd":
            self._ask(gates, permit, limits)
        found = [self._end(gates, permit, "throttled", limits) for permit in "abc"]
        self.assertEqual([each is not None for each in found], [True, False, False])
        self.assertEqual(gates.gate_state("default", limits).until, self.now + 1)
        self._end(gates, "d", "throttled", limits, closed_seconds=9)
        self.assertEqual(gates.gate_state("default", limits).until, self.now + 9)

    def test_a_daily_quota_closes_it_until_the_day_ends(self) -> None:
        gates = self._clocked()
        limits = Limits(day_starts_at=START - 9, day_ends_at=START + 500)
        closed = self._call(gates, "a", "quota", limits, closed_seconds=3)
        assert closed is not None
        self.assertEqual((closed.reason, closed.until), ("quota", START + 500))
        self.now += 499.999
        self.assertEqual(self._ask(gates, "b", limits).reason, "quota")
        self.now += 0.001
        self.assertEqual(self._ask(gates, "b", limits), Admission())

    def test_yesterdays_quota_does_not_close_it_for_today(self) -> None:
        gates = self._clocked()
        limits = Limits(day_starts_at=START - 9, day_ends_at=START + 9)
        self._ask(gates, "a", limits)
        self.now += 9
        limits = Limits(day_starts_at=START + 9, day_ends_at=START + 9999)
        closed = self._end(gates, "a", "quota", limits)
        assert closed is not None
        self.assertEqual((closed.reason, closed.until), ("throttled", self.now + 1))

    def test_failures_in_a_row_open_the_breaker(self) -> None:
        gates = self._clocked()
        for number, verdict in enumerate(("failed", "failed", "ok", "failed", "failed")):
            self.assertIsNone(self._call(gates, str(number), verdict, _BREAKER))  # type: ignore[arg-type]  # a literal
        closed = self._call(gates, "last", "failed", _BREAKER)
        assert closed is not None
        found = (closed.reason, closed.until, closed.failures)
        self.assertEqual(found, ("breaker", START + 30, 3))
        self.assertEqual(self._ask(gates, "a", _BREAKER).wait_seconds, 30)

    def test_it_reopens_with_one_at_a_time_and_twice_as_many_with_each_success(self) -> None:
        gates, limits = self._clocked(), Limits(requests=8)
        self._call(gates, "a", "throttled", limits, closed_seconds=5)
        self.now += 5
        for level in (1, 2, 4):
            for number in range(level):
                self.assertEqual(self._ask(gates, f"{level}.{number}", limits), Admission())
            refused = self._ask(gates, "more", limits)
            self.assertIn(refused.reason, ("reopening", "requests"))
            self.assertEqual(gates.gate_state("default", limits).reason, "reopening")
            self.assertEqual(self._end(gates, f"{level}.0", limits=limits) is None, level < 4)
            for number in range(1, level):
                self._end(gates, f"{level}.{number}", "unsent", limits=limits)
        self.assertEqual(gates.gate_state("default", limits).reason, "")

    def test_a_failure_while_it_reopens_closes_it_for_longer(self) -> None:
        gates = self._clocked()
        for permit in "abcd":
            self._ask(gates, permit, _BREAKER)
        for permit in "abc":
            self._end(gates, permit, "failed", _BREAKER)
        self.now += 30
        # What was let through before says nothing about now.
        self.assertIsNone(self._end(gates, "d", "failed", _BREAKER))
        closed = self._call(gates, "probe", "failed", _BREAKER)
        assert closed is not None
        self.assertEqual((closed.reason, closed.until), ("breaker", self.now + 60))

    def test_those_who_wait_for_it_to_reopen_keep_their_order(self) -> None:
        gates, limits = self._clocked(), Limits()
        self._call(gates, "a", "throttled", limits, closed_seconds=5)
        for permit in "bc":
            self.assertEqual(self._ask(gates, permit, limits, patience=9).reason, "throttled")
        self.now += 5
        self.assertEqual(self._ask(gates, "c", limits, patience=9).reason, "queue")
        self.assertEqual(self._ask(gates, "b", limits, patience=9), Admission())
        refused = self._ask(gates, "c", limits, patience=9)
        self.assertEqual(refused.reason, "reopening")
        self.assertLessEqual(refused.wait_seconds, 1)

    def test_nobody_waits_for_what_lasts(self) -> None:
        today = Limits(day_starts_at=START - 9, day_ends_at=START + 20)
        for limits, verdict in (
            (Limits(failures=1, open_seconds=20), "failed"),
            (today, "quota"),
            (replace(today, per_day=1), "ok"),
        ):
            gates = self._clocked()
            self._call(gates, "a", verdict, limits)  # type: ignore[arg-type]  # a literal
            for permit in "bc":
                refused = self._ask(gates, permit, limits, patience=99)
                self.assertIn(refused.reason, UNQUEUED)
                self.assertEqual(refused.wait_seconds, 20)
            self.assertEqual(gates.gate_state("default", limits).waiting, 0)

    def test_those_who_wait_leave_when_it_closes_for_what_lasts(self) -> None:
        gates, limits = self._clocked(), Limits(requests=2, failures=1)
        for permit in "ab":
            self._ask(gates, permit, limits)
        self.assertEqual(self._ask(gates, "c", limits, patience=99).reason, "requests")
        self._end(gates, "a", "failed", limits)
        self.assertEqual(self._ask(gates, "c", limits, patience=99).reason, "breaker")
        self.assertEqual(gates.gate_state("default", limits).waiting, 0)

    def test_a_closed_gate_is_reopened_by_hand_but_gently(self) -> None:
        gates, limits = self._clocked(), Limits()
        gates.reopen("default")
        self._call(gates, "a", "throttled", limits, closed_seconds=500)
        gates.reopen("default")
        self.assertEqual(self._ask(gates, "b", limits), Admission())
        self.assertEqual(self._ask(gates, "c", limits).reason, "reopening")
        self.assertEqual(gates.gate_state("default", limits).requests, 2)
