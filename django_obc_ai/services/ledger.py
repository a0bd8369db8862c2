"""Looking after the ledger: what waits for its database."""

from __future__ import annotations

from django_obc_ai.conf import get_settings
from django_obc_ai.gateway import draining, ledger
from django_obc_ai.gateway.ledger import DrainReport

__all__ = ["DrainReport", "drain_spool", "flush_rows"]


def flush_rows() -> None:
    """Write the rows that wait in this process now, where ``OBC_AI["LOG"]["rows"]`` is "batched".

    They come within about a second by themselves; this is for who reads the ledger sooner. Does
    nothing on SQLite inside a transaction, and where rows are not batched.
    """
    draining.batch.flush()


def drain_spool(*, is_from_any: bool = False) -> DrainReport:
    """Take up the operations that wait in ``OBC_AI["LOG"]["spool"]``, and in Redis.

    Idempotent, and safe while calls are made and while others do the same. Inside a caller's
    transaction on SQLite nothing is done.

    Args:
        is_from_any: Also take what was spooled for a database of another name or host.
    """
    return ledger.drain(get_settings().database, is_from_any=is_from_any)
