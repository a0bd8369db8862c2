"""The contract suite of coordinators, as far as flights go.

Mix it into a ``unittest.TestCase`` (or a Django one) and say how to make the backend.
"""

from __future__ import annotations

import unittest
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from django_obc_ai.backends.coordinators.base import BaseCoordinator
from django_obc_ai.types.coordination import Boarding

if TYPE_CHECKING:
    _Case = unittest.TestCase
else:
    _Case = object

#: What languages write, what JSON and SQL must not trip over, and half a character.
_PIECES = ("Magandang ", "umaga: ñ", "مرحبا", "🙂", "\x00'\"\\u0041\\", "\ud83d", "", "\n%s {}")


class FlightContract(_Case):
    """What every coordinator must do about flights."""

    #: Can several threads share one coordinator in this test? False inside a TestCase.
    can_share_threads = True
    now = 0.0

    def make_coordinator(self) -> BaseCoordinator:
        """Return a coordinator that knows no flight."""
        raise NotImplementedError

    def _clocked(self) -> BaseCoordinator:
        coordinator = self.make_coordinator()
        self.now = 1_900_000_000.0
        coordinator.clock = lambda: self.now
        return coordinator

    def _end_lease(self, coordinator: BaseCoordinator, leases: float = 1.0) -> None:
        self.now += leases * coordinator.flight_lease_seconds + 1

    def _land(self, coordinator: BaseCoordinator, token: str, answer: str | None = "yes") -> None:
        coordinator.land("k", token, answer, keep_seconds=60)

    def _assert_leads(self, boarding: Boarding, *, is_takeover: bool = False) -> None:
        self.assertEqual((boarding.role, boarding.is_takeover), ("lead", is_takeover))

    def test_the_first_who_asks_leads_and_the_others_follow(self) -> None:
        coordinator = self._clocked()
        first = coordinator.board("k", "a", age_seconds=0)
        self._assert_leads(first)
        self.assertEqual(first.leader, "a")
        for token in ("b", "c", "b"):
            follower = coordinator.board("k", token, age_seconds=0)
            self.assertEqual((follower.role, follower.leader), ("follow", "a"))
            self.assertEqual((follower.text, follower.answer), ("", ""))

    def test_a_leader_that_asks_again_still_leads(self) -> None:
        coordinator = self._clocked()
        for _ in range(3):
            self._assert_leads(coordinator.board("k", "a", age_seconds=0))
        self.assertEqual(coordinator.board("k", "b", age_seconds=0).role, "follow")

    def test_flights_of_other_keys_are_others(self) -> None:
        coordinator = self._clocked()
        coordinator.board("k", "a", age_seconds=0)
        self._assert_leads(coordinator.board("l", "b", age_seconds=0))
        self._land(coordinator, "a")
        self.assertEqual(coordinator.board("l", "c", age_seconds=99).leader, "b")

    def test_who_began_before_the_landing_takes_the_answer(self) -> None:
        coordinator = self._clocked()
        coordinator.board("k", "a", age_seconds=0)
        self._land(coordinator, "a")
        self.now += 5
        for age in (6, 60):
            landed = coordinator.board("k", "b", age_seconds=age)
            self.assertEqual((landed.role, landed.answer), ("landed", "yes"))

    def test_who_began_after_the_landing_leads(self) -> None:
        coordinator = self._clocked()
        coordinator.board("k", "a", age_seconds=0)
        self._land(coordinator, "a")
        self.now += 5
        self._assert_leads(coordinator.board("k", "b", age_seconds=4))

    def test_who_has_followed_takes_the_answer_however_long_asking_took(self) -> None:
        coordinator = self._clocked()
        coordinator.board("k", "a", age_seconds=0)
        follower = coordinator.board("k", "b", age_seconds=0)
        self._land(coordinator, "a")
        self.now += 5
        coordinator.board("k", "later", age_seconds=0)
        landed = coordinator.board("k", "b", age_seconds=1, seen=follower.seen)
        self.assertEqual((landed.role, landed.answer), ("landed", "yes"))

    def test_an_answer_stays_no_longer_than_it_is_to_be_kept(self) -> None:
        coordinator = self._clocked()
        coordinator.board("k", "a", age_seconds=0)
        self._land(coordinator, "a")
        self.now += 61
        self._assert_leads(coordinator.board("k", "b", age_seconds=99))

    def test_who_waits_gets_the_answer_though_the_next_flight_has_begun(self) -> None:
        coordinator = self._clocked()
        coordinator.board("k", "a", age_seconds=0)
        self._land(coordinator, "a")
        self.now += 5
        coordinator.board("k", "later", age_seconds=1)
        self.assertEqual(coordinator.board("k", "b", age_seconds=9).answer, "yes")
        self.assertEqual(coordinator.board("k", "c", age_seconds=1).leader, "later")
        self._assert_leads(coordinator.board("k", "later", age_seconds=9))
        self._land(coordinator, "later", "and now")
        self.assertEqual(coordinator.board("k", "c", age_seconds=9).answer, "and now")

    def test_after_a_leader_gave_up_the_next_leads_as_if_nothing_had_been(self) -> None:
        coordinator = self._clocked()
        coordinator.board("k", "a", age_seconds=0)
        coordinator.publish("k", "a", "lost words")
        self._land(coordinator, "a", None)
        self._assert_leads(coordinator.board("k", "b", age_seconds=9))
        self.assertEqual(coordinator.board("k", "c", age_seconds=9).text, "")

    def test_any_text_can_be_an_answer(self) -> None:
        coordinator = self._clocked()
        for answer in ("", "".join(_PIECES), "ñ🙂" * 100_000):
            coordinator.board("k", "a", age_seconds=0)
            self._land(coordinator, "a", answer)
            landed = coordinator.board("k", "b", age_seconds=0)
            self.assertEqual(landed.role, "landed")
            self.assertTrue(landed.answer == answer)
            self.now += 61

    def test_a_leader_that_says_nothing_more_is_replaced_by_one(self) -> None:
        coordinator = self._clocked()
        coordinator.board("k", "a", age_seconds=0)
        self.now += coordinator.flight_lease_seconds - 1
        self.assertEqual(coordinator.board("k", "b", age_seconds=0).role, "follow")
        self.now += 2
        for _ in range(2):
            self._assert_leads(coordinator.board("k", "b", age_seconds=0), is_takeover=True)
        for token in ("c", "a"):
            follower = coordinator.board("k", token, age_seconds=0)
            self.assertEqual((follower.role, follower.leader), ("follow", "b"))

    def test_a_leader_that_was_replaced_changes_nothing(self) -> None:
        coordinator = self._clocked()
        coordinator.board("k", "a", age_seconds=0)
        self._end_lease(coordinator)
        coordinator.board("k", "b", age_seconds=0)
        self.now += coordinator.flight_lease_seconds - 1
        coordinator.publish("k", "a", "from the past")
        coordinator.renew_flight("k", "a")
        self._land(coordinator, "a", "from the past")
        self._land(coordinator, "a", None)
        follower = coordinator.board("k", "c", age_seconds=99)
        self.assertEqual((follower.role, follower.leader, follower.text), ("follow", "b", ""))
        self.now += 2
        self.assertEqual(coordinator.board("k", "c", age_seconds=99).role, "lost")

    def test_after_two_dead_leaders_a_flight_is_lost_for_one_lease(self) -> None:
        coordinator = self._clocked()
        for token in ("a", "b"):
            coordinator.board("k", token, age_seconds=0)
            self._end_lease(coordinator)
        for token in ("c", "d"):
            self.assertEqual(coordinator.board("k", token, age_seconds=99).role, "lost")
        self.now += coordinator.flight_lease_seconds - 2
        self.assertEqual(coordinator.board("k", "c", age_seconds=99).role, "lost")
        self.now += 2
        self._assert_leads(coordinator.board("k", "c", age_seconds=99))
        self._end_lease(coordinator)
        self._assert_leads(coordinator.board("k", "d", age_seconds=99), is_takeover=True)

    def test_a_flight_that_nobody_asked_for_is_forgotten(self) -> None:
        coordinator = self._clocked()
        coordinator.board("k", "a", age_seconds=0)
        self._end_lease(coordinator, leases=2)
        self._land(coordinator, "a")
        self._assert_leads(coordinator.board("k", "b", age_seconds=99))

    def test_a_sign_of_life_begins_the_lease_anew(self) -> None:
        coordinator = self._clocked()
        coordinator.board("k", "a", age_seconds=0)
        for sign in (
            lambda: coordinator.renew_flight("k", "a"),
            lambda: coordinator.publish("k", "a", "x"),
            lambda: coordinator.board("k", "a", age_seconds=0),
        ):
            self.now += coordinator.flight_lease_seconds - 1
            sign()
            self.now += 2
            self.assertEqual(coordinator.board("k", "b", age_seconds=0).role, "follow")
        self.now += coordinator.flight_lease_seconds
        coordinator.renew_flight("k", "a")  # nobody has noticed that it came late
        self.assertEqual(coordinator.board("k", "b", age_seconds=0).role, "follow")

    def test_a_stranger_changes_nothing(self) -> None:
        coordinator = self._clocked()
        coordinator.publish("k", "x", "nothing")
        self._land(coordinator, "x")
        coordinator.renew_flight("k", "x")
        self._assert_leads(coordinator.board("k", "a", age_seconds=99))
        coordinator.publish("k", "b", "nothing")
        self._land(coordinator, "b")
        self._land(coordinator, "b", None)
        follower = coordinator.board("k", "c", age_seconds=99)
        self.assertEqual((follower.role, follower.leader, follower.text), ("follow", "a", ""))

    def test_a_second_landing_changes_nothing(self) -> None:
        coordinator = self._clocked()
        coordinator.board("k", "a", age_seconds=0)
        self._land(coordinator, "a")
        self._land(coordinator, "a", "no")
        self._land(coordinator, "a", None)
        self.assertEqual(coordinator.board("k", "b", age_seconds=9).answer, "yes")

    def test_followers_read_each_piece_once_whenever_they_came(self) -> None:
        coordinator = self._clocked()
        coordinator.board("k", "a", age_seconds=0)
        readers = {"b": ("", 0), "c": ("", 0)}
        for number, piece in enumerate(_PIECES):
            coordinator.publish("k", "a", piece)
            for token in ("b", "c")[: 1 + number % 2]:
                text, seen = readers[token]
                found = coordinator.board("k", token, age_seconds=9, seen=seen)
                readers[token] = (text + found.text, found.seen)
        late = coordinator.board("k", "late", age_seconds=0)
        for text in (readers["b"][0], readers["c"][0], late.text):
            self.assertTrue(text == "".join(_PIECES))
        again = coordinator.board("k", "late", age_seconds=0, seen=late.seen)
        self.assertEqual((again.text, again.seen), ("", late.seen))

    def test_the_text_of_another_leader_is_read_from_its_beginning(self) -> None:
        coordinator = self._clocked()
        coordinator.board("k", "a", age_seconds=0)
        coordinator.publish("k", "a", "the first words")
        before = coordinator.board("k", "c", age_seconds=0)
        self._end_lease(coordinator)
        coordinator.board("k", "b", age_seconds=0)
        after = coordinator.board("k", "c", age_seconds=0, seen=before.seen)
        self.assertEqual((after.leader, after.text), ("b", ""))
        coordinator.publish("k", "b", "other words, ")
        coordinator.publish("k", "b", "and more of them")
        for seen in (before.seen, after.seen):
            found = coordinator.board("k", "c", age_seconds=0, seen=seen)
            self.assertEqual(found.text, "other words, and more of them")

    def test_of_many_threads_one_leads_and_one_takes_over(self) -> None:
        if not self.can_share_threads:
            self.skipTest("a TestCase's connection serves one thread")
        coordinator = self._clocked()
        for is_takeover in (False, True):
            found = self.run_threads(
                lambda number: coordinator.board(f"k{number % 2}", f"t{number}", age_seconds=0),
                range(100 * is_takeover, 100 * is_takeover + 40),
            )
            self.assertEqual(sum(each.role == "lead" for each in found), 2)
            self.assertEqual(sum(each.role == "follow" for each in found), 38)
            leaders = [each for each in found if each.role == "lead"]
            self.assertEqual({each.is_takeover for each in leaders}, {is_takeover})
            self.assertEqual(len({each.leader for each in found}), 2)
            self._end_lease(coordinator)

    def run_threads(
        self, work: Callable[[int], Boarding], numbers: Sequence[int]
    ) -> list[Boarding]:
        """Run work in 8 threads; coordinators with connections override it to close them."""
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(work, numbers))
