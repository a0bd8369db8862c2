"""What one process knows of a Redis cost store."""

from __future__ import annotations

import itertools
import os
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django_obc_ai.backends.redis_link import RedisLink
from django_obc_ai.types import BudgetHold


@dataclass(slots=True)
class Mine:
    """A hold of this process, so that a store that was lost can learn of it again."""

    record: bytes  # what follows the epoch in the store
    epoch: bytes
    holds: Sequence[BudgetHold] = ()
    held: Sequence[int] = ()  # of each of these

    @property
    def keys(self) -> list[str]:
        """Return the names of its totals."""
        return [hold.key for hold in self.holds]


#: Of a hold that this process did not make.
NOT_MINE = Mine(b"", b"")


class Process:
    """What one process has: connections, the epoch it knows, and its open holds."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.link: RedisLink | None = None  # made at first use, which imports redis-py
        self.epoch = b""
        self.seen = 0
        self.open: dict[UUID, Mine] = {}
        self.lock = threading.Lock()
        self._name = uuid.uuid4().hex[:16].encode()
        self._numbers = itertools.count()

    def fresh(self) -> bytes:
        """Return an epoch that nobody has had, for a script that finds the store lost."""
        return b"%bx%d" % (self._name, next(self._numbers))
