"""What the programs of a site take while it is used: time, memory, files, connections.

All is read from /proc and from PostgreSQL's own view, every few seconds; see deploy_load.py.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psycopg

TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Use:
    """What one program took, all its processes together.

    Attributes:
        user, system: Seconds of processor time since each of its processes began.
        memory: Bytes; what processes share is counted once (PSS).
        own: Bytes of that which are no files: what can leak.
        files: Open ones, sockets included.
        processes: How many there are.
    """

    user: float
    system: float
    memory: int
    own: int
    files: int
    processes: int


@dataclass
class Samples:
    """What was seen, one entry of each list for each moment.

    Attributes:
        at: Seconds since the first.
        uses: By program.
        connections: To the database, by the name that a program gave there.
        idle_in_transaction: Those with an open transaction that do nothing, at most.
        measuring: How many cores it took to see all this.
    """

    at: list[float] = field(default_factory=list)
    uses: dict[str, list[Use]] = field(default_factory=dict)
    connections: dict[str, list[int]] = field(default_factory=dict)
    idle_in_transaction: int = 0
    measuring: float = 0.0

    def cpu(self, name: str) -> tuple[float, float]:
        """Return how many cores a program took, in user mode and in all."""
        lived = [
            (at, use) for at, use in zip(self.at, self.uses[name], strict=True) if use.processes
        ]
        (began, first), (ended, last) = lived[0], lived[-1]
        seconds = ended - began
        user, system = last.user - first.user, last.system - first.system
        return user / seconds, (user + system) / seconds

    def thirds(self, values: Sequence[float]) -> tuple[float, float, float]:
        """Return the medians of the first, the middle and the last third."""
        size = max(1, len(values) // 3)
        parts = values[:size], values[size : 2 * size] or values, values[2 * size :] or values
        return tuple(statistics.median(each) for each in parts)  # type: ignore[return-value]

    def slope(self, values: Sequence[float]) -> float:
        """Return by how much values grow in a minute, by a line through the last two thirds."""
        begin = len(values) // 3
        fitted = statistics.linear_regression(self.at[begin:], values[begin:])
        return fitted.slope * 60


class Sampler:
    """Looks every few seconds, in a thread of its own."""

    def __init__(self, programs: Mapping[str, int], dsn: str, *, every: float) -> None:
        """Prepare it.

        Args:
            programs: The first process of each, by name.
            dsn: Of the database.
            every: Seconds.
        """
        self.samples = Samples()
        self._programs, self._dsn, self._every = programs, dsn, every
        self._over = threading.Event()
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            with psycopg.connect(
                self._dsn, autocommit=True, application_name="sampler"
            ) as connection:
                began = time.monotonic()
                while True:
                    self._look(connection, time.monotonic() - began)
                    if self._over.wait(self._every):
                        break
                self.samples.measuring = time.thread_time() / (time.monotonic() - began)
        except BaseException as error:  # raised where the thread is joined
            self._failure = error

    def _look(self, connection: psycopg.Connection[tuple[str, str]], at: float) -> None:
        samples = self.samples
        samples.at.append(at)
        for name, first in self._programs.items():
            samples.uses.setdefault(name, []).append(use_of(first))
        rows = connection.execute(
            "SELECT application_name, state FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        ).fetchall()
        seen = Counter(name for name, _ in rows)
        for name in {*seen, *samples.connections}:
            series = samples.connections.setdefault(name, [0] * (len(samples.at) - 1))
            series.append(seen[name])
        idle = sum((state or "").startswith("idle in transaction") for _, state in rows)
        samples.idle_in_transaction = max(samples.idle_in_transaction, idle)


def use_of(first: int) -> Use:
    """Return what a process and all below it take."""
    totals: Counter[str] = Counter()
    for pid in family(first):
        try:
            _add(totals, Path(f"/proc/{pid}"))
        except OSError:
            continue  # it has ended
    return Use(
        user=totals["user"] / TICK, system=totals["system"] / TICK, memory=totals["Pss:"] * 1024,
        own=totals["Pss_Anon:"] * 1024, files=totals["files"], processes=totals["processes"],
    )  # fmt: skip


def _add(totals: Counter[str], process: Path) -> None:
    stat = (process / "stat").read_text().rpartition(")")[2].split()
    lines = (process / "smaps_rollup").read_text().splitlines()[1:]
    files = sum(1 for _ in (process / "fd").iterdir())
    # Those of children that have ended count for whoever waited for them.
    totals["user"] += int(stat[11]) + int(stat[13])
    totals["system"] += int(stat[12]) + int(stat[14])
    totals["files"] += files
    totals["processes"] += 1
    for line in lines:
        name, value = line.split()[:2]
        if name in ("Pss:", "Pss_Anon:"):
            totals[name] += int(value)


def family(first: int) -> list[int]:
    """Return a process and all below it."""
    found, waiting = [], [first] if first else []
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return found
