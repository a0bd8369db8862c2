"""A task runner as a broker is one, in memory: tickets are kept, and no worker comes by itself."""

from __future__ import annotations

from typing import Any, ClassVar

from django_obc_ai.backends.task_runners import BaseTaskRunner
from django_obc_ai.exceptions import TaskRunnerError

RUNNER = {"default": {"BACKEND": "tests.services.ticket_runner.TicketRunner"}}

TICKET = ("generate_text", {}, 0.0, 0)


class TicketRunner(BaseTaskRunner):
    """Set `is_down`, and look at `tickets`: names, arguments, delays, priorities."""

    supports_delay = True
    tickets: ClassVar[list[tuple[str, dict[str, Any], float, int]]] = []
    is_down: ClassVar[bool] = False

    def _send(
        self, name: str, arguments: dict[str, Any], *, delay_seconds: float, priority: int
    ) -> None:
        self.ping()
        self.tickets.append((name, arguments, delay_seconds, priority))

    def ping(self) -> None:
        if TicketRunner.is_down:
            raise TaskRunnerError("The broker of this test is down.")
