"""Gates in memory."""

from __future__ import annotations

from django.test import SimpleTestCase

from django_obc_ai.backends.coordinators import BaseCoordinator
from django_obc_ai.backends.coordinators.memory import MemoryCoordinator
from django_obc_ai.testing import GateContract


class MemoryGateTests(GateContract, SimpleTestCase):
    def make_coordinator(self) -> BaseCoordinator:
        return MemoryCoordinator()
