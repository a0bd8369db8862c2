"""The runner that hands tasks to Django's own task framework, which came with 6.0."""

from __future__ import annotations

import importlib
from datetime import timedelta
from typing import Any, ClassVar

import django
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from django_obc_ai.backends.task_runners.base import BaseTaskRunner
from django_obc_ai.exceptions import ConfigurationError, MissingDependencyError, TaskRunnerError

_BOUND = 100  # priorities of Django's tasks are whole numbers from -100 to 100


class DjangoTasksRunner(BaseTaskRunner):
    """Enqueue tasks at a backend in Django's ``TASKS``; whatever works for it runs them.

    Django itself has no worker, and no schedule: a package such as django-tasks-db brings the
    former, cron or the like the latter. Delay and priority mean what the backend makes of them.
    """

    sdk_module: ClassVar[str] = "django.tasks"

    def __init__(self, *, backend: str = "default", queue_name: str | None = None) -> None:
        """Keep the options.

        Args:
            backend: Alias in ``TASKS``.
            queue_name: One of its ``QUEUES``; None: "default", or the first in the alphabet
                where there is none of that name.
        """
        self.alias = backend
        self.queue_name = queue_name

    @classmethod
    def missing_dependency(cls) -> MissingDependencyError:
        """Return the error that says since when there are tasks."""
        return MissingDependencyError(
            f"{cls.__name__} needs Django 6.0 or later; this is {django.get_version()}.",
            hint="Upgrade Django, or use CeleryRunner or InlineRunner.",
            check_id="E005",
        )

    @property
    def backend(self) -> Any:
        """Django's backend.

        Raises:
            ConfigurationError: ``TASKS`` has no such alias, or its backend cannot be made.
        """
        tasks = self.import_sdk()
        try:
            return tasks.task_backends[self.alias]
        except ImproperlyConfigured as error:
            raise ConfigurationError(
                f"DjangoTasksRunner: TASKS[{self.alias!r}] cannot be used: {error}",
                hint="Give the alias of a backend in Django's TASKS.",
                check_id="E004",
            ) from error

    @property
    def is_immediate(self) -> bool:
        """Is it the backend that runs tasks at once, which is Django's default?"""
        immediate = self.import_sdk("django.tasks.backends.immediate")
        return isinstance(self.backend, immediate.ImmediateBackend)

    @property
    def supports_delay(self) -> bool:
        """See Django's ``supports_defer``."""
        return bool(self.backend.supports_defer)

    @property
    def supports_priority(self) -> bool:
        """See Django's flag of the same name."""
        return bool(self.backend.supports_priority)

    def _send(
        self, name: str, arguments: dict[str, Any], *, delay_seconds: float, priority: int
    ) -> None:
        """See BaseTaskRunner.enqueue()."""
        changes: dict[str, Any] = {"backend": self.alias, "queue_name": self._queue()}
        if self.supports_priority:
            changes["priority"] = max(-_BOUND, min(_BOUND, priority))
        if delay_seconds:
            changes["run_after"] = timezone.now() + timedelta(seconds=delay_seconds)
        task = self._module().run_task.using(**changes)
        try:
            task.enqueue(name, arguments)
        except Exception as error:
            raise TaskRunnerError(
                f"Django's task backend {self.alias!r} did not take a task: {type(error).__name__}."
            ) from error

    def ping(self) -> None:
        """Do nothing: Django's backends offer no way to ask; a database is there or all is lost.

        Raises:
            ConfigurationError: See `backend`.
        """
        self.backend  # noqa: B018 - raises

    def check(self, setting: str) -> list[CheckMessage]:
        """Make the backend and the task, so that what is wrong is reported."""
        self._queue()
        return []

    def _queue(self) -> str:
        queues = self.backend.queues
        if self.queue_name is None:
            return str(self._module().queue_of(self.alias))
        if queues and self.queue_name not in queues:
            raise ConfigurationError(
                f"DjangoTasksRunner: queue_name {self.queue_name!r} is none of the QUEUES of"
                f" TASKS[{self.alias!r}].",
                hint=f"It has {', '.join(sorted(queues))}.",
                check_id="E004",
            )
        return self.queue_name

    def _module(self) -> Any:
        """Import the task, which Django makes for a backend, so that settings are needed."""
        return importlib.import_module(f"{__package__}._django_task")
