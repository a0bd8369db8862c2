"""Flights of real processes, some of which are killed, in Redis and in both databases."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import pytest
from django.db import connections

from tests.servers.valkey import RedisServer
from tests.subprocesses import ROOT

Process: TypeAlias = "subprocess.Popen[str]"
pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
BACKENDS = "django_obc_ai.backends.coordinators"


def _databases(alias: str) -> dict[str, Any]:
    chosen = connections.databases[alias]
    keys = ("ENGINE", "NAME", "HOST", "PORT", "USER", "OPTIONS")
    entry = {key: chosen[key] for key in keys if key in chosen}
    return {"default": entry, alias: entry}


@pytest.fixture(params=["redis", "default", "postgres"])
def place(request: pytest.FixtureRequest, postgres_alias: str) -> dict[str, Any]:
    """Where the processes coordinate themselves."""
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        options = {"url": server.url}
        redis = {"BACKEND": f"{BACKENDS}.redis.RedisCoordinator", "OPTIONS": options}
        return {"DATABASES": _databases("default"), "OBC_AI": {"COORDINATORS": {"default": redis}}}
    return {"DATABASES": _databases(request.param), "OBC_AI": {"DATABASE": request.param}}


@contextmanager
def running(place: dict[str, Any], count: int, *, lease_seconds: float) -> Iterator[list[Process]]:
    """Processes that are about to board the same flight."""
    given = {**place, "key": "k" * 64, "lease_seconds": lease_seconds}
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.backends.board_in_process",
                json.dumps({**given, "token": f"t{number}"}),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def say(process: Process, line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def hear(process: Process) -> list[Any]:
    assert process.stdout is not None
    return list(json.loads(process.stdout.readline()))


def the_leader(processes: list[Process], *, is_takeover: bool) -> Process:
    """The only one of all that leads; the others have heard of it."""
    said = {process: hear(process) for process in processes}
    (leader,) = [process for process, each in said.items() if each[0] == "lead"]
    assert said[leader][1] is is_takeover
    assert [each[0] for each in said.values()].count("follow") == len(processes) - 1
    assert len({each[2] for each in said.values()}) == 1
    return leader


def test_of_eight_processes_one_leads_and_all_have_its_answer(place: dict[str, Any]) -> None:
    with running(place, 8, lease_seconds=60) as processes:
        for process in processes:
            say(process, "go")
        leader = the_leader(processes, is_takeover=False)
        say(leader, "yes")
        assert leader.wait(timeout=60) == 0
        for process in processes:
            if process is not leader:
                assert hear(process) == ["landed", False, "", "yes"]
                assert process.wait(timeout=60) == 0


def test_a_killed_leader_is_replaced_once_and_then_the_flight_is_lost(
    place: dict[str, Any],
) -> None:
    with running(place, 6, lease_seconds=3) as processes:
        for process in processes:
            say(process, "go")
        alive = list(processes)
        for is_takeover in (False, True):
            leader = the_leader(alive, is_takeover=is_takeover)
            leader.kill()
            leader.wait()
            alive.remove(leader)
        assert {hear(process)[0] for process in alive} == {"lost"}


def test_a_killed_leaders_successor_serves_all_who_wait(place: dict[str, Any]) -> None:
    with running(place, 4, lease_seconds=2) as processes:
        for process in processes:
            say(process, "go")
        first = the_leader(processes, is_takeover=False)
        first.kill()
        first.wait()
        alive = [process for process in processes if process is not first]
        second = the_leader(alive, is_takeover=True)
        say(second, "late, but here")
        for process in alive:
            if process is not second:
                assert hear(process)[3] == "late, but here"
