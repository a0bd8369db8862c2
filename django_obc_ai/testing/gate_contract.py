"""The contract suite of coordinators, as far as gates go.

Mix it into a ``unittest.TestCase`` (or a Django one) and say how to make the backend.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from django_obc_ai.testing._closed_gates import START, TWO, ClosedGates
from django_obc_ai.types.coordination import Admission, GateState, Limits

_DAY = 86_400.0


class GateContract(ClosedGates):
    """What every coordinator must do about gates."""

    #: Can several threads share one coordinator in this test? False inside a TestCase.
    can_share_threads = True

    # --- counts --------------------------------------------------------------------------------
    def test_a_gate_never_asked_is_open_and_counts_nothing(self) -> None:
        self.assertEqual(self.make_coordinator().gate_state("default", TWO), GateState())

    def test_what_is_under_way_and_what_has_ended_counts(self) -> None:
        gates = self._clocked()
        self._call(gates, "a", tokens=7)
        self._ask(gates, "b", tokens=100)
        state = GateState(requests=2, tokens=107, today=2, in_flight=1)
        for _ in range(2):
            self.assertEqual(gates.gate_state("default", TWO), state)
        self.assertEqual(self._ask(gates, "c").reason, "requests")
        self.assertEqual(gates.gate_state("other", TWO), GateState())

    def test_a_permit_counts_for_a_window_after_it_ended(self) -> None:
        gates = self._clocked()
        self._ask(gates, "a")
        self.now += 3
        self._ask(gates, "b")
        self._end(gates, "a")
        self.now += 59.999
        refused = self._ask(gates, "c")
        self.assertEqual((refused.reason, refused.until), ("requests", None))
        self.assertAlmostEqual(refused.wait_seconds, 0.001)
        self.now += 0.001
        self.assertEqual(self._ask(gates, "c"), Admission())

    def test_a_permit_whose_caller_died_or_is_slow_frees_itself(self) -> None:
        gates = self._clocked()
        self._ask(gates, "dead")
        self._ask(gates, "slow")
        self.now += 50
        self._end(gates, "slow")
        self.now += 14.999
        self.assertEqual(self._ask(gates, "c").reason, "requests")
        self.now += 0.001
        self.assertEqual(gates.gate_state("default", TWO).in_flight, 0)
        self._ask(gates, "c")
        self.assertEqual(self._ask(gates, "d"), Admission())

    def test_tokens_count_as_asked_for_and_then_as_used(self) -> None:
        gates, limits = self._clocked(), Limits(tokens=100)
        self._ask(gates, "a", limits, tokens=80)
        self.assertEqual(self._ask(gates, "b", limits, tokens=21).reason, "tokens")
        self._end(gates, "a", limits=limits, tokens=30)
        self.assertEqual(self._ask(gates, "b", limits, tokens=70), Admission())
        self._end(gates, "b", limits=limits, tokens=90)
        self.assertEqual(gates.gate_state("default", limits).tokens, 120)
        self.now += 60
        self.assertEqual(gates.gate_state("default", limits).tokens, 0)

    def test_what_never_fits_is_refused_without_a_time(self) -> None:
        refused = self._ask(self._clocked(), "a", Limits(tokens=9), tokens=10, patience=1e9)
        self.assertEqual(refused, Admission(reason="tokens"))

    def test_what_was_not_sent_leaves_all_counts(self) -> None:
        gates = self._clocked()
        self._call(gates, "a", "unsent", tokens=5)
        self.assertEqual(gates.gate_state("default", TWO), GateState())

    def test_what_its_caller_left_counts_and_says_nothing_of_the_provider(self) -> None:
        gates = self._clocked()
        self._call(gates, "a", "failed")
        self._call(gates, "b", "ended")
        state = GateState(requests=2, today=2, failures=1)
        self.assertEqual(gates.gate_state("default", TWO), state)

    def test_repeated_ids_change_nothing(self) -> None:
        gates = self._clocked()
        for _ in range(3):
            self._ask(gates, "a")
        self.assertEqual(gates.gate_state("default", TWO).requests, 1)
        for verdict in ("failed", "failed", "ok", "unsent", "throttled"):
            self._end(gates, "a", verdict)
        self.assertEqual(self._ask(gates, "a"), Admission())
        state = GateState(requests=1, today=1, failures=1)
        self.assertEqual(gates.gate_state("default", TWO), state)

    def test_the_end_of_a_permit_long_forgotten_is_heard_once(self) -> None:
        gates = self._clocked()
        self._ask(gates, "slow")
        self.now += 100
        for _ in range(2):
            self._end(gates, "slow", "failed")
        self.assertEqual(gates.gate_state("default", TWO), GateState(today=1, failures=1))

    def test_the_end_of_a_permit_just_forgotten_is_heard_once(self) -> None:
        gates, limits = self._clocked(), Limits(window_seconds=1)
        self._ask(gates, "slow", limits)
        self.now += 5.9
        self._ask(gates, "other", limits)
        self.now += 0.2
        for verdict in ("ok", "failed"):
            self._end(gates, "slow", verdict, limits)
        state = GateState(requests=1, tokens=1, today=2, in_flight=1)
        self.assertEqual(gates.gate_state("default", limits), state)

    def test_other_limits_hold_at_once(self) -> None:
        gates = self._clocked()
        for permit in "abc":
            self._call(gates, permit, limits=replace(TWO, requests=3))
        self.assertEqual(self._ask(gates, "d").reason, "requests")
        self.assertEqual(self._ask(gates, "d", Limits(requests=4)), Admission())
        self.assertEqual(self._ask(gates, "e", Limits()), Admission())

    def test_a_day_ends_at_its_midnight_and_what_is_under_way_counts_twice(self) -> None:
        gates, midnight = self._clocked(), START + 600
        today = Limits(per_day=2, day_starts_at=midnight - _DAY, day_ends_at=midnight)
        tomorrow = replace(today, day_starts_at=midnight, day_ends_at=midnight + _DAY)
        self._call(gates, "a", limits=today)
        self.now = midnight - 1
        self._ask(gates, "b", today)
        refused = self._ask(gates, "c", today)
        self.assertEqual(refused, Admission(reason="day", wait_seconds=1.0, until=midnight))
        # By the coordinator's clock, whatever the caller's says.
        self.assertEqual(self._ask(gates, "c", tomorrow).reason, "day")
        self.now += 1
        self._end(gates, "b", limits=today)
        self.assertEqual(gates.gate_state("default", tomorrow).today, 1)
        self.assertEqual(self._ask(gates, "c", today), Admission())
        self.assertEqual(self._ask(gates, "d", tomorrow).reason, "day")
        self.assertEqual(self._ask(gates, "d", today).reason, "day")

    def test_midnight_between_two_calls_in_quick_succession(self) -> None:
        self._pass_midnight(is_late=False)

    def test_midnight_that_the_caller_has_not_noticed(self) -> None:
        self._pass_midnight(is_late=True)

    def _pass_midnight(self, *, is_late: bool) -> None:
        gates, today = self._clocked(), Limits(day_starts_at=START - 9, day_ends_at=START + 0.2)
        tomorrow = Limits(day_starts_at=START + 0.2, day_ends_at=START + 900)
        self._call(gates, "a", limits=today)
        self._ask(gates, "b", today)
        self.now += 0.2
        self._ask(gates, "c", today if is_late else tomorrow)
        self.assertEqual(gates.gate_state("default", tomorrow).today, 2)

    # --- the queue -----------------------------------------------------------------------------
    def test_each_waiter_is_told_when_its_own_turn_comes(self) -> None:
        gates = self._clocked()
        for permit in "ab":
            self._call(gates, permit)
            self.now += 10
        waits = [self._ask(gates, permit, patience=600).wait_seconds for permit in "cdefg"]
        self.assertEqual(waits, [40, 50, 100, 110, 160])
        self.assertEqual(gates.gate_state("default", TWO).waiting, 5)

    def test_what_is_under_way_cannot_leave_before_a_window_has_passed(self) -> None:
        gates = self._clocked()
        for permit in "ab":
            self._ask(gates, permit)
        self.assertEqual(self._ask(gates, "c", patience=99).wait_seconds, 60)
        self.now += 20
        self.assertEqual(self._ask(gates, "d", patience=99).wait_seconds, 45)

    def test_nobody_takes_the_place_of_those_who_wait(self) -> None:
        gates = self._clocked()
        for permit in "ab":
            self._call(gates, permit)
        for permit in "cd":
            self._ask(gates, permit, patience=60)
        self.now += 60
        for patience in (0, 600):
            self.assertEqual(self._ask(gates, "e", patience=patience).reason, "queue")
        self.assertEqual(self._ask(gates, "c", patience=9), Admission())
        self.assertEqual(self._ask(gates, "f").reason, "queue")
        self.assertEqual(self._ask(gates, "d", patience=9), Admission())
        self.assertEqual(self._ask(gates, "f").reason, "requests")

    def test_a_waiter_for_many_tokens_is_not_overtaken_by_small_ones(self) -> None:
        gates, limits = self._clocked(), Limits(tokens=100)
        self._ask(gates, "a", limits, tokens=60)
        self._end(gates, "a", limits=limits, tokens=60)
        self.assertEqual(self._ask(gates, "big", limits, tokens=50, patience=99).wait_seconds, 60)
        self.assertEqual(self._ask(gates, "small", limits, tokens=20, patience=99).reason, "queue")
        self._end(gates, "big", "unsent", limits)
        self.assertEqual(self._ask(gates, "small", limits, tokens=20, patience=99), Admission())

    def test_who_would_have_to_wait_too_long_does_not_stand_in_the_queue(self) -> None:
        gates = self._clocked()
        for permit in "ab":
            self._call(gates, permit)
        self.assertEqual(self._ask(gates, "c", patience=59.999).wait_seconds, 60)
        self.assertEqual(gates.gate_state("default", TWO).waiting, 0)
        self._ask(gates, "c", patience=60)
        self._ask(gates, "c", patience=30)
        self.assertEqual(gates.gate_state("default", TWO).waiting, 0)

    def test_a_waiter_who_is_gone_loses_its_place(self) -> None:
        gates = self._clocked()
        for permit in "ab":
            self._call(gates, permit)
        for permit in "cd":
            self._ask(gates, permit, patience=60)
        self._end(gates, "d", "unsent")
        self.now += 62
        self._ask(gates, "e")
        self.assertEqual(self._ask(gates, "f").reason, "queue")
        self.now += 0.001
        self.assertEqual(self._ask(gates, "f"), Admission())
        self.assertEqual(gates.gate_state("default", TWO).waiting, 0)

    # --- many ----------------------------------------------------------------------------------
    def test_no_window_ever_holds_more_than_the_limit_and_none_is_refused_before(self) -> None:
        gates, limits = self._clocked(), Limits(requests=5)
        chance = random.Random(7)  # noqa: S311 - guards nothing
        arrived: dict[str, float] = {}  # the last moment in which each may have arrived
        under_way: dict[str, float] = {}
        for number in range(600):
            self.now += chance.choice((0, 0.25, 1, 4, 16))
            for permit in [each for each in under_way if chance.random() < 0.3]:
                began = under_way.pop(permit)
                if chance.random() < 0.8:  # or else its process died
                    self._end(gates, permit, limits=limits)
                    arrived[permit] = min(self.now, began + 5)
            count = sum(each > self.now - 60 for each in arrived.values())
            is_given = self._ask(gates, str(number), limits) == Admission()
            self.assertEqual(is_given, count < 5)
            if is_given:
                under_way[str(number)] = self.now
                arrived[str(number)] = self.now + 5

    def test_many_threads_never_pass_the_limit(self) -> None:
        if not self.can_share_threads:
            self.skipTest("a TestCase's connection serves one thread")
        gates, limits = self.make_coordinator(), Limits(requests=20)

        def ask(number: int) -> int:
            if self._ask(gates, str(number), limits).reason:
                return 0
            self._end(gates, str(number), limits=limits)
            return 1

        self.assertEqual(sum(self.run_threads(ask, range(80))), 20)

    def run_threads(self, work: Callable[[int], int], numbers: Sequence[int]) -> list[int]:
        """Run work in 8 threads; coordinators with connections override it to close them."""
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(work, numbers))
