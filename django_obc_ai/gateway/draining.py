"""Taking up what waits for the database: on this disk, in Redis, and from processes that died."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.signals import request_finished
from django.db import DatabaseError, InterfaceError, connections
from django.db import transaction as transactions

from django_obc_ai.backends.redis_rows import RedisRows
from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import ObcAIError
from django_obc_ai.gateway import inserts, intents, segments, spool
from django_obc_ai.gateway.batch import RowBatch, find_logs
from django_obc_ai.gateway.inserts import must_wait
from django_obc_ai.gateway.refusals import REFUSALS, refused
from django_obc_ai.logs import events
from django_obc_ai.models import AIOperation
from django_obc_ai.models.writer import transaction_of

_TAKEN_UP_PER_CALL = 50  # a backlog is worked off by many calls, none of which waits for all
_ORPHANED_SECONDS = 15.0  # whose process lives was written long before
_seen_pid = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainReport:
    """What taking up the spool did.

    Attributes:
        stored: Rows that were inserted, those that killed processes announced included.
        known: Rows that were in the ledger already.
        refused: Files set aside, since they are broken or the database refuses them for good.
        left: What still waits, since the database is away or a transaction is open.
    """

    stored: int = 0
    known: int = 0
    refused: int = 0
    left: int = 0


def drain(alias: str, *, limit: int | None = None, is_from_any: bool = False) -> DrainReport:
    """Take up operations that wait; safe to run twice, and by several processes at once.

    Those of this process's batch are written, too, and are not counted.

    Args:
        alias: The database that takes them.
        limit: Files of single operations at most, and nothing that its process is about to write
            itself. None takes all.
        is_from_any: Also take those that were meant for another database, for example after
            it got another name.
    """
    batch.flush()
    source = None if is_from_any else alias
    files = spool.find(source)
    if must_wait(alias):
        return DrainReport(left=len(files))
    done: Counter[str] = Counter()
    taken = 0
    for path in files[:limit]:
        operation = spool.read(path)
        if operation is not None:
            state = _take_up(path, operation, alias)
            if state == "left":
                break
            done[state] += 1
        elif path.with_suffix(spool.BROKEN).exists():
            done["refused"] += 1
        taken += 1
    else:
        done += _take_up_batches(alias, source, is_all=limit is None)
        if not done["left"]:
            done += _take_up_announced(alias, is_sure=limit is None)
    done["left"] += len(files) - taken
    return DrainReport(**done)


def _take_up_batches(alias: str, source: str | None, *, is_all: bool) -> Counter[str]:
    """Store the rows of other processes' batches: on this disk of dead ones, in Redis of all."""
    done: Counter[str] = Counter()
    for path, operations in segments.find_left(source):
        states = Counter(_state_of(operation, alias) for operation in operations)
        done += states
        if states["left"]:
            return done
        spool.remove(path)
    for log in find_logs():
        try:
            done += _take_up_log(log, alias, source, age=0.0 if is_all else _ORPHANED_SECONDS)
        except ObcAIError as error:
            events.LEDGER_ROWS_WAIT.log(error=error)
            if get_settings().log.rows == "batched":
                done["left"] += 1
    return done


def _take_up_log(log: RedisRows, alias: str, source: str | None, *, age: float) -> Counter[str]:
    done: Counter[str] = Counter()
    mark = None if source is None else spool.mark_of(source)
    for entry, database, text in log.rows(older_than_seconds=age):
        if mark is None or mark == database:
            operation = spool.load_or_set_aside(text, entry)
            state = "refused" if operation is None else _state_of(operation, alias)
            done[state] += 1
            if state == "left":
                break
            log.drop_rows([entry])
    return done


def _take_up_announced(alias: str, *, is_sure: bool) -> Counter[str]:
    """Book what dead processes announced and left nothing else of."""
    done: Counter[str] = Counter()
    for path, operation in intents.find_abandoned(alias):
        if not is_sure:  # killed a moment ago, when its row was in Redis already
            done += _take_up_batches(alias, alias, is_all=True)
            is_sure = True
        if done["left"] or spool.holds(operation, alias):  # killed after it had spooled the cost
            done["left"] += 1
            continue
        state = _take_up(path, operation, alias)
        done[state] += 1
        if state == "stored":
            events.LEDGER_ABANDONED.log(operation_id=operation.pk, cost_usd=operation.cost_usd)
    return done


def _take_up(path: Path, operation: AIOperation, alias: str) -> str:
    """Store what a file holds, remove the file, and say which count of the report it is."""
    state = _state_of(operation, alias, path=path)
    if state in ("stored", "known"):
        spool.remove(path)
    return state


def _state_of(operation: AIOperation, alias: str, *, path: Path | None = None) -> str:
    """Store a row that waited somewhere, and say which count of the report it is."""
    try:
        is_new = inserts.store(operation, alias)
    except REFUSALS as error:
        if path is None:
            refused(operation, alias, error)
        else:
            spool.set_aside(path, spool.REFUSED)
            events.LEDGER_REFUSED.log(error=error, operation_id=operation.pk)
        return "refused"
    except (DatabaseError, InterfaceError) as error:
        events.LEDGER_SPOOL_WAITS.log(error=error)
        return "left"
    if is_new:
        inserts.tell(operation)
    return "stored" if is_new else "known"


def is_first_of_process() -> bool:
    """Return whether this process has stored no row yet: it may follow one that was killed."""
    global _seen_pid
    is_first, _seen_pid = _seen_pid != os.getpid(), os.getpid()
    return is_first


def drain_afterwards(alias: str) -> None:
    """Take the spool up when the transaction commits, or else when the request has ended."""
    if connections[alias].in_atomic_block:
        transactions.on_commit(lambda: drain_some(alias), using=alias, robust=True)
    request_finished.connect(_drain_after_request, dispatch_uid="django_obc_ai.ledger.spool")


def _drain_after_request(**_: Any) -> None:
    try:
        alias = get_settings().database
        if spool.find(alias) and transaction_of(alias) == "none":
            drain_some(alias)
    except Exception as error:  # noqa: BLE001 - the signal would carry it into the server
        events.LEDGER_SPOOL_FAILED.log(error=error)


def drain_some(alias: str) -> None:
    """Take up a part of the spool; what fails is logged and waits."""
    try:
        drain(alias, limit=_TAKEN_UP_PER_CALL)
    except Exception as error:  # noqa: BLE001 - an answer is on its way to its caller
        events.LEDGER_SPOOL_FAILED.log(error=error)


#: The rows of this process.
batch = RowBatch(rest=lambda: drain_some(get_settings().database))
