"""Finished rows of this process that wait, for less than a second, to be written together.

Before an answer returns, its row is durable if it cost money: in Redis, where a row travels with
the settlement, else in a `segments.Segment`. So memory is where a living process has its rows,
and the durable copy is for whoever comes after it. A thread writes what waits, on a connection of
its own. Where no thread runs, as under uWSGI without ``enable-threads``, the calls write.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.core.signals import setting_changed
from django.db import DatabaseError, InterfaceError, connections

from django_obc_ai.backends.coordinators import coordinators
from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.backends.redis_rows import RedisRows
from django_obc_ai.exceptions import ConfigurationError, ObcAIError
from django_obc_ai.gateway import inserts
from django_obc_ai.gateway.refusals import refused
from django_obc_ai.gateway.rows import operation_of
from django_obc_ai.gateway.segments import Segment, get_folder
from django_obc_ai.logs import events
from django_obc_ai.models import AIOperation
from django_obc_ai.models.connections import apart
from django_obc_ai.models.writer import transaction_of

#: Families whose default backend may keep rows; of several, the first that does is used.
FAMILIES: tuple[Any, ...] = (cost_stores, coordinators)
_PAUSE_SECONDS = 0.5
_FULL = 100
#: When calls write themselves: the thread does not run, or not fast enough.
_LATE_SECONDS, _LATE = 2.0, 1_000
_MOST = 10_000
_LINGER_SECONDS = 10.0
_AVOID_SECONDS, _REST_SECONDS = 5.0, 10.0
#: How long rows that could not be written rest before the next try: twice as long each time.
_AGAIN_SECONDS, _AGAIN_MOST = 0.5, 10.0


@dataclass(slots=True)
class Row:
    """A row that waits.

    Attributes:
        values: What is to be written, by column.
        log: Where in Redis it is; None: nowhere.
        entry: Its id there.
        is_on_disk: Whether it is in a segment of its batch.
    """

    values: Mapping[str, Any]
    log: RedisRows | None = None
    entry: str = ""
    is_on_disk: bool = False
    made: AIOperation | None = None

    @property
    def operation(self) -> AIOperation:
        """Return the same as a model, which the thread makes that writes it."""
        if self.made is None:
            self.made = operation_of(self.values)
        return self.made


@dataclass(slots=True)
class _Batch:
    """Rows of one database; `due` is when they may be tried, after the last pause."""

    rows: list[Row] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    due: float = 0.0
    pause: float = 0.0

    @property
    def is_due(self) -> bool:
        return not self.due or time.monotonic() >= self.due

    def delay(self) -> None:
        """Begin anew after a try that failed, behind a pause."""
        self.began = time.monotonic()
        self.pause = min(max(_AGAIN_SECONDS, 2 * self.pause), _AGAIN_MOST)
        self.due = self.began + self.pause

    def put_on_disk(self, rows: list[Row], folder: Path, alias: str) -> Segment:
        """Write those that are not there yet, for `Segment.sync`; OSError as there."""
        if not self.segments:
            self.segments.append(Segment(folder, alias))
        for row in rows:
            if not row.is_on_disk:
                self.segments[-1].write(row.operation)
                row.is_on_disk = True
        return self.segments[-1]


def find_logs() -> list[RedisRows]:
    """Return the configured backends that keep rows in Redis."""
    found = []
    for family in FAMILIES:
        try:
            backend = family["default"]
        except ConfigurationError:  # whoever needs that backend will say so
            continue
        if isinstance(backend, RedisRows):
            found.append(backend)
    return found


class RowBatch:
    """The rows of one process; a forked child begins with none."""

    def __init__(self, rest: Callable[[], None]) -> None:
        """Write nothing yet.

        Args:
            rest: Called now and then after a batch, to take up what others have left.
        """
        self._rest = rest
        self._waiting: dict[str, _Batch] = {}
        self._begin()
        os.register_at_fork(after_in_child=self._forget)
        atexit.register(self._end)
        setting_changed.connect(self._on_setting_changed)

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._storing = threading.RLock()
        self._thread: threading.Thread | None = None
        self._avoid_until = self._rest_at = 0.0

    def _forget(self) -> None:
        for batch in self._waiting.values():
            for segment in batch.segments:
                segment.forget()
        self._waiting = {}
        self._begin()

    @property
    def log(self) -> RedisRows | None:
        """Where in Redis rows are kept now; None: nowhere, or it has failed a moment ago."""
        if self._avoid_until and time.monotonic() < self._avoid_until:
            return None
        found = find_logs()
        return found[0] if found else None

    def avoid_log(self, error: Exception | None) -> None:
        """Keep rows on disk for a while."""
        self._avoid_until = time.monotonic() + _AVOID_SECONDS
        events.LEDGER_ROWS_NOT_KEPT.log(error=error)

    def add(self, row: Row, alias: str, *, is_paid: bool) -> bool:
        """Let a row wait; False if it may not, and is to be written at once.

        Args:
            row: Whose ``entry`` says whether it is durable already.
            alias: The database that is to take it.
            is_paid: Whether it must be durable.
        """
        needs_disk = is_paid and not row.entry
        folder = get_folder() if needs_disk else None
        if needs_disk and folder is None:
            return False
        try:
            with self._changed:
                batch = self._waiting.get(alias)
                if batch is None:
                    batch = self._waiting[alias] = _Batch()
                if len(batch.rows) >= _MOST:
                    return False
                segment = None
                if folder is not None:
                    segment = batch.put_on_disk([row], folder, alias)
                batch.rows.append(row)
                self._wake(batch)
            if segment is not None:
                segment.sync()
        except OSError as error:
            events.LEDGER_SPOOL_UNWRITABLE.log(error=error, folder=folder)
            return False
        age = time.monotonic() - batch.began
        is_late = age > _LATE_SECONDS or len(batch.rows) >= _LATE or self._thread is None
        if is_late and transaction_of(alias) == "none":
            self._help()
        return True

    def _wake(self, batch: _Batch) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="obc-ai-rows", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # none can be started, or no more
                self._thread = None
        elif len(batch.rows) in (1, _FULL):
            self._changed.notify_all()

    def _run(self) -> None:
        while self._is_to_store():
            try:
                self._store_waiting()
                self._take_a_rest()
            except Exception as error:  # noqa: BLE001 - the rows wait, and the thread goes on
                events.LEDGER_SPOOL_FAILED.log(error=error)
            finally:
                connections.close_all()  # one idle connection for each process is one too many

    def _is_to_store(self) -> bool:
        with self._changed:
            while self._changed.wait_for(lambda: self._waiting, _LINGER_SECONDS):
                self._changed.wait_for(self._is_enough, _PAUSE_SECONDS)
                if self._waiting:  # else somebody else has written them
                    return True
            self._thread = None
            return False

    def _is_enough(self) -> bool:
        batches = self._waiting.values()
        return not batches or any(len(each.rows) >= _FULL and each.is_due for each in batches)

    def _take_a_rest(self) -> None:
        if time.monotonic() >= self._rest_at:
            self._rest_at = time.monotonic() + _REST_SECONDS
            self._rest()

    def _help(self) -> None:
        """Write what waits in this thread, unless another one is about it."""
        if self._storing.acquire(blocking=False):
            try:
                self._store_waiting()
            finally:
                self._storing.release()

    def flush(self) -> None:
        """Write what waits now, also what failed a moment ago; waits for who is writing already.

        In a transaction of the caller's this is done on another connection; on SQLite, which has
        one writer, not at all.
        """
        aliases = list(self._waiting)
        places = {transaction_of(alias) for alias in aliases}
        if "test" in places or any(inserts.must_wait(alias) for alias in aliases):
            return
        if "caller" not in places:
            self._store_waiting(is_sure=True)
        else:
            apart(lambda: self._store_waiting(is_sure=True))

    def _store_waiting(self, *, is_sure: bool = False) -> None:
        with self._storing:
            with self._changed:
                waiting = self._waiting
                taken = {name: each for name, each in waiting.items() if is_sure or each.is_due}
                self._waiting = {name: waiting[name] for name in waiting.keys() - taken.keys()}
                self._changed.notify_all()
            try:
                while taken:
                    alias, batch = taken.popitem()
                    self._store(alias, batch)
            finally:
                for alias, batch in taken.items():  # there was an error that nobody foresaw
                    self._put_back(alias, batch)

    def _store(self, alias: str, batch: _Batch) -> None:
        new: list[AIOperation] = []

        def refuse(operation: AIOperation, error: Exception) -> None:
            refused(operation, alias, error)

        try:
            operations = [row.operation for row in batch.rows]
            inserts.store_all(operations, alias, new=new, refuse=refuse)
        except (DatabaseError, InterfaceError) as error:
            self._put_aside(alias, batch, error)
        except BaseException:
            self._put_back(alias, batch)
            raise
        else:
            for segment in batch.segments:
                segment.remove()
            _drop(batch.rows)
        for each in new:
            inserts.tell(each)

    def _put_aside(self, alias: str, batch: _Batch, error: Exception) -> None:
        """Put rows that the database does not take on the disk; without a disk they go on waiting.

        Whoever drains takes them up there, this process included.
        """
        if not _is_on_disk(batch, alias):
            events.LEDGER_SPOOL_WAITS.log(error=error)
            self._put_back(alias, batch)
            return
        for segment in batch.segments:
            segment.leave()
        events.LEDGER_SPOOLED.log(error=error, operation_id=batch.rows[0].operation.pk)
        _drop(batch.rows)

    def _put_back(self, alias: str, batch: _Batch) -> None:
        with self._changed:
            newer = self._waiting.get(alias)
            if newer is not None:
                batch.rows += newer.rows
                batch.segments += newer.segments
            batch.delay()
            self._waiting[alias] = batch

    def _end(self) -> None:
        """Write what waits when the process ends in order."""
        try:
            self.flush()
        except Exception as error:  # noqa: BLE001 - nobody is left to catch it; paid rows are safe
            events.LEDGER_SPOOL_FAILED.log(error=error)

    def _on_setting_changed(self, *, setting: str, **_: Any) -> None:
        if setting in ("OBC_AI", "DATABASES") and self._waiting:
            self._end()


def _is_on_disk(batch: _Batch, alias: str) -> bool:
    folder = get_folder()
    if folder is None:
        return False
    try:
        batch.put_on_disk(batch.rows, folder, alias).sync()
    except OSError as error:
        events.LEDGER_SPOOL_UNWRITABLE.log(error=error, folder=folder)
        return False
    return True


def _drop(rows: list[Row]) -> None:
    """Take rows out of Redis that are in the database, or on the disk."""
    entries: dict[int, tuple[RedisRows, list[str]]] = {}
    for row in rows:
        if row.log is not None and row.entry:
            entries.setdefault(id(row.log), (row.log, []))[1].append(row.entry)
    for log, ids in entries.values():
        try:
            log.drop_rows(ids)
        except ObcAIError as error:  # found to be known when they are taken up
            events.LEDGER_ROWS_WAIT.log(error=error)
