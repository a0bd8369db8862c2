"""The contract suite of task runners finds the faults that matter."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest

from django_obc_ai.backends.task_runners.base import BaseTaskRunner, run_at_once, run_here
from django_obc_ai.backends.task_runners.inline import InlineRunner
from django_obc_ai.exceptions import TaskRunnerError
from django_obc_ai.testing import TaskRunnerContract
from tests.test_contracts_bite import failures


class Sound(InlineRunner):
    """What the others are faults of: with delays, and a broker that can be down."""

    supports_delay = True

    def __init__(self, *, is_down: bool = False) -> None:
        self.is_down = is_down

    def ping(self) -> None:
        if self.is_down:
            raise TaskRunnerError("down")

    def _send(self, name: str, arguments: dict[str, Any], **options: Any) -> None:
        self.ping()
        time.sleep(options["delay_seconds"])
        run_at_once(name, arguments)


class LosesSome(Sound):
    count = 0

    def _send(self, name: str, arguments: dict[str, Any], **options: Any) -> None:
        LosesSome.count += 1
        if LosesSome.count % 7:
            super()._send(name, arguments, **options)


class OneSlot(Sound):
    """Threads overwrite what another one was about to send."""

    slot: Any = None

    def _send(self, name: str, arguments: dict[str, Any], **options: Any) -> None:
        self.slot = arguments
        threading.Event().wait(0.01)
        super()._send(name, self.slot, **options)


class NotAsJson(Sound):
    def enqueue(
        self, name: str, arguments: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        self._send(name, dict(arguments or {}), **{"delay_seconds": 0, **options})


class Ascii(Sound):
    def _send(self, name: str, arguments: dict[str, Any], **options: Any) -> None:
        given = str(arguments["given"]).encode("ascii", "ignore").decode()
        arguments = {**arguments, **({"given": given} if "ñ" in str(arguments) else {})}
        super()._send(name, arguments, **options)


class Raises(Sound):
    def _send(self, name: str, arguments: dict[str, Any], **options: Any) -> None:
        self.ping()
        time.sleep(options["delay_seconds"])
        run_here(name, arguments)


class StopsAtAFailure(Sound):
    is_broken = False

    def _send(self, name: str, arguments: dict[str, Any], **options: Any) -> None:
        if not self.is_broken:
            super()._send(name, arguments, **options)
        self.is_broken = arguments["is_failing"]


class Hurries(Sound):
    def _send(self, name: str, arguments: dict[str, Any], **options: Any) -> None:
        super()._send(name, arguments, **{**options, "delay_seconds": 0})


class CannotWaitAndDoesNotSay(Sound):
    supports_delay = False

    def enqueue(self, *given: Any, delay_seconds: float = 0, **options: Any) -> None:
        super().enqueue(*given, **options)


class NotAtOnce(Sound):
    """Runs a task with the next one."""

    kept: Any = None

    def _send(self, name: str, arguments: dict[str, Any], **options: Any) -> None:
        kept, self.kept = self.kept, (name, arguments)
        if kept:
            super()._send(*kept, **options)


class SmallPriorities(Sound):
    def _send(self, name: str, arguments: dict[str, Any], **options: Any) -> None:
        if abs(options["priority"]) > 9:
            raise TaskRunnerError("no such priority")
        super()._send(name, arguments, **options)


class SaysNothing(Sound):
    """As a client that puts what it cannot send into a buffer."""

    def _send(self, name: str, arguments: dict[str, Any], **options: Any) -> None:
        if not self.is_down:
            super()._send(name, arguments, **options)


class PingsInVain(Sound):
    def ping(self) -> None:
        return

    def _send(self, name: str, arguments: dict[str, Any], **options: Any) -> None:
        if self.is_down:
            raise TaskRunnerError("down")
        super()._send(name, arguments, **options)


class CountsBelowNothing(Sound):
    def waiting(self) -> int:
        return -1


_MANY = "test_every_one_of_many_tasks_is_run"
_BROKER = "test_a_broker_that_answers_is_told_from_one_that_does_not"
_DELAY = "test_a_delayed_task_comes_no_earlier_or_not_at_all"
_FAILURE = "test_the_failure_of_a_task_is_neither_the_callers_nor_that_of_others"
FAULTS: dict[type[BaseTaskRunner], str] = {
    LosesSome: _MANY,
    OneSlot: "test_tasks_of_several_threads_are_all_run",
    NotAsJson: "test_what_is_no_json_is_refused_and_not_run",
    Ascii: "test_arguments_arrive_as_json_makes_them",
    Raises: _FAILURE,
    StopsAtAFailure: _FAILURE,
    Hurries: _DELAY,
    CannotWaitAndDoesNotSay: _DELAY,
    NotAtOnce: "test_an_immediate_runner_has_run_a_task_when_it_returns",
    SmallPriorities: "test_a_task_of_any_priority_is_run",
    SaysNothing: _BROKER,
    PingsInVain: _BROKER,
    CountsBelowNothing: "test_how_many_wait_is_a_number_or_unknown",
}


class Suite(TaskRunnerContract):
    wait_seconds = 0.2
    delay_seconds = 0.1

    def make_runner(self) -> BaseTaskRunner:
        return self.make()

    def make_unreachable_runner(self) -> BaseTaskRunner:
        runner = self.make()
        runner.is_down = True
        return runner

    def make(self) -> Sound:
        raise NotImplementedError


@pytest.fixture
def _no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here is the suite, and not how tasks note what they did."""
    monkeypatch.setattr("django_obc_ai.services.tasks._note", lambda *_, **__: None)


@pytest.mark.usefixtures("_no_database")
def test_a_sound_runner_passes() -> None:
    assert failures(Suite, "make", Sound) == set()


@pytest.mark.usefixtures("_no_database")
@pytest.mark.parametrize("broken", FAULTS, ids=lambda each: each.__name__)
def test_the_suite_finds(broken: type[BaseTaskRunner]) -> None:
    assert FAULTS[broken] in failures(Suite, "make", broken)
