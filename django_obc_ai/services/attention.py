"""What needs a hand, in words: passed budgets, closed providers, stale indexes, waiting rows."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from django.utils import timezone

from django_obc_ai.conf import get_settings
from django_obc_ai.gateway import spool
from django_obc_ai.services._ages import age
from django_obc_ai.services.background import SEEN_SECONDS, Background, jobs
from django_obc_ai.services.figures import Figures, Gauge, IndexFreshness
from django_obc_ai.services.limits import CLOSING, LimitState
from django_obc_ai.services.pauses import Pause

#: Failures that come again until somebody changes a setting or a contract.
_NEEDS_SOMEBODY = {
    "authentication": "The provider refused the key",
    "configuration": "The configuration did not work",
    "model_not_found": "The provider does not know the model",
    "quota_exhausted": "The provider's quota was used up",
}
#: Of the requests that a provider allows by day.
NEARLY_PERCENT = 90
_SLOW_INDEX = datetime.timedelta(hours=1)
#: A forecast is told from so much of the limit on; before, it jumps about.
_TOLD_FROM_PERCENT = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Concern:
    """Something that does not get better by itself.

    Attributes:
        about: What it concerns, which says where to look.
        message: What is wrong, and what to do.
        key: The budget's key, the name of the index or the task, the category of the failures,
            the provider's alias, or the status of the jobs.
        is_urgent: Whether calls fail or rows may be lost meanwhile.
    """

    about: Literal[
        "budget", "index", "spool", "failures", "price", "provider", "fallbacks",
        "jobs", "workers", "schedule", "tasks",
    ]  # fmt: skip
    message: str
    key: str = ""
    is_urgent: bool = False


def read_concerns(
    found: Figures,
    gauges: Sequence[Gauge],
    indexes: Sequence[IndexFreshness],
    limits: Sequence[LimitState] = (),
    paused: Iterable[Pause] = (),
    background: Background | None = None,
) -> list[Concern]:
    """Return what needs a hand, the urgent first; it asks the database nothing.

    Args:
        found: The days whose last one is looked at for failures, and all for unknown prices.
        gauges: Of `read_gauges`.
        indexes: Of `read_indexes`.
        limits: Of `limits_now`.
        paused: Of `paused_providers`.
        background: Of `read_background`.
    """
    every = [
        *_of_spool(),
        *_of_failures(found),
        *_of_pauses(paused),
        *_of_limits(limits),
        *_of_fallbacks(found),
        *_of_budgets(gauges),
        *_of_indexes(indexes),
        *(() if background is None else _of_background(background)),
    ]
    if unknown := found.total.sums["cost_unknown"]:
        message = (
            f"{_operations(unknown, 'has', 'have')} a presumed cost: no price is known for the"
        )
        message += " model, or the provider did not tell what was used."
        every.append(Concern(about="price", message=message))
    return sorted(every, key=lambda each: not each.is_urgent)


def _of_budgets(gauges: Sequence[Gauge]) -> Iterator[Concern]:
    for gauge in gauges:
        used, resets = gauge.used_percent, ""
        if gauge.resets_at is not None:
            resets = f" until {timezone.localtime(gauge.resets_at):%Y-%m-%d %H:%M}"
        if used >= 100:
            does = f"calls are refused{resets}" if gauge.budget.enforce else "it is not enforced"
            message = f"The budget of {gauge.name} is used up ({used:.0f} %); {does}."
            yield Concern(
                about="budget", message=message, key=gauge.key, is_urgent=gauge.budget.enforce
            )
        elif reached := [mark for mark in gauge.marks if mark <= used]:
            message = f"The budget of {gauge.name} has passed {max(reached)} % of its limit."
            yield Concern(about="budget", message=message, key=gauge.key)
        elif gauge.expected and gauge.expected > gauge.limit and used >= _TOLD_FROM_PERCENT:
            message = f"At this pace the budget of {gauge.name} is used up before its end."
            yield Concern(about="budget", message=message, key=gauge.key)


def _of_indexes(indexes: Sequence[IndexFreshness]) -> Iterator[Concern]:
    for index in indexes:
        name, is_urgent = index.name, False
        if index.fault:
            message, is_urgent = f"The index {name} has a fault: {index.fault}", True
        elif not index.is_built:
            message = f"The index {name} is not built. Run: manage.py ai_index {name}"
            is_urgent = True
        elif not index.is_current:
            message = f"The settings of the index {name} changed since it was built."
            message += f" Run: manage.py ai_index {name}"
        elif index.oldest is not None and timezone.now() - index.oldest > _SLOW_INDEX:
            waiting = "1 change waits" if index.waiting == 1 else f"{index.waiting:,} changes wait"
            message = f"{waiting} for the index {name} since"
            message += f" {_local(index.oldest):%Y-%m-%d %H:%M}. Run: manage.py ai_index {name}"
        else:
            continue
        yield Concern(about="index", message=message, key=name, is_urgent=is_urgent)


def _of_spool() -> Iterator[Concern]:
    if aside := spool.count_set_aside():
        message = f"{_operations(aside, 'was', 'were')} set aside in the spool: broken, or refused"
        message += " by the database. The log of django_obc_ai.ledger says which."
        yield Concern(about="spool", message=message, is_urgent=True)
    if waiting := len(spool.find(get_settings().database)):
        message = f"{_operations(waiting, 'is', 'are')} waiting on disk and in no figure yet."
        message += " Run: manage.py ai_drain_spool"
        yield Concern(about="spool", message=message)


def _of_failures(found: Figures) -> Iterator[Concern]:
    for category, said in _NEEDS_SOMEBODY.items():
        if number := found.days[found.last].errors.get(category):
            times = "once" if number == 1 else f"{number:,} times"
            message = f"{said} {times} on {found.last:%Y-%m-%d}."
            yield Concern(about="failures", message=message, key=category, is_urgent=True)


def _of_pauses(paused: Iterable[Pause]) -> Iterator[Concern]:
    for pause in paused:
        until = "" if pause.until is None else f" until {_local(pause.until):%Y-%m-%d %H:%M}"
        message = f"The provider {pause.alias} is paused{until}, and asked by nobody:"
        message += f" {pause.reason}"
        yield Concern(about="provider", message=message, key=pause.alias, is_urgent=True)


def _of_limits(limits: Sequence[LimitState]) -> Iterator[Concern]:
    if any(each.state is None for each in limits):
        message = "The coordinator does not answer: every process keeps the limits of providers"
        message += " by itself, and equal calls of several are paid one by one."
        yield Concern(about="provider", message=message)
    for each in limits:
        name, until, day = each.alias, "", each.day
        if each.state is not None and each.is_closed:
            if each.until is not None:
                until = f" until {timezone.localtime(each.until):%Y-%m-%d %H:%M:%S}"
            message = f"The provider {name} is closed{until}: {CLOSING[each.state.reason]}."
            yield Concern(about="provider", message=message, key=name, is_urgent=True)
            if each.state.reason == "quota":  # which says the same of its day
                continue
        if day is not None and day.percent >= NEARLY_PERCENT and each.resets_at is not None:
            ends = f"{timezone.localtime(each.resets_at):%Y-%m-%d %H:%M}"
            message = f"{day.used:,} of the {day.limit:,} requests that the provider {name} allows"
            message += f" by day are used; the next ones come at {ends}."
            is_over = day.used >= day.limit
            yield Concern(about="provider", message=message, key=name, is_urgent=is_over)


def _of_fallbacks(found: Figures) -> Iterator[Concern]:
    if number := found.days[found.last].sums["fallbacks"]:
        message = f"{_operations(number, 'was', 'were')} sent to another provider than the one"
        message += f" that was asked, on {found.last:%Y-%m-%d}."
        yield Concern(about="fallbacks", message=message)


def _of_background(found: Background) -> Iterator[Concern]:
    if found.broker_fault:
        message = f"The broker cannot be asked, so nothing can be submitted: {found.broker_fault}"
        yield Concern(about="workers", message=message, is_urgent=True)
    unseen = f"no worker was seen within the last {age(SEEN_SECONDS)}"
    if found.is_deserted:
        message = f"{jobs(found.waiting, 'waits', 'wait')}, and {unseen}. Start a worker."
        yield Concern(about="workers", message=message, is_urgent=True)
    elif found.is_unmanned and found.heard_at is not None:
        message = f"{unseen.capitalize()}; one was there {age(found.since(found.heard_at))} ago."
        message += " Nothing is indexed, and the schedule stands still. Start a worker."
        yield Concern(about="workers", message=message)
    if found.is_late and not found.is_deserted:
        message = f"A job has waited for a worker for {age(found.untaken_seconds)}."
        message += " Run: manage.py run_jobs" if found.is_immediate else " Start more workers."
        yield Concern(about="jobs", message=message, key="queued")
    if found.is_beat_late and not (found.is_deserted or found.is_unmanned):  # whose fault it is
        beat = found.beat_at
        when = "never worked" if beat is None else f"last worked at {_local(beat):%Y-%m-%d %H:%M}"
        message = f"The schedule {when}: nothing is checked, reported, purged or recovered. Start"
        start = " the scheduler, or more workers if the line at the broker is long."
        message += start if found.workers else " a worker."
        yield Concern(about="schedule", message=message)
    for task in found.failed_tasks:
        why = f": {task.error_category}" if task.error_category else ""
        message = f"The scheduled task {task.name} failed last time{why}."
        yield Concern(about="tasks", message=message, key=task.name)
    if found.failed:
        message = f"{jobs(found.failed, 'has', 'have')} failed in the last 24 hours."
        yield Concern(about="jobs", message=message, key="failed")


def _operations(number: int, one: str, many: str) -> str:
    return f"1 operation {one}" if number == 1 else f"{number:,} operations {many}"


def _local(moment: datetime.datetime) -> datetime.datetime:
    return timezone.localtime(moment) if timezone.is_aware(moment) else moment
