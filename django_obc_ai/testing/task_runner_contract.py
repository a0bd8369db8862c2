"""The contract suite of task runners.

Mix it into a Django test case and say how to make the backend. Tasks note in the database how they
went, so a ``SimpleTestCase`` is for runners whose tasks run in other processes alone. Those must
know the suite's task, before their worker is set up:

    TASKS["contract_note"] = "django_obc_ai.testing.task_runner_contract.note_run"
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import connections

from django_obc_ai.backends.task_runners.base import BaseTaskRunner
from django_obc_ai.exceptions import TaskRunnerError
from django_obc_ai.services.task_table import TASKS

if TYPE_CHECKING:
    _Case = unittest.TestCase
else:
    _Case = object

TASK = "contract_note"
_TRICKY = "Magandang umaga: ñ مرحبا 🙂 '\"\\ {} %s\n"


class ContractTaskError(Exception):
    """What the suite's task raises when it is told to fail."""


def note_run(path: str, given: Any = None, is_failing: bool = False) -> None:
    """Add a line to a file, which is where all processes meet; the task of the suite."""
    line = json.dumps({"given": given, "at": time.time(), "pid": os.getpid()})
    with Path(path).open("a") as file:
        file.write(f"{line}\n")  # at once and whole: it is short, and behind what is there
    if is_failing:
        raise ContractTaskError


class TaskRunnerContract(_Case):
    """What every task runner must do."""

    #: How long a worker may take, at most.
    wait_seconds = 60.0
    #: Of a task that is to come later. Some brokers cut off what is less than a second.
    delay_seconds = 1.5
    #: Can several threads enqueue in this test? False where the database is a TestCase's.
    can_share_threads = True

    def make_runner(self) -> BaseTaskRunner:
        """Return a runner whose tasks are run, here or by a worker that is there."""
        raise NotImplementedError

    def make_unreachable_runner(self) -> BaseTaskRunner | None:
        """Return a runner whose broker is down; None if it has none."""
        return None

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self._path = Path(folder.name) / "runs"
        if TASK not in TASKS:
            TASKS[TASK] = f"{__name__}.note_run"
            self.addCleanup(TASKS.pop, TASK, None)

    def _enqueue(self, runner: BaseTaskRunner, given: Any = None, **options: Any) -> None:
        is_failing = options.pop("is_failing", False)
        arguments = {"path": str(self._path), "given": given, "is_failing": is_failing}
        runner.enqueue(TASK, arguments, **options)

    def _runs(self) -> list[dict[str, Any]]:
        text = self._path.read_text() if self._path.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def _wait_for(self, *given: Any) -> list[dict[str, Any]]:
        """Wait until each was run, and return all runs. One may be run twice."""
        deadline = time.monotonic() + self.wait_seconds
        while True:
            runs = self._runs()
            missing = [each for each in given if each not in [run["given"] for run in runs]]
            if not missing or time.monotonic() > deadline:
                self.assertEqual(missing, [])
                return runs
            time.sleep(0.05)

    def test_a_task_is_run_with_its_arguments(self) -> None:
        self._enqueue(self.make_runner(), "one")
        self._wait_for("one")

    def test_arguments_arrive_as_json_makes_them(self) -> None:
        given = {
            "text": _TRICKY,
            "list": (1, 2.5, None, True),
            "deep": {"er": [{}, []]},
            7: -(2**53),
        }
        self._enqueue(self.make_runner(), given)
        self._wait_for(json.loads(json.dumps(given)))

    def test_what_is_no_json_is_refused_and_not_run(self) -> None:
        runner = self.make_runner()
        for given in (object(), {1, 2}, b"bytes", float("nan"), float("inf"), [object()]):
            with self.assertRaises(TypeError):
                self._enqueue(runner, given)
        self._enqueue(runner, "after")
        self.assertEqual(len(self._wait_for("after")), 1)

    def test_every_one_of_many_tasks_is_run(self) -> None:
        runner = self.make_runner()
        for number in range(40):
            self._enqueue(runner, number)
        self._wait_for(*range(40))

    def test_tasks_of_several_threads_are_all_run(self) -> None:
        if not self.can_share_threads:
            self.skipTest("the threads of this test share no database")
        runner = self.make_runner()

        def send(number: int) -> None:
            try:
                self._enqueue(runner, number)
            finally:
                connections.close_all()  # this thread's own

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(send, range(24)))
        self._wait_for(*range(24))

    def test_the_failure_of_a_task_is_neither_the_callers_nor_that_of_others(self) -> None:
        runner = self.make_runner()
        for number in range(6):
            self._enqueue(runner, number, is_failing=number % 2 == 0)
        self._wait_for(*range(6))

    def test_an_immediate_runner_has_run_a_task_when_it_returns(self) -> None:
        runner = self.make_runner()
        self._enqueue(runner, "now")
        if runner.is_immediate:
            self.assertEqual([run["pid"] for run in self._runs()], [os.getpid()])
        self._wait_for("now")

    def test_a_delayed_task_comes_no_earlier_or_not_at_all(self) -> None:
        runner = self.make_runner()
        began = time.time()
        self._enqueue(runner, "later", delay_seconds=self.delay_seconds)
        self._enqueue(runner, "now")
        if runner.supports_delay:
            runs = self._wait_for("later", "now")
            late = [run["at"] - began for run in runs if run["given"] == "later"]
            self.assertGreaterEqual(min(late), self.delay_seconds / 3)
        else:
            self.assertEqual([run["given"] for run in self._wait_for("now")], ["now"])

    def test_no_delay_and_one_that_is_over_are_the_same(self) -> None:
        runner = self.make_runner()
        self._enqueue(runner, "over", delay_seconds=-5)
        self._enqueue(runner, "none", delay_seconds=0)
        self._wait_for("over", "none")

    def test_a_task_of_any_priority_is_run(self) -> None:
        runner = self.make_runner()
        priorities = (-1000, -1, 0, 1, 1000)
        for priority in priorities:
            self._enqueue(runner, priority, priority=priority)
        self._wait_for(*priorities)

    def test_a_broker_that_answers_is_told_from_one_that_does_not(self) -> None:
        self.make_runner().ping()
        runner = self.make_unreachable_runner()
        if runner is None:
            return
        with self.assertRaises(TaskRunnerError):
            runner.ping()
        with self.assertRaises(TaskRunnerError):
            self._enqueue(runner)

    def test_how_many_wait_is_a_number_or_unknown(self) -> None:
        waiting = self.make_runner().waiting()
        self.assertTrue(waiting is None or waiting >= 0, waiting)
