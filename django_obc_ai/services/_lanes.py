"""Looking at many parts within one time, so that what hangs holds up nothing else."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections

from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.logs import events
from django_obc_ai.services._provider_health import HealthItem, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One thing to look at.

    Attributes:
        name: For example "provider default".
        check: Looks at it, with whatever time that takes.
        lane: Parts of one lane are looked at one after another; lanes are beside each other.
        if_late: What it means that time ran out.
    """

    name: str
    check: Callable[[], HealthItem]
    lane: str
    if_late: Status = "unknown"


#: Threads that did not end in time, by lane; the next look at that lane waits for no second one.
_stuck: dict[str, threading.Thread] = {}


def look_at(parts: Sequence[Part], seconds: float) -> list[HealthItem]:
    """Return what was found of each part, in order, after so many seconds at the latest.

    Each lane is a thread. A part that hangs keeps its thread, which ends with the process at the
    latest; threads have connections of their own and close them. Inside a transaction, and on an
    SQLite database in memory, all is done in this thread and without a limit, since others would
    see another database.
    """
    if _sees_alone():
        return [_guarded(part) for part in parts]
    found: dict[str, HealthItem] = {}
    lanes: dict[str, list[Part]] = {}
    for part in parts:
        lanes.setdefault(part.lane, []).append(part)
    deadline = time.monotonic() + seconds
    threads: dict[str, threading.Thread] = {}
    # Those that hung last time come last, and begin when the thread of that time has ended: asked
    # again and again, what hangs would take one more each time.
    for lane in sorted(lanes, key=lambda lane: lane in _stuck):
        if (before := _stuck.get(lane)) is not None:
            before.join(max(0.0, deadline - time.monotonic()))
            if before.is_alive():
                continue
        run, arguments = contextvars.copy_context().run, (_run, lanes[lane], found)
        thread = threading.Thread(target=run, args=arguments, name=f"obc-ai-{lane}", daemon=True)
        threads[lane] = thread
        thread.start()
    for lane, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            _stuck[lane] = thread
        else:
            _stuck.pop(lane, None)
    seen = dict(found)  # what comes in from here on comes too late
    return [seen.get(part.name) or _late(part, seconds) for part in parts]


def _sees_alone() -> bool:
    """Return whether other threads would not see this thread's databases."""
    return any(
        each.in_atomic_block or getattr(each, "is_in_memory_db", lambda: False)()
        for each in connections.all()
    )


def _run(parts: list[Part], found: dict[str, HealthItem]) -> None:
    try:
        for part in parts:
            found[part.name] = _guarded(part)
    finally:
        connections.close_all()  # this thread's own


def _guarded(part: Part) -> HealthItem:
    """Run one check; wrong settings are an "error", what else failed "unknown" and logged."""
    try:
        return part.check()
    except ConfigurationError as error:
        return HealthItem(name=part.name, status="error", message=error.message, hint=error.hint)
    # One part must not keep the others from being told.
    except Exception as error:  # noqa: BLE001
        events.HEALTH_CHECK_FAILED.log(about=part.name, error=error, part=part.name)
        return HealthItem(
            name=part.name,
            status="unknown",
            message=f"Could not be checked ({type(error).__name__}).",
            hint="See the log of django_obc_ai.health.",
        )


def _late(part: Part, seconds: float) -> HealthItem:
    return HealthItem(
        name=part.name,
        status=part.if_late,
        message=f"It did not answer within {seconds:g} seconds.",
        hint="Look at what it stands on, or give it more time with --timeout.",
    )


def expand(names: Sequence[str], parts: Sequence[Part]) -> list[Part]:
    """Return the parts of some names; a first word such as "provider" stands for all of them.

    Raises:
        ValueError: There is no such part; the message lists them.
    """
    wanted: dict[str, Any] = {}
    for name in names:
        fitting = [each for each in parts if each.name == name or each.name.startswith(f"{name} ")]
        if not fitting:
            valid = ", ".join(repr(each.name) for each in parts)
            raise ValueError(f"There is no part {name!r} to look at. There are: {valid}.")
        wanted |= {each.name: each for each in fitting}
    return [each for each in parts if each.name in wanted]
