"""Tickets: word to the task runner's workers that jobs wait, and never a line of them.

A ticket takes a worker for a while, so that a line of tickets would keep every other task waiting.
One is enough: whoever takes it sends the next before beginning if there is more to do. So there is
one on its way at most, and one more for later. What is on its way is noted in a row of `TaskState`.
A ticket that a broker has lost holds nothing up for longer than `LOST_AFTER`.
"""

from __future__ import annotations

import datetime
from typing import Any

from django.db.models import Q
from django.utils import timezone

from django_obc_ai.backends.task_runners import task_runners
from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import ConfigurationError, TaskRunnerError
from django_obc_ai.models import TaskState
from django_obc_ai.models.connections import persist
from django_obc_ai.services import tasks

#: What was not taken for so long counts as lost. The schedule looks a little less often.
LOST_AFTER = datetime.timedelta(seconds=25)
#: Brokers do not like what is to be delivered much later; it is sent anew then.
_FARTHEST = datetime.timedelta(minutes=10)
_TASK, _KEY = "generate_text", "ticket"


def send(job_id: str = "", *, must_reach: bool = False) -> None:
    """Send a ticket, unless one is on its way.

    Args:
        job_id: Of the job that it is for. A ticket is for any job, but a runner without workers
            answers no more than this one for who waits in front of it.
        must_reach: Raise also if nothing is to be sent and the broker cannot be reached.

    Raises:
        TaskRunnerError: The broker did not take it.
    """
    now = timezone.now()
    on_its_way = Q(started_at__range=(now - LOST_AFTER, now + LOST_AFTER))
    if task_runners["default"].is_immediate:
        tasks.send(_TASK, job_id=job_id)
    elif _note(~on_its_way | Q(started_at=None), started_at=now):
        _send("started_at")
    elif must_reach:
        task_runners["default"].ping()


def send_later(due_at: datetime.datetime, *, must_reach: bool = False) -> None:
    """Send a ticket that comes at a time, unless one comes until then.

    Where the runner cannot wait, the schedule, or a command, comes by.

    Args:
        due_at: When a job may be taken.
        must_reach: See send().

    Raises:
        TaskRunnerError: The broker did not take it.
    """
    runner, now = task_runners["default"], timezone.now()
    at = min(due_at, now + _FARTHEST)
    comes = Q(lease_until__range=(now, at))
    if runner.supports_delay and _note(~comes | Q(lease_until=None), lease_until=at):
        _send("lease_until", delay_seconds=(at - now).total_seconds(), is_delayed=True)
    elif must_reach:
        runner.ping()


def take(*, is_delayed: bool) -> None:
    """Note that a ticket has come: whoever wants another from now on has to send it."""
    _change(Q(), **{"lease_until" if is_delayed else "started_at": None})


def _send(column: str, *, delay_seconds: float = 0.0, **arguments: Any) -> None:
    try:
        tasks.send(_TASK, delay_seconds=delay_seconds, **arguments)
    except (TaskRunnerError, ConfigurationError):
        _change(Q(), **{column: None})
        raise


def _note(condition: Q, **values: Any) -> bool:
    """Note a ticket that is going to be sent, if it is to be; of several at once one does."""
    rows = TaskState.objects.filter(name=_TASK, key=_KEY)
    found = _ask(lambda: list(rows.values_list("pk", flat=True)))
    if not found:
        row = TaskState(name=_TASK, key=_KEY)
        _ask(lambda: TaskState.objects.bulk_create([row], ignore_conflicts=True))
    # Looked at first, since an UPDATE that finds nothing still takes SQLite's lock.
    return bool(_ask(rows.filter(condition).exists) and _change(condition, **values))


def _change(condition: Q, **values: Any) -> int:
    rows = TaskState.objects.filter(condition, name=_TASK, key=_KEY)
    return int(_ask(lambda: rows.update(**values)))


def _ask(work: Any) -> Any:
    # Any: whatever the query returns.
    return persist(get_settings().database, work)
