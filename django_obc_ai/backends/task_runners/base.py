"""The contract of task runners."""

from __future__ import annotations

import importlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from django_obc_ai.backends.base import BaseBackend


class BaseTaskRunner(BaseBackend, ABC):
    """Carry a task by name, with JSON arguments, to where it is run.

    A task may be run twice, late, or not at all, as brokers have it: each task of the package
    stands that, because what is to be done is in the database. So a runner keeps nothing, and
    promises one thing: `enqueue` raises where the broker did not take the task. What the task
    itself raises is logged where it runs, and never reaches who enqueued it.
    """

    @property
    def is_immediate(self) -> bool:
        """Does a task run in this process, before `enqueue` returns?"""
        return False

    @property
    def supports_delay(self) -> bool:
        """Can a task be told to run later?"""
        return False

    @property
    def supports_priority(self) -> bool:
        """Does the priority of a task mean something?"""
        return False

    def enqueue(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        delay_seconds: float = 0.0,
        priority: int = 0,
    ) -> None:
        """Hand a task over; call it after the transaction that it depends on.

        Args:
            name: Of a task in ``services.task_table.TASKS``.
            arguments: By name; JSON values only: ids, never objects or texts of people. The task
                gets them as JSON makes them: a tuple arrives as a list.
            delay_seconds: How long to wait. A broker may cut a long delay short, so a task looks
                for itself whether it is time. Where `supports_delay` is not, a task with a delay
                is not handed over at all: it waits for the schedule, or for a command.
            priority: Above 0 is earlier, below 0 later than other tasks, where
                `supports_priority` is.

        Raises:
            TypeError: An argument is no JSON value.
            TaskRunnerError: The broker did not take it.
        """
        try:
            given = json.loads(json.dumps(dict(arguments or {}), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise TypeError(f"The arguments of {name!r} are no JSON values: {error}.") from None
        if delay_seconds <= 0 or self.supports_delay:
            self._send(name, given, delay_seconds=max(0.0, delay_seconds), priority=priority)

    @abstractmethod
    def _send(
        self, name: str, arguments: dict[str, Any], *, delay_seconds: float, priority: int
    ) -> None:
        """See enqueue(); the arguments are JSON values, and a delay is one that can be."""

    def ping(self) -> None:
        """Do nothing if a task could be handed over now.

        Raises:
            TaskRunnerError: It could not.
        """

    def waiting(self) -> int | None:
        """Return how many tasks wait at the broker; None where nobody can say.

        Raises:
            TaskRunnerError: The broker cannot be asked.
        """
        return None


def run_here(name: str, arguments: Mapping[str, Any]) -> None:
    """Run a task in this process: what each runner does in the end, wherever that is.

    The tasks stand above the backends, and are found by name.
    """
    importlib.import_module("django_obc_ai.services.tasks").run(name, arguments)


def run_at_once(name: str, arguments: Mapping[str, Any]) -> None:
    """Run a task in this process for who enqueued it, whom its failure does not concern."""
    with suppress(Exception):  # which is logged and noted where it was raised
        run_here(name, arguments)
