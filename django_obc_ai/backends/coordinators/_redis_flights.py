"""Flights in Redis: one script and one round trip for each step.

Of each flight there are three keys, which share what stands in braces:

    flight:KEY          a hash while it is under way: leader, mark (see `_seen`), until (the end of
                        the lease, in microseconds), again (1 after a takeover), last (which piece
                        came last, since a command may arrive twice)
    flight:KEY:text     what the leader has published
    flight:KEY:landed   a hash: answer, at, until, mark. It outlives the beginning of
                        the next flight, for those who still wait for it
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

from django_obc_ai.backends.coordinators import _seen
from django_obc_ai.backends.redis_link import ScriptCall, Step
from django_obc_ai.types.coordination import Boarding

#: KEYS are the three above; ARGV[1] the time in microseconds or "", [2] the token, [3] the lease
#: in ms. A flight that nobody has led for a lease after its lease is none.
_HEAD = """
local F, T, L = KEYS[1], KEYS[2], KEYS[3]
local token, lease = ARGV[2], tonumber(ARGV[3])
local now = tonumber(ARGV[1])
if not now then
    local t = redis.call('TIME')
    now = t[1] * 1000000 + t[2]
end
local function text(n) return string.format('%.0f', n) end
local m = redis.call('HMGET', F, 'leader', 'until', 'again', 'mark', 'last')
local leader, lease_ends = m[1], tonumber(m[2] or '0')
if leader and now >= lease_ends + lease * 1000 then leader = false end
local function renew(...)
    redis.call('HSET', F, 'until', text(now + lease * 1000), ...)
    redis.call('PEXPIRE', F, 2 * lease)
    redis.call('PEXPIRE', T, 2 * lease)
end
"""

#: ARGV[4] the token's mark, [5] the call's age in microseconds, [6] and [7] who was followed,
#: and how many bytes of the text are known.
BOARD = (
    _HEAD
    + """
if leader == token then
    renew()
    return {'lead', m[3], token}
end
local landed = redis.call('HMGET', L, 'at', 'until', 'mark')
if landed[1] and now < tonumber(landed[2])
        and (landed[3] == ARGV[6] or now - landed[1] <= tonumber(ARGV[5])) then
    return {'landed', redis.call('HGET', L, 'answer')}
end
if leader and now < lease_ends then
    local known = ARGV[6] == m[4] and tonumber(ARGV[7]) or 0
    local size = redis.call('STRLEN', T)
    local fresh = size > known and redis.call('GETRANGE', T, known, -1) or ''
    return {'follow', leader, m[4], size, fresh}
end
if leader and m[3] == '1' then return {'lost', leader} end
local again = leader and '1' or '0'
redis.call('DEL', F, T)
renew('leader', token, 'mark', ARGV[4], 'again', again)
return {'lead', again, token}
"""
)

#: ARGV[4] the piece, [5] a number that no other piece of this leader has.
PUBLISH = (
    _HEAD
    + """
if leader == token and m[5] ~= ARGV[5] then
    redis.call('APPEND', T, ARGV[4])
    renew('last', ARGV[5])
end
"""
)

#: ARGV[4] "1" if there is an answer, [5] the answer, [6] for how many ms.
LAND = (
    _HEAD
    + """
if leader == token then
    redis.call('DEL', F, T)
    if ARGV[4] == '1' then
        redis.call('HSET', L, 'answer', ARGV[5], 'at', text(now),
                   'until', text(now + ARGV[6] * 1000), 'mark', m[4])
        redis.call('PEXPIRE', L, ARGV[6])
    end
end
"""
)

RENEW = (
    _HEAD
    + """
if leader == token then renew() end
"""
)


class RedisFlights:
    """The flights of `BaseCoordinator`."""

    flight_lease_seconds: float
    clock: Callable[[], float] | None
    _prefix: str
    connect: Callable[[], None]
    run_all: Callable[[Sequence[ScriptCall]], list[Any]]

    def __init__(self) -> None:
        """Prepare the numbers of pieces."""
        super().__init__()
        self._pieces = itertools.count()

    def _flight_call(self, script: str, key: str, token: str, *arguments: bytes) -> ScriptCall:
        # As bytes, because redis-py is slow to turn anything else into them.
        name = f"{{{self._prefix}}}:flight:{key}".encode()
        now = b"" if self.clock is None else b"%d" % (self.clock() * 1_000_000)
        lease = b"%d" % (self.flight_lease_seconds * 1000)
        keys = (name, name + b":text", name + b":landed")
        return (script, 3, *keys, now, token.encode(), lease, *arguments)

    def board_call(self, key: str, token: str, *, age_seconds: float, seen: int = 0) -> ScriptCall:
        """Return the script of `board`; `read_board` reads its reply."""
        mark, offset = _seen.split(seen)
        return self._flight_call(
            BOARD,
            key,
            token,
            b"%d" % _seen.mark_of(token),
            b"%d" % (age_seconds * 1_000_000),
            b"%d" % mark,
            b"%d" % offset,
        )

    @staticmethod
    def read_board(reply: Sequence[Any]) -> Boarding:
        """Return what the script of `board` has answered."""
        role, *rest = reply
        if role == b"lead":
            return Boarding(role="lead", is_takeover=rest[0] == b"1", leader=_text(rest[1]))
        if role == b"landed":
            return Boarding(role="landed", answer=_text(rest[0]))
        if role == b"lost":
            return Boarding(role="lost", leader=_text(rest[0]))
        leader, mark, size, fresh = rest
        return Boarding(
            role="follow",
            leader=_text(leader),
            text=_text(fresh),
            seen=_seen.join(int(mark), size),
        )

    def board(self, key: str, token: str, *, age_seconds: float, seen: int = 0) -> Boarding:
        """See `BaseCoordinator.board`."""
        began = time.monotonic() - age_seconds
        self.connect()  # which may take longer than it took others to land
        age_seconds = time.monotonic() - began
        call = self.board_call(key, token, age_seconds=age_seconds, seen=seen)
        return self.read_board(self.run_all([call])[0])

    def publish_call(self, key: str, token: str, piece: str) -> ScriptCall:
        """Return the script of `publish`."""
        number = b"%d" % next(self._pieces)
        return self._flight_call(PUBLISH, key, token, _bytes(piece), number)

    def publish(self, key: str, token: str, piece: str) -> None:
        """See `BaseCoordinator.publish`."""
        self.run_all([self.publish_call(key, token, piece)])

    def land_step(
        self, key: str, token: str, answer: str | None, *, keep_seconds: float
    ) -> Step[None]:
        """See `BaseCoordinator.land_step`."""
        call = self._flight_call(
            LAND,
            key,
            token,
            b"%d" % (answer is not None),
            _bytes(answer or ""),
            b"%d" % (keep_seconds * 1000),
        )
        return Step(call, lambda _: None)

    def land(self, key: str, token: str, answer: str | None, *, keep_seconds: float) -> None:
        """See `BaseCoordinator.land`."""
        self.run_all([self.land_step(key, token, answer, keep_seconds=keep_seconds).call])

    def renew_flight(self, key: str, token: str) -> None:
        """See `BaseCoordinator.renew_flight`."""
        self.run_all([self._flight_call(RENEW, key, token)])


def _bytes(text: str) -> bytes:
    # A model may write half a character, which is no UTF-8; it comes out as it went in.
    return text.encode(errors="surrogatepass")


def _text(value: bytes) -> str:
    return value.decode(errors="surrogatepass")
