"""Work in the background on the dashboard: what waits, who works, how the schedule went."""

from __future__ import annotations

import datetime
from typing import Any

from django.utils import timezone

from django_obc_ai.admin.dashboard_links import Link
from django_obc_ai.admin.dashboard_tables import Cell, Table
from django_obc_ai.admin.dashboard_writing import count
from django_obc_ai.models import Job
from django_obc_ai.services._ages import age
from django_obc_ai.services.background import DAY, SEEN_SECONDS, Background, Queue, TaskRun

_QUEUED, _RUNNING, _FAILED = Job.Status.QUEUED, Job.Status.RUNNING, Job.Status.FAILED


def panel(found: Background, link: Link) -> dict[str, Any] | None:
    """Return the panel; None where nothing works in the background."""
    if not found.is_used:
        return None
    return {
        "figures": [each for each in _figures(found, link) if each],
        "queues": _queues(found, link),
        "tasks": _tasks(found, link),
        "tasks_url": link.to("taskstate"),
    }


def jobs_url(link: Link, status: str, now: datetime.datetime | None = None) -> str:
    """Return the list of the jobs of a status; of failed ones, those of the last 24 hours."""
    lately = {"finished_at__gte": (now or timezone.now()) - DAY} if status == _FAILED else {}
    return link.listed("job", status__exact=status, **lately)


def _figures(found: Background, link: Link) -> list[dict[str, Any]]:
    oldest = found.oldest_at
    waits = "" if oldest is None else f"the oldest for {age(found.since(oldest))}"
    figures = [
        _figure("jobs-waiting", "Jobs waiting", found.waiting, jobs_url(link, _QUEUED),
                note=waits, is_bad=found.is_late or found.is_deserted),
        _figure("jobs-running", "Jobs running", found.running, jobs_url(link, _RUNNING)),
        _figure("jobs-failed", "Failed in 24 hours", found.failed,
                jobs_url(link, _FAILED, found.now), is_bad=bool(found.failed)),
    ]  # fmt: skip
    if found.is_immediate:
        return figures
    seen = f"heard of within {age(SEEN_SECONDS)}"
    return [*figures, _broker(found), _workers(found, link, seen), _beat(found, link)]


def _figure(name: str, label: str, number: int, url: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "value": count(number),
        "exact": number,
        "url": url,
    } | more


def _workers(found: Background, link: Link, note: str) -> dict[str, Any]:
    url = link.to("worker")
    is_bad = found.is_deserted or found.is_unmanned
    return _figure("workers", "Workers", found.workers, url, note=note, is_bad=is_bad)


def _broker(found: Background) -> dict[str, Any]:
    shown = {"name": "at-broker", "label": "Tasks at the broker", "value": count(found.at_broker)}
    if found.broker_fault:
        return shown | {"exact": "", "note": found.broker_fault, "is_bad": True}
    note = "it does not say" if found.at_broker is None else ""
    return shown | {"exact": "" if found.at_broker is None else found.at_broker, "note": note}


def _beat(found: Background, link: Link) -> dict[str, Any]:
    beat = found.beat_at
    is_unnoted = found.is_beat_late and not found.workers
    return {
        "name": "beat",
        "label": "Since the last beat",
        "value": "never" if beat is None else age(found.since(beat)),
        "exact": "" if beat is None else beat.isoformat(),
        "url": link.to("taskstate"),
        "note": "no worker is there to note it" if is_unnoted else "",
        "is_bad": found.is_beat_late,
    }


def _queues(found: Background, link: Link) -> Table:
    rows = [_queue(each, found, link) for each in found.queues if each.waiting or each.running]
    return Table(header=["Provider", "Waiting", "Running", "Oldest waits for"], rows=rows)


def _queue(queue: Queue, found: Background, link: Link) -> list[Cell]:
    def to(status: str) -> str:
        return link.listed("job", status__exact=status, provider=queue.provider)

    seconds = None if queue.oldest_at is None else found.since(queue.oldest_at)
    return [
        Cell(text=queue.provider, plain=queue.provider),
        Cell(text=count(queue.waiting), plain=queue.waiting, url=to(_QUEUED)),
        Cell(text=count(queue.running), plain=queue.running, url=to(_RUNNING)),
        Cell(text="-" if seconds is None else age(seconds), plain=seconds),
    ]


def _tasks(found: Background, link: Link) -> Table:
    rows = [_task(each, found, link) for each in found.tasks]
    return Table(header=["Task", "Last began", "Took", "Outcome"], rows=rows)


def _task(task: TaskRun, found: Background, link: Link) -> list[Cell]:
    began, ended, took = task.started_at, task.finished_at, None
    if began is not None and ended is not None and ended >= began:
        took = (ended - began).total_seconds()
    told = "never" if began is None else f"{age(found.since(began))} ago"
    outcome = "done" if task.is_ok else f"failed: {task.error_category or 'no category'}"
    if task.is_ok and ended is None:
        outcome = "-"
    url = link.listed("taskstate", name__exact=task.name)
    return [
        Cell(text=task.name, plain=task.name, url=url),
        Cell(text=told, plain=told),
        Cell(text="-" if took is None else f"{took:,.1f} s", plain=took),
        Cell(text=outcome, plain=outcome),
    ]
