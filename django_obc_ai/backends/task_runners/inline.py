"""The runner without a broker: each task runs at once, in the process that asks for it."""

from __future__ import annotations

from typing import Any

from django_obc_ai.backends.task_runners.base import BaseTaskRunner, run_at_once


class InlineRunner(BaseTaskRunner):
    """Run tasks at once; nothing can wait, so delayed ones are left to the next command.

    The default: no broker, no worker. What is queued behind a limit waits until
    ``manage.py run_jobs`` comes by.
    """

    is_immediate = True

    def _send(
        self, name: str, arguments: dict[str, Any], *, delay_seconds: float, priority: int
    ) -> None:
        """See BaseTaskRunner.enqueue()."""
        run_at_once(name, arguments)
