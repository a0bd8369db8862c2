"""The contract suite of flights finds the faults that matter."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from django_obc_ai.backends.coordinators import _seen
from django_obc_ai.backends.coordinators.memory import MemoryCoordinator
from django_obc_ai.testing import FlightContract
from django_obc_ai.types.coordination import Boarding
from tests.test_contracts_bite import failures


class NotAtomic(MemoryCoordinator):
    """Looks first and leads later."""

    def board(self, key: str, token: str, **given: Any) -> Boarding:
        is_free = key not in self._flights
        threading.Event().wait(0.01)
        if is_free:
            self._flights.pop(key, None)
        return super().board(key, token, **given)


class Forgetful(MemoryCoordinator):
    """A leader that asks again is a follower of its own."""

    def board(self, key: str, token: str, **given: Any) -> Boarding:
        is_mine = key in self._flights and self._flights[key].leader == token
        found = super().board(key, token, **given)
        return replace(found, role="follow") if is_mine else found


class OneAnswerForAll(MemoryCoordinator):
    """Like a cache: whoever comes later takes the answer, too."""

    def board(self, key: str, token: str, *, age_seconds: float, seen: int = 0) -> Boarding:
        return super().board(key, token, age_seconds=age_seconds + 50, seen=seen)


class OneRecord(MemoryCoordinator):
    """The next flight takes the answer of the last one away."""

    def board(self, key: str, token: str, **given: Any) -> Boarding:
        found = super().board(key, token, **given)
        if found.role == "lead":
            self._landings.pop(key, None)
        return found


class ByAgeAlone(MemoryCoordinator):
    def board(self, key: str, token: str, *, age_seconds: float, seen: int = 0) -> Boarding:
        flight = self._flights.get(key)
        is_same = flight is not None and _seen.mark_of(flight.leader) == _seen.split(seen)[0]
        return super().board(key, token, age_seconds=age_seconds, seen=seen if is_same else 0)


class GivingUpIsAnAnswer(MemoryCoordinator):
    def land(self, key: str, token: str, answer: str | None, **given: Any) -> None:
        super().land(key, token, answer or "", **given)


class AnyoneLands(MemoryCoordinator):
    def land(self, key: str, token: str, answer: str | None, **given: Any) -> None:
        flight = self._flights.get(key)
        super().land(key, flight.leader if flight else token, answer, **given)


class KeepsForEver(MemoryCoordinator):
    def land(self, key: str, token: str, answer: str | None, **given: Any) -> None:
        super().land(key, token, answer, **{**given, "keep_seconds": 1e6})


class TakesOverAgain(MemoryCoordinator):
    """Each dead leader is followed by another one, and each of them is paid."""

    def board(self, key: str, token: str, **given: Any) -> Boarding:
        found = super().board(key, token, **given)
        if found.role == "lost":
            self._flights[key].leader = token
            return replace(found, role="lead", is_takeover=True)
        return found


class NeverTakesOver(MemoryCoordinator):
    def board(self, key: str, token: str, **given: Any) -> Boarding:
        found = super().board(key, token, **given)
        return replace(found, role="lost") if found.is_takeover else found


class RenewsNothing(MemoryCoordinator):
    def renew_flight(self, key: str, token: str) -> None:
        pass


class TellsAllText(MemoryCoordinator):
    def board(self, key: str, token: str, *, age_seconds: float, seen: int = 0) -> Boarding:
        found = super().board(key, token, age_seconds=age_seconds, seen=seen)
        flight = self._flights.get(key)
        return replace(found, text=flight.text) if flight and found.role == "follow" else found


class CountsBytes(MemoryCoordinator):
    """Offsets in bytes of a text that is cut by characters."""

    def board(self, key: str, token: str, **given: Any) -> Boarding:
        found = super().board(key, token, **given)
        flight = self._flights.get(key)
        if flight is None or found.role != "follow":
            return found
        size = len(flight.text.encode(errors="surrogatepass"))
        return replace(found, seen=_seen.join(_seen.mark_of(flight.leader), size))


class OneOffsetForAllLeaders(MemoryCoordinator):
    def board(self, key: str, token: str, *, age_seconds: float, seen: int = 0) -> Boarding:
        flight = self._flights.get(key)
        if flight is not None and seen:
            seen = _seen.join(_seen.mark_of(flight.leader), _seen.split(seen)[1])
        return super().board(key, token, age_seconds=age_seconds, seen=seen)


@pytest.mark.parametrize(
    ("backend", "found_by"),
    [
        (NotAtomic, "test_of_many_threads_one_leads_and_one_takes_over"),
        (Forgetful, "test_a_leader_that_asks_again_still_leads"),
        (OneAnswerForAll, "test_who_began_after_the_landing_leads"),
        (OneRecord, "test_who_waits_gets_the_answer_though_the_next_flight_has_begun"),
        (ByAgeAlone, "test_who_has_followed_takes_the_answer_however_long_asking_took"),
        (GivingUpIsAnAnswer, "test_after_a_leader_gave_up_the_next_leads_as_if_nothing_had_been"),
        (AnyoneLands, "test_a_stranger_changes_nothing"),
        (AnyoneLands, "test_a_leader_that_was_replaced_changes_nothing"),
        (KeepsForEver, "test_an_answer_stays_no_longer_than_it_is_to_be_kept"),
        (TakesOverAgain, "test_after_two_dead_leaders_a_flight_is_lost_for_one_lease"),
        (NeverTakesOver, "test_a_leader_that_says_nothing_more_is_replaced_by_one"),
        (RenewsNothing, "test_a_sign_of_life_begins_the_lease_anew"),
        (TellsAllText, "test_followers_read_each_piece_once_whenever_they_came"),
        (CountsBytes, "test_followers_read_each_piece_once_whenever_they_came"),
        (OneOffsetForAllLeaders, "test_the_text_of_another_leader_is_read_from_its_beginning"),
    ],
)
def test_a_broken_coordinator_fails_its_suite(backend: type, found_by: str) -> None:
    assert found_by in failures(FlightContract, "make_coordinator", backend)


def test_a_sound_coordinator_passes_its_suite() -> None:
    assert failures(FlightContract, "make_coordinator", MemoryCoordinator) == set()


def test_the_suite_says_what_it_needs() -> None:
    with pytest.raises(NotImplementedError):
        FlightContract().make_coordinator()
