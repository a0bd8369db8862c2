"""Nobody asks more often than allowed: by account, by network, in any worker."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import caches
from django.core.management import call_command
from django.db import connection
from django.test import override_settings

from django_obc_ai.web.throttles import (
    address_of,
    count_failed_login,
    seconds_to_log_in,
    seconds_to_wait,
)
from tests.servers.valkey import RedisServer
from tests.web.conftest import Clock, person, request_of

pytestmark = pytest.mark.usefixtures("own_cache")


def limits(**throttles: Any) -> Any:
    """Allow this; without anything else nothing is counted."""
    none = {"anon": None, "user": None, "burst": None}
    return override_settings(OBC_AI={"WEB": {"throttles": {**none, **throttles}}})


def test_so_many_pass_and_the_next_waits_for_the_window(clock: Clock) -> None:
    with limits(anon="3/hour"):
        assert [seconds_to_wait(request_of()) for _ in range(3)] == [0, 0, 0]
        assert seconds_to_wait(request_of()) > 3600
        clock.now += 600
        assert seconds_to_wait(request_of()) > 3000


def test_after_the_time_that_was_told_the_next_one_passes(clock: Clock) -> None:
    with limits(anon="3/hour"):
        for _ in range(3):
            seconds_to_wait(request_of())
        clock.now += seconds_to_wait(request_of())
        assert seconds_to_wait(request_of()) == 0


def test_what_was_asked_before_the_window_turned_still_counts(clock: Clock) -> None:
    clock.now += 3599
    with limits(anon="10/hour"):
        for _ in range(10):
            assert seconds_to_wait(request_of()) == 0
        clock.now += 2
        assert seconds_to_wait(request_of()) > 0
        clock.now += 1800
        assert [seconds_to_wait(request_of()) == 0 for _ in range(7)] == [True] * 5 + [False] * 2


def test_what_is_refused_does_not_count(clock: Clock) -> None:
    with limits(anon="2/minute"):
        for _ in range(2):
            seconds_to_wait(request_of())
        told = {seconds_to_wait(request_of()) for _ in range(50)}
    assert len(told) == 1


def test_what_burst_refuses_counts_by_no_other_limit(clock: Clock) -> None:
    with limits(anon="10/hour", burst="2/minute"):
        assert [seconds_to_wait(request_of()) == 0 for _ in range(10)] == [True] * 2 + [False] * 8
        clock.now += 200
        assert seconds_to_wait(request_of()) == 0


def test_what_an_hour_refuses_does_not_count_as_a_burst(clock: Clock) -> None:
    with limits(user="1/minute", burst="2/hour"):
        request = request_of(person())
        assert [seconds_to_wait(request) == 0 for _ in range(5)] == [True] + [False] * 4
        clock.now += 200
        assert seconds_to_wait(request) == 0


def test_burst_counts_besides_and_the_longer_wait_is_told(clock: Clock) -> None:
    with limits(user="5/hour", burst="2/minute"):
        request = request_of(person())
        assert [seconds_to_wait(request) for _ in range(2)] == [0, 0]
        assert 60 <= seconds_to_wait(request) <= 120
        clock.now += 3600
        assert seconds_to_wait(request) == 0


def test_people_count_by_account_and_others_by_address(clock: Clock) -> None:
    with limits(anon="1/hour", user="1/hour"):
        asked = [
            request_of(person(1)), request_of(person(2)), request_of(address="192.0.2.1"),
            request_of(address="192.0.2.2"),
        ]  # fmt: skip
        assert [seconds_to_wait(each) for each in asked] == [0] * 4
        again = [request_of(person(1), address="192.0.2.9"), request_of(address="192.0.2.2")]
        assert all(seconds_to_wait(each) for each in again)


def test_an_ipv6_network_is_one_customer(clock: Clock) -> None:
    with limits(anon="1/hour"):
        assert seconds_to_wait(request_of(address="2001:db8:1:2::1")) == 0
        assert seconds_to_wait(request_of(address="2001:db8:1:2:ffff::9")) > 0
        assert seconds_to_wait(request_of(address="2001:db8:1:3::1")) == 0


@pytest.mark.parametrize("form", ["::ffff:192.0.2.{}", "64:ff9b::192.0.2.{}", "192.0.2.{}"])
def test_an_ipv4_address_is_one_customer_however_ipv6_writes_it(clock: Clock, form: str) -> None:
    with limits(anon="1/hour"):
        assert seconds_to_wait(request_of(address=form.format(1))) == 0
        assert seconds_to_wait(request_of(address=form.format(2))) == 0
        assert seconds_to_wait(request_of(address="192.0.2.1")) > 0


def test_who_logged_in_without_a_key_counts_by_address(clock: Clock) -> None:
    with limits(anon="1/hour"):
        assert seconds_to_wait(request_of(person(key=None))) == 0
        assert seconds_to_wait(request_of(person(key=None), address="192.0.2.2")) == 0
        assert seconds_to_wait(request_of(person(key=None))) > 0


@pytest.mark.parametrize("address", ["", "unix:", "not an address"])
def test_odd_addresses_are_counted_too(clock: Clock, address: str) -> None:
    with limits(anon="1/hour"):
        assert seconds_to_wait(request_of(address=address)) == 0
        assert seconds_to_wait(request_of(address=address)) > 0


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "203.0.113.7", "192.0.2.1"),  # whoever wrote that
        (1, "203.0.113.7", "203.0.113.7"),
        (1, "198.51.100.1, 203.0.113.7", "203.0.113.7"),
        (2, "198.51.100.1, 203.0.113.7, 192.0.2.8", "203.0.113.7"),
        (3, "203.0.113.7", "203.0.113.7"),
        (1, "", "192.0.2.1"),
        (1, " , ", "192.0.2.1"),
        (1, "203.0.113.7:50123", "203.0.113.7"),
        (1, "2001:db8::7", "2001:db8::7"),
        (1, "[2001:db8::7]", "2001:db8::7"),
        (2, "[2001:db8::7]:50123, 192.0.2.8:1", "2001:db8::7"),
    ],
)
def test_only_what_trusted_proxies_added_is_believed(
    proxies: int, forwarded: str, address: str
) -> None:
    with override_settings(OBC_AI={"WEB": {"trusted_proxies": proxies}}):
        assert address_of(request_of(HTTP_X_FORWARDED_FOR=forwarded)) == address


def test_a_socket_of_the_host_has_no_address() -> None:
    assert address_of(request_of(address="")) == ""


def test_where_the_cache_is_away_strangers_wait(caplog: pytest.LogCaptureFixture) -> None:
    away = "redis://127.0.0.1:1"
    redis = "django.core.cache.backends.redis.RedisCache"
    with override_settings(CACHES={"default": {"BACKEND": redis, "LOCATION": away}}):
        assert seconds_to_wait(request_of()) > 0
        assert seconds_to_wait(request_of(person())) == 0
        assert seconds_to_log_in(request_of()) == 0
        assert count_failed_login(request_of()) > 0
    assert "192.0.2.1" not in caplog.text


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("backend", ["db.DatabaseCache", "filebased.FileBasedCache"])
def test_a_cache_that_forgets_sooner_still_counts_for_the_whole_window(
    clock: Clock, backend: str, tmp_path: Path
) -> None:
    where = "throttle_cache" if backend.startswith("db") else str(tmp_path)
    settings = {
        "BACKEND": f"django.core.cache.backends.{backend}", "LOCATION": where, "TIMEOUT": 0,
    }  # fmt: skip
    with override_settings(CACHES={"default": settings}), limits(anon="2/day"):
        if backend.startswith("db"):
            call_command("createcachetable")
        assert [seconds_to_wait(request_of()) == 0 for _ in range(4)] == [True] * 2 + [False] * 2
        if backend.startswith("db"):
            with connection.cursor() as cursor:
                cursor.execute("DROP TABLE throttle_cache")


def test_an_address_that_failed_too_often_waits_before_it_logs_in(clock: Clock) -> None:
    request, other = request_of(), request_of(address="192.0.2.2")
    with limits(anon="100/hour", burst="2/minute"):
        assert [count_failed_login(request) for _ in range(2)] == [0, 0]
        assert seconds_to_log_in(request) == 0
        wait = count_failed_login(request)
        assert wait > 0
        assert seconds_to_log_in(request) == wait
        assert seconds_to_log_in(other) == 0
        assert seconds_to_wait(request) == 0  # somebody else in the same house
        clock.now += wait
        assert seconds_to_log_in(request) == 0
        assert count_failed_login(request) == 0


def test_keys_hold_no_personal_data(clock: Clock) -> None:
    with limits(anon="5/hour"):
        seconds_to_wait(request_of(address="192.0.2.77"))
        for _ in range(6):
            count_failed_login(request_of(address="192.0.2.77"))
        names = list(caches["default"]._cache)
    assert names and not any("192.0.2" in name for name in names)


def test_a_thousand_at_once_are_counted_exactly_in_redis(
    clock: Clock, redis_server: RedisServer
) -> None:
    redis = "django.core.cache.backends.redis.RedisCache"
    passed: list[int] = []
    ready = threading.Barrier(20)

    def ask() -> None:
        ready.wait()
        passed.append(sum(seconds_to_wait(request_of()) == 0 for _ in range(50)))

    with (
        override_settings(CACHES={"default": {"BACKEND": redis, "LOCATION": redis_server.url}}),
        limits(anon="100/hour"),
    ):
        threads = [threading.Thread(target=ask) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Some that were refused may have counted for a moment: never too many, hardly too few.
        assert 80 <= sum(passed) <= 100
        while seconds_to_wait(request_of()) == 0:
            passed.append(1)
        caches["default"].close()
    assert sum(passed) == 100
