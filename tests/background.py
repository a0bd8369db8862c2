"""Jobs, workers and scheduled tasks as rows, and a runner whose broker says what a test says."""

from __future__ import annotations

import datetime
import threading
from typing import Any, ClassVar

from django.utils import timezone

from django_obc_ai.backends.task_runners import BaseTaskRunner
from django_obc_ai.exceptions import TaskRunnerError
from django_obc_ai.models import Job, TaskState, Worker
from tests.fakes import entry

LATELY = datetime.timedelta(seconds=5)


class ScriptedRunner(BaseTaskRunner):
    """Notes what it is to carry; its broker has so many tasks, is away, or hangs."""

    over: ClassVar[threading.Event] = threading.Event()

    def __init__(self, *, waiting: int | None = 3, fault: str = "", hangs: bool = False) -> None:
        self.count, self.fault, self.hangs = waiting, fault, hangs
        self.sent: list[str] = []

    def _send(
        self, name: str, arguments: dict[str, Any], *, delay_seconds: float, priority: int
    ) -> None:
        self._answer()
        self.sent.append(name)

    def ping(self) -> None:
        self._answer()

    def waiting(self) -> int | None:
        self._answer()
        return self.count

    def _answer(self) -> None:
        if self.hangs:
            self.over.wait(60)
        if self.fault:
            raise TaskRunnerError(self.fault)


def runner(**options: Any) -> dict[str, Any]:
    """OBC_AI["TASK_RUNNERS"] with such a runner."""
    return dict(entry(ScriptedRunner, **options))


def job(ago: datetime.timedelta = LATELY, **values: Any) -> Job:
    """A job that was made, is due, began or ended so long ago."""
    at = timezone.now() - ago
    given: dict[str, Any] = {"created_at": at, "due_at": at, "request": {"prompt": "Whose land?"}}
    status = values.get("status", "queued")
    if status != "queued":
        given |= {"started_at": at, "attempts": 1}
    if status == "running":
        given |= {"owner": "w", "lease_until": timezone.now() + datetime.timedelta(minutes=1)}
    if status in ("succeeded", "failed", "cancelled"):
        given |= {"finished_at": at, "expires_at": at + datetime.timedelta(days=7)}
    if status == "failed":
        given |= {"error_category": "timeout"}
    return Job.objects.create(**{**given, **values})


def worker(ago: datetime.timedelta = LATELY, name: str = "host:1") -> None:
    Worker.objects.create(name=name, seen_at=timezone.now() - ago)


def task(name: str = "recover_jobs", ago: datetime.timedelta = LATELY, **values: Any) -> None:
    at = timezone.now() - ago
    TaskState.objects.create(
        **{"name": name, "started_at": at, "finished_at": at, "runs": 1, **values}
    )
