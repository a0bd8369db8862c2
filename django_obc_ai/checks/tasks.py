"""W018, W019 and W020: work in the background, where settings of several places must agree."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from django.core.checks import CheckMessage

from django_obc_ai.backends.providers import providers
from django_obc_ai.backends.task_runners import BaseTaskRunner, task_runners
from django_obc_ai.backends.task_runners.celery import PREFIX, CeleryRunner
from django_obc_ai.checks.messages import warning
from django_obc_ai.conf import find_errors, get_settings
from django_obc_ai.exceptions import ConfigurationError

_USUAL_ATTEMPT_SECONDS = 60.0  # of providers that do not say


def check_task_runners(**_: Any) -> list[CheckMessage]:
    """Warn of work that nobody would do, or that would be done over and over."""
    if find_errors():
        return []
    messages: list[CheckMessage] = []
    for alias in task_runners:
        try:
            runner = task_runners[alias]
            if alias == "default":
                messages += _check_queueing(runner)
            if isinstance(runner, CeleryRunner) and not runner.is_immediate:
                where = task_runners.where(alias)
                messages += [*_check_times(runner, where), *_check_carrying(runner, where)]
        except ConfigurationError:  # check_backends reports it
            continue
    return messages


def _check_queueing(runner: BaseTaskRunner) -> Iterator[CheckMessage]:
    """W018: what is queued behind a limit, and nobody takes up."""
    if not runner.is_immediate:
        return
    for alias, limits in get_settings().rate_limits.items():
        if limits.when_exceeded == "queue":
            yield warning(
                "W018",
                f"OBC_AI['RATE_LIMITS'][{alias!r}] queues calls, but"
                " OBC_AI['TASK_RUNNERS']['default'] runs tasks at once: nothing takes them up"
                " when the limit allows it again.",
                "Use Celery or another runner with workers; or have manage.py run_jobs come by, and"
                " then silence W018.",
            )


def longest_seconds() -> float:
    """Return how long a task that answers jobs may take: its slice, and the last job's call."""
    parsed = get_settings()
    attempts = [_USUAL_ATTEMPT_SECONDS]
    for alias in providers:
        try:
            found = getattr(providers[alias], "deadline_seconds", None)
        except ConfigurationError:  # check_backends reports it
            continue
        attempts += [float(found)] if isinstance(found, (int, float)) else []
    return parsed.jobs.slice_seconds + parsed.retry.deadline_seconds + max(attempts)


def _check_times(runner: CeleryRunner, where: str) -> Iterator[CheckMessage]:
    """W019: what Celery gives to another worker, or ends, while it is worked on."""
    longest = longest_seconds()
    visible = runner.visibility_seconds
    hint = f"Give it more than {longest:.0f} seconds, or lower OBC_AI['JOBS']['slice_seconds']."
    if visible is not None and visible < longest:
        yield warning(
            "W019",
            f"{where}: after a visibility_timeout of {visible:.0f} seconds the broker hands a task"
            f" out again, while answering jobs may take {longest:.0f}.",
            hint,
        )
    # Ours have limits of their own, so that those for all tasks are none for them.
    import_module("django_obc_ai._celery")
    runner.app.finalize()
    task = runner.app.tasks[PREFIX + "generate_text"]
    limits = {name: getattr(task, name) or math.inf for name in ("time_limit", "soft_time_limit")}
    name = min(limits, key=limits.__getitem__)
    if limits[name] < longest:
        yield warning(
            "W019",
            f"{where}: Celery's task_annotations end django_obc_ai.generate_text in the middle of a"
            f" paid call: by a {name} of {limits[name]:.0f} seconds, while answering jobs may take"
            f" {longest:.0f}.",
            hint,
        )


def _check_carrying(runner: CeleryRunner, where: str) -> Iterator[CheckMessage]:
    """W020: an app that cannot carry our tasks, often since it is not the project's."""
    conf = runner.app.conf
    if not (conf.broker_write_url or conf.broker_url):
        yield warning(
            "W020",
            f"{where}: the Celery app {runner.app.main!r} has no broker_url, so tasks go to a"
            " RabbitMQ on this machine.",
            "Set it; or name the project's app in OPTIONS['app'], or import it in the project's"
            " __init__.py.",
        )
    if not {"json", "application/json"} & set(conf.accept_content):
        yield warning(
            "W020",
            f"{where}: Celery's accept_content lacks 'json', in which tasks are sent: workers"
            " would refuse them.",
            "Add 'json' to it.",
        )
