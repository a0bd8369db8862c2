"""What `Boarding.seen` holds: whose text a follower has read, and how far."""

from __future__ import annotations

import zlib

_BITS = 40  # for how far


def mark_of(token: str) -> int:
    """Return a number that tells one leader of a flight from the next."""
    return zlib.crc32(token.encode())


def join(mark: int, offset: int) -> int:
    """Return what a follower is given."""
    return mark << _BITS | offset


def split(seen: int) -> tuple[int, int]:
    """Return a leader's mark and how far its text is known."""
    return seen >> _BITS, seen & ((1 << _BITS) - 1)
