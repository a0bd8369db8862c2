"""The contract of task runners."""

from __future__ import annotations

import importlib
import json
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from django_obc_ai.backends.base import BaseBackend


class BaseTaskRunner(BaseBackend):
    """Carry a task by name, with JSON arguments, to where it is run.

    A task may be run twice, late, or not at all, as brokers have it: each task of the package
    stands that, because what is to be done is in the database. So a runner keeps nothing, and
    promises one thing: `enqueue` raises where the broker did not take the task.
    """

    #: Does a task run in this process, before `enqueue` returns?
    is_immediate: ClassVar[bool] = False
    #: Can a task be told to run later?
    supports_delay: ClassVar[bool] = False
    #: Does the priority of a task mean something?
    supports_priority: ClassVar[bool] = False

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
            name: Of a task in ``services.tasks.TASKS``.
            arguments: By name; JSON values only: ids, never objects or texts of people.
            delay_seconds: How long to wait at least; nothing where `supports_delay` is not.
            priority: Higher is earlier, where `supports_priority` is.

        Raises:
            TypeError: An argument is no JSON value.
            TaskRunnerError: The broker did not take it.
        """
        arguments = dict(arguments or {})
        try:
            json.dumps(arguments, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise TypeError(f"The arguments of {name!r} are no JSON values: {error}.") from None
        self._send(name, arguments, delay_seconds=max(0.0, delay_seconds), priority=priority)

    @abstractmethod
    def _send(
        self, name: str, arguments: dict[str, Any], *, delay_seconds: float, priority: int
    ) -> None:
        """See enqueue(); the arguments are JSON values."""

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
