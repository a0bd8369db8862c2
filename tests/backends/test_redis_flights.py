"""Flights in Redis, on a real server."""

from __future__ import annotations

import uuid

import pytest
from django.test import SimpleTestCase

from django_obc_ai.backends.coordinators import BaseCoordinator
from django_obc_ai.backends.coordinators.redis import RedisCoordinator
from django_obc_ai.testing import FlightContract
from tests.servers.valkey import RedisServer


@pytest.mark.usefixtures("_server")
class RedisFlightTests(FlightContract, SimpleTestCase):
    server: RedisServer

    @pytest.fixture
    def _server(self, redis_server: RedisServer) -> None:
        self.server = redis_server

    def make_coordinator(self) -> BaseCoordinator:
        coordinator = RedisCoordinator(url=self.server.url, prefix=uuid.uuid4().hex)
        self.addCleanup(coordinator.close)
        return coordinator
