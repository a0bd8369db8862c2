"""Flights as rows: one statement for each step, and none that is not conditional."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from django.db import DatabaseError, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_obc_ai.backends.coordinators import _seen
from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import CoordinatorError
from django_obc_ai.models.connections import persist
from django_obc_ai.models.writer import transaction_of, with_writer
from django_obc_ai.types.coordination import Boarding

ResultT = TypeVar("ResultT")
#: A busy or lost connection is tried again once; who coordinates must not make calls slow.
_TRIES = 2
#: Each failed attempt means that somebody else has just changed the row, which then says so.
_ATTEMPTS = 20

# Constants, and not made by the ORM, because they also run on the writer's connection, which it
# does not know. Only the text that is new is read, and an answer only by whom it serves.
_READ = """
SELECT leader, lease_until, is_takeover, keep_until,
       CASE WHEN keep_until > %s AND (landed_at >= %s OR landed_mark = %s)
            THEN answer END,
       length(text), substr(text, %s)
FROM django_obc_ai_flight WHERE "key" = %s
"""
_INSERT = """
INSERT INTO django_obc_ai_flight
    ("key", leader, lease_until, is_takeover, text, last_piece, answer, landed_at, landed_mark,
     keep_until, expires_at)
VALUES (%s, %s, %s, %s, '', -1, '', 0, 0, 0, %s) ON CONFLICT DO NOTHING
"""
_LEAD = """
UPDATE django_obc_ai_flight
SET leader = %s, lease_until = %s, is_takeover = %s, text = '', last_piece = -1, expires_at = %s
WHERE "key" = %s AND leader = %s AND lease_until = %s
"""
#: Of these four the last two parameters say who leads, and until when a lease may have ended.
_RENEW = """
UPDATE django_obc_ai_flight
SET lease_until = %s, expires_at = CASE WHEN keep_until > %s THEN keep_until ELSE %s END
WHERE "key" = %s AND leader = %s AND lease_until > %s
"""
_PUBLISH = """
UPDATE django_obc_ai_flight
SET text = text || %s, last_piece = %s, lease_until = %s,
    expires_at = CASE WHEN keep_until > %s THEN keep_until ELSE %s END
WHERE last_piece <> %s AND "key" = %s AND leader = %s AND lease_until > %s
"""
_LAND = """
UPDATE django_obc_ai_flight
SET leader = '', text = '', answer = %s, landed_at = %s, landed_mark = %s, keep_until = %s,
    expires_at = %s
WHERE "key" = %s AND leader = %s AND lease_until > %s
"""
_GIVE_UP = """
UPDATE django_obc_ai_flight SET leader = '', text = '', expires_at = keep_until
WHERE "key" = %s AND leader = %s AND lease_until > %s
"""
#: The outer condition again, since a row may be in use by the time that it is this one's turn.
_SWEEP = """
DELETE FROM django_obc_ai_flight WHERE expires_at <= %s AND "key" IN (
    SELECT "key" FROM django_obc_ai_flight WHERE expires_at <= %s ORDER BY expires_at LIMIT 100
)
"""


class DatabaseFlights:
    """The flights of `BaseCoordinator`; see `Flight` for their rows."""

    flight_lease_seconds: float
    clock: Callable[[], float] | None

    def __init__(self) -> None:
        """Prepare the numbers of pieces."""
        super().__init__()
        self._pieces = itertools.count()
        self._sweep_at = 0.0

    def can_share_now(self) -> bool:
        """See `BaseCoordinator.can_share_now`; False in a caller's transaction on SQLite."""
        alias = get_settings().database
        return connections[alias].vendor != "sqlite" or transaction_of(alias) != "caller"

    def board(self, key: str, token: str, *, age_seconds: float, seen: int = 0) -> Boarding:
        """See `BaseCoordinator.board`."""
        began = self._flight_time() - age_seconds  # now, because the database may take a while
        boarding = self._do(lambda link: self._board(link, key, token, began, seen))
        if boarding.role == "lead":
            self._sweep()
        return boarding

    def publish(self, key: str, token: str, piece: str) -> None:
        """See `BaseCoordinator.publish`."""
        number, now, lease = next(self._pieces), self._flight_time(), self.flight_lease_seconds
        gone = now + 2 * lease
        values = (_escaped(piece), number, now + lease, gone, gone, number)
        self._do(lambda link: _change(link, _PUBLISH, *values, key, token, now - lease))

    def land(self, key: str, token: str, answer: str | None, *, keep_seconds: float) -> None:
        """See `BaseCoordinator.land`."""
        now = self._flight_time()
        led = (key, token, now - self.flight_lease_seconds)
        if answer is None:
            self._do(lambda link: _change(link, _GIVE_UP, *led))
        else:
            until = now + keep_seconds
            values = (_escaped(answer), now, _seen.mark_of(token), until, until)
            self._do(lambda link: _change(link, _LAND, *values, *led))
        self._sweep()

    def renew_flight(self, key: str, token: str) -> None:
        """See `BaseCoordinator.renew_flight`."""
        self._do(lambda link: self._renew(link, key, token))

    def _board(
        self, link: BaseDatabaseWrapper, key: str, token: str, began: float, seen: int
    ) -> Boarding:
        mark, offset = _seen.split(seen)
        lease = self.flight_lease_seconds
        for _ in range(_ATTEMPTS):
            now = self._flight_time()
            row = _read(link, now, began, mark, offset + 1, key)
            if row is None:
                fresh_row = (key, token, now + lease, False, now + 2 * lease)
                if _change(link, _INSERT, *fresh_row):
                    return Boarding(role="lead", leader=token)
                continue
            leader, lease_until, is_takeover, keep_until, answer, size, fresh = row
            is_there = leader != "" and now < lease_until + lease
            if is_there and leader == token:
                if not self._renew(link, key, token):
                    continue
                return Boarding(role="lead", is_takeover=bool(is_takeover), leader=token)
            if answer is not None:
                return Boarding(role="landed", answer=_plain(answer))
            if is_there and now < lease_until:
                found = _seen.mark_of(leader)
                if offset and mark != found:  # of another leader than this text
                    mark, offset = found, 0
                    continue
                seen = _seen.join(found, size)
                return Boarding(role="follow", leader=leader, text=_plain(fresh), seen=seen)
            if is_there and is_takeover:
                return Boarding(role="lost", leader=leader)
            expires = max(keep_until, now + 2 * lease)
            values = (token, now + lease, is_there, expires, key, leader, lease_until)
            if _change(link, _LEAD, *values):
                return Boarding(role="lead", is_takeover=is_there, leader=token)
        raise CoordinatorError("A flight in the database changes faster than it can be read.")

    def _renew(self, link: BaseDatabaseWrapper, key: str, token: str) -> int:
        now, lease = self._flight_time(), self.flight_lease_seconds
        gone = now + 2 * lease
        return _change(link, _RENEW, now + lease, gone, gone, key, token, now - lease)

    def _sweep(self) -> None:
        """Delete some of what has expired, once in a lease and process."""
        now = self._flight_time()
        if now < self._sweep_at:
            return
        self._sweep_at = now + self.flight_lease_seconds
        with suppress(CoordinatorError):  # the call itself is done; the next one sweeps again
            self._do(lambda link: _change(link, _SWEEP, now, now))

    def _flight_time(self) -> float:
        return self.clock() if self.clock is not None else time.time()

    def _do(self, work: Callable[[BaseDatabaseWrapper], ResultT]) -> ResultT:
        """Run statements, which may be repeated, where others see at once what they did."""
        alias = get_settings().database
        if not self.can_share_now():
            refusal = CoordinatorError(
                f"Calls are not shared inside a transaction on the SQLite database {alias!r}: what"
                " is written there is seen by nobody before it ends. Call outside atomic(), or"
                " name another coordinator in OBC_AI['COORDINATORS']."
            )
            refusal.retryable = False  # waiting does not end the caller's transaction
            raise refusal
        try:
            if transaction_of(alias) == "caller":
                return with_writer(alias, work)
            return persist(alias, lambda: work(connections[alias]), attempts=_TRIES)
        except (DatabaseError, InterfaceError) as error:
            raise CoordinatorError(
                f"The database {alias!r} could not coordinate calls ({type(error).__name__})."
            ) from error


def _read(link: BaseDatabaseWrapper, *values: Any) -> tuple[Any, ...] | None:
    with link.cursor() as cursor:
        cursor.execute(_READ, values)
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row


def _change(link: BaseDatabaseWrapper, statement: str, *values: Any) -> int:
    with link.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)


def _escaped(text: str) -> str:
    return json.dumps(text)[1:-1]


def _plain(text: str) -> str:
    plain: str = json.loads(f'"{text}"')
    return plain
