"""What the scripts of the Redis cost store take and return, as bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache

from django_obc_ai.backends.cost_stores.base import owner_of_process
from django_obc_ai.types import Amount, BudgetHold, BudgetTotals

#: The largest integer of Redis.
_MOST = 2**63 - 1


def record(holds: Sequence[BudgetHold], amount: Amount, details: str) -> bytes:
    """Return owner, amounts, keys and details in lines; JSON escapes line breaks itself."""
    keys = _keys_as_json(tuple((hold.key, hold.unit) for hold in holds))
    costs = f"{amount.nano}\n{amount.tokens}\n{amount.requests}"
    return f"{owner_of_process()}\n{costs}\n{keys}\n{details}".encode()


@lru_cache(maxsize=256)
def _keys_as_json(keys: tuple[tuple[str, str], ...]) -> str:
    return json.dumps(keys)


@lru_cache(maxsize=1024)
def field(key: str) -> bytes:
    """Return the name of what is committed under a key."""
    return f"c:{key}".encode()


def room(hold: BudgetHold, amount: int) -> bytes:
    """Return what may be committed already, or "", which is less than any amount."""
    limit = _MOST if hold.limit_nano is None else min(hold.limit_nano, _MOST)
    return b"%d" % (limit - amount) if amount <= limit else b""


def pairs(keys: Sequence[str], values: Sequence[bytes | None]) -> dict[str, BudgetTotals]:
    """Return the totals of keys from what each has spent and committed."""
    found = {}
    for at, key in enumerate(keys):
        spent, committed = int(values[2 * at] or 0), int(values[2 * at + 1] or 0)
        found[key] = BudgetTotals(spent_nano=spent, held_nano=committed - spent)
    return found
