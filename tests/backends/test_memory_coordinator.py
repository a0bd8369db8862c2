"""The coordinator in memory."""

from __future__ import annotations

from django.test import SimpleTestCase

from django_obc_ai.backends.coordinators import BaseCoordinator
from django_obc_ai.backends.coordinators.memory import MemoryCoordinator
from django_obc_ai.testing import FlightContract


class MemoryFlightTests(FlightContract, SimpleTestCase):
    def make_coordinator(self) -> BaseCoordinator:
        return MemoryCoordinator()


def test_it_says_that_processes_do_not_share_it() -> None:
    assert not MemoryCoordinator.is_shared


def test_what_has_ended_is_forgotten() -> None:
    coordinator, now = MemoryCoordinator(), [1_900_000_000.0]
    coordinator.clock = lambda: now[0]
    for number in range(100):
        coordinator.board(f"k{number}", "a", age_seconds=0)
        if number % 2:
            coordinator.land(f"k{number}", "a", "yes", keep_seconds=20)
    now[0] += 2 * coordinator.flight_lease_seconds + 1
    coordinator.board("new", "a", age_seconds=0)
    assert list(coordinator._flights) == ["new"]
    assert coordinator._landings == {}
