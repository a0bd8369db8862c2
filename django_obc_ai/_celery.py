"""The package's tasks as Celery's, one for each in ``services.task_table.TASKS``.

`django_obc_ai.tasks` imports this where Celery is installed, perhaps while Django's settings are
still being read.
"""

from __future__ import annotations

from datetime import datetime, time, tzinfo
from importlib import import_module
from typing import Any

from celery import Task, shared_task
from celery.schedules import crontab
from celery.signals import worker_ready, worker_shutdown
from django.utils import timezone

from django_obc_ai.backends.task_runners.base import run_here
from django_obc_ai.backends.task_runners.celery import PREFIX
from django_obc_ai.services.task_table import SCHEDULE, TASKS

#: Which the broker gives out again at once if its worker dies: it is short, and the database counts
#: the attempts of what it does. The others are confirmed when they begin, and come again with the
#: schedule. One of an hour that is not confirmed before its end would cost a worker its connection
#: to RabbitMQ; one that kills its worker would kill the next.
_GIVEN_OUT_AGAIN = ("generate_text",)
#: Without one of its own a task gets the time limit that a project means for its own tasks. Celery
#: knows no "unlimited" for a task; each of ours ends long before that.
_LIMIT_SECONDS = 7 * 24 * 3600
#: What waits longer for a worker is dropped.
_ROUNDS, _MOST_SECONDS = 10, 12 * 3600.0


class DailyAt(crontab):  # type: ignore[misc]  # Celery has no types
    """Once a day by Django's ``TIME_ZONE``, whatever Celery's own time zone is."""

    def __init__(self, minute: Any = "0", hour: Any = "0", *rest: Any, **options: Any) -> None:
        """Take what a crontab takes: Celery's beat copies schedules."""
        super().__init__(minute, hour, *rest, **options)

    @property
    def tz(self) -> tzinfo:
        """The zone that hours are meant in."""
        return timezone.get_default_timezone()

    def maybe_make_aware(self, *given: Any, **options: Any) -> datetime:
        """Return a moment in that zone, as Celery 5.5 does for naive ones alone."""
        found: datetime = super().maybe_make_aware(*given, **options)
        return found.astimezone(self.tz)


def beat_schedule(**changes: Any) -> dict[str, dict[str, Any]]:
    """Return entries for Celery's ``beat_schedule``, which a project adds to its own.

        CELERY_BEAT_SCHEDULE = {**beat_schedule(), "mine": {...}}

    in Django's settings, or ``beat_schedule`` wherever else the app is configured: in one place,
    since Celery takes one of two. A task that no worker took for ten rounds or twelve hours is
    dropped, so that workers which were away are not flooded.

    Args:
        changes: By name of a task in ``services.task_table.SCHEDULE``: seconds, a `datetime.time`
            for once a day by ``TIME_ZONE``, a schedule of Celery's, or None to leave it out.

    Raises:
        TypeError: There is no such task in the schedule, or its value is none of these.
    """
    for name in changes:
        if name not in SCHEDULE:
            raise TypeError(f"The schedule has no task {name!r}; it has {', '.join(SCHEDULE)}.")
    return {
        PREFIX + name: _entry(name, when)
        for name, when in {**SCHEDULE, **changes}.items()
        if when is not None
    }


def _entry(name: str, when: Any) -> dict[str, Any]:
    expires = _MOST_SECONDS
    if isinstance(when, time):
        when = DailyAt(when.minute, when.hour)
    elif isinstance(when, (int, float)) and not isinstance(when, bool) and when > 0:
        expires = min(_ROUNDS * when, _MOST_SECONDS)
    elif not hasattr(when, "is_due"):
        raise TypeError(f"beat_schedule({name}=...) takes seconds, a time or a schedule.")
    return {"task": PREFIX + name, "schedule": when, "options": {"expires": expires}}


class _OwnLimits(Task):  # type: ignore[misc]  # Celery has no types
    """A task whose limits agree, whichever of them ``task_annotations`` changes."""

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Lower the soft limit to the hard one: beat would refuse to send the task."""
        if cls.time_limit and cls.soft_time_limit and cls.soft_time_limit > cls.time_limit:
            cls.soft_time_limit = cls.time_limit


def _share(name: str) -> None:
    def task(**arguments: Any) -> None:
        run_here(name, arguments)

    task.__name__ = name
    task.__doc__ = f"Run the task {name!r}; see ``services.task_table.TASKS``."
    shared_task(
        name=PREFIX + name,
        base=_OwnLimits,
        time_limit=_LIMIT_SECONDS,
        soft_time_limit=_LIMIT_SECONDS,
        acks_late=name in _GIVEN_OUT_AGAIN,
        reject_on_worker_lost=name in _GIVEN_OUT_AGAIN,
        ignore_result=True,
        max_retries=0,  # what is left to do is in the database, and comes again from there
        serializer="json",
    )(task)


for _name in TASKS:
    _share(_name)


_sightings: list[Any] = []


@worker_ready.connect(weak=False)  # type: ignore[untyped-decorator]  # Celery has no types
def _begin(sender: Any, **_: Any) -> None:
    # Not before: this module is imported while there are no models yet.
    watch = import_module("django_obc_ai.services.workers").Sightings(sender.hostname)
    _sightings.append(watch)
    watch.start()


@worker_shutdown.connect(weak=False)  # type: ignore[untyped-decorator]  # Celery has no types
def _end(**_: Any) -> None:
    while _sightings:
        _sightings.pop().stop()
