"""Gates in the project's database, a row each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_obc_ai.backends.coordinators._gate_rules import Gate, GateData, reopen
from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import CoordinatorError
from django_obc_ai.models.connections import persist
from django_obc_ai.models.writer import transaction_of, with_writer
from django_obc_ai.types.coordination import Admission, GateState, Limits, Verdict

ResultT = TypeVar("ResultT")


class DatabaseGates:
    """The gates of `BaseCoordinator` as rows, each locked for one short transaction at a time.

    The clock is that of PostgreSQL, which all hosts share; other databases have none that is fine
    enough, so there it is the process's own, and hosts must agree on the time. Inside a caller's
    transaction the process's writer connection is used, for the lock must not last as long as
    the caller's; on SQLite that would wait for the caller itself, so there it is an error.
    """

    clock: Callable[[], float] | None

    def acquire(
        self, gate: str, permit: str, *, tokens: int, limits: Limits, patience_seconds: float
    ) -> Admission:
        """See `BaseCoordinator.acquire`."""

        def work(data: GateData, seconds: float) -> Admission:
            found = Gate(data, limits, seconds)
            return found.acquire(permit, tokens=tokens, patience_seconds=patience_seconds)

        return self._change(gate, work)

    def release(
        self,
        gate: str,
        permit: str,
        *,
        verdict: Verdict,
        limits: Limits,
        tokens: int = 0,
        closed_seconds: float | None = None,
    ) -> GateState | None:
        """See `BaseCoordinator.release`."""

        def work(data: GateData, seconds: float) -> GateState | None:
            return Gate(data, limits, seconds).release(
                permit, verdict=verdict, tokens=tokens, closed_seconds=closed_seconds
            )

        return self._change(gate, work)

    def gate_state(self, gate: str, limits: Limits) -> GateState:
        """See `BaseCoordinator.gate_state`."""
        alias = get_settings().database
        with _translated(alias, gate):
            found = persist(alias, lambda: self._read(connections[alias], gate))
        data, seconds = found or (GateData(), self._process_time())
        return Gate(data, limits, seconds).state()

    def reopen(self, gate: str) -> None:
        """See `BaseCoordinator.reopen`."""
        self._change(gate, reopen)

    def _process_time(self) -> float:
        return time.time() if self.clock is None else self.clock()

    def _read(self, connection: BaseDatabaseWrapper, gate: str) -> tuple[GateData, float] | None:
        """Return a gate and the time, None if nobody has asked it."""
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute(
                    "SELECT data, EXTRACT(EPOCH FROM clock_timestamp())"
                    " FROM django_obc_ai_gaterow WHERE name = %s",
                    [gate],
                )
            else:
                cursor.execute("SELECT data FROM django_obc_ai_gaterow WHERE name = %s", [gate])
            if (row := cursor.fetchone()) is None:
                return None
        is_own = len(row) == 1 or self.clock is not None
        stored = json.loads(row[0])  # maybe by another release
        known = {name: stored[name] for name in GateData.__slots__ if name in stored}
        return GateData(**known), self._process_time() if is_own else float(row[1])

    def _change(self, gate: str, work: Callable[[GateData, float], ResultT]) -> ResultT:
        alias = get_settings().database
        connection = connections[alias]

        def step(chosen: BaseDatabaseWrapper) -> ResultT:
            _lock(chosen, gate)
            found = self._read(chosen, gate)
            assert found is not None  # noqa: S101 - locked just now
            data, seconds = found
            result = work(data, seconds)
            with chosen.cursor() as cursor:
                cursor.execute(
                    "UPDATE django_obc_ai_gaterow SET data = %s WHERE name = %s",
                    [_as_text(data), gate],
                )
            return result

        def run() -> ResultT:
            if transaction_of(alias) == "caller" and not _is_in_memory(connection):
                return with_writer(alias, lambda writer: _at_once(writer, step))
            with transaction.atomic(using=alias):
                return step(connection)

        with _translated(alias, gate):
            _refuse_to_wait_for_caller(connection)
            return persist(alias, run)


# All statements are plain text because they also run on the writer's connection, which the ORM does
# not know.
def _lock(connection: BaseDatabaseWrapper, gate: str) -> None:
    """Lock all others out of a gate, and make it if need be; a read would not, on SQLite."""
    with connection.cursor() as cursor:
        for _ in range(2):
            cursor.execute(
                "UPDATE django_obc_ai_gaterow SET changes = changes + 1 WHERE name = %s", [gate]
            )
            if cursor.rowcount:
                return
            cursor.execute(
                "INSERT INTO django_obc_ai_gaterow (name, data, changes) VALUES (%s, '{}', 0)"
                " ON CONFLICT DO NOTHING",
                [gate],
            )


def _as_text(data: GateData) -> str:
    fields = {name: getattr(data, name) for name in data.__slots__}
    return json.dumps(fields, separators=(",", ":"))


def _at_once(
    writer: BaseDatabaseWrapper, part: Callable[[BaseDatabaseWrapper], ResultT]
) -> ResultT:
    """Run a part in a transaction of its own; no alias leads to the writer, so atomic() cannot."""
    writer.set_autocommit(False)
    try:
        result = part(writer)
        writer.commit()
    except BaseException:
        writer.rollback()
        raise
    finally:
        writer.set_autocommit(True)
    return result


def _is_in_memory(connection: BaseDatabaseWrapper) -> bool:
    name = str(connection.settings_dict["NAME"])
    return connection.vendor == "sqlite" and (":memory:" in name or "mode=memory" in name)


def _refuse_to_wait_for_caller(connection: BaseDatabaseWrapper) -> None:
    if connection.vendor != "sqlite" or _is_in_memory(connection):
        return
    if transaction_of(connection.alias) == "caller":
        refusal = CoordinatorError(
            f"A provider's limits cannot be kept inside a transaction on {connection.alias!r}:"
            " SQLite lets one connection write at a time, and yours may have. Call the model"
            " outside atomic() (and outside ATOMIC_REQUESTS), use the Redis coordinator, or give"
            " the package a database of its own with OBC_AI['DATABASE']."
        )
        refusal.retryable = False  # waiting does not end the caller's transaction
        raise refusal


@contextmanager
def _translated(alias: str, gate: str) -> Iterator[None]:
    try:
        yield
    except (DatabaseError, InterfaceError) as error:
        raise CoordinatorError(
            f"The database {alias!r} could not be asked about the limits of the provider {gate!r}"
            f" ({type(error).__name__}). Have the migrations been run, and is it up? Or name"
            " another coordinator in OBC_AI['COORDINATORS']."
        ) from error
