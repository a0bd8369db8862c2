"""``OBC_AI["JOBS"]``: how work in the background is shared out and kept."""

from __future__ import annotations

from typing import Any

from django_obc_ai.conf.values import as_mapping, as_positive, only_keys
from django_obc_ai.types.settings import JobSettings

_NAMES = ("lease_seconds", "attempts", "keep_days", "slice_seconds", "most_waiting")
_WHOLE = "a whole number above 0"


def parse_jobs(value: Any, where: str) -> JobSettings:
    """Return the settings of jobs, completed with defaults."""
    entry = as_mapping(value, where)
    only_keys(entry, _NAMES, where)
    lease, part = entry.get("lease_seconds", 60), entry.get("slice_seconds", 10)
    as_positive(lease, f"{where}['lease_seconds']", (int, float), "seconds above 0")
    as_positive(part, f"{where}['slice_seconds']", (int, float), "seconds above 0")
    most = entry.get("most_waiting")
    if most is not None:
        as_positive(most, f"{where}['most_waiting']", int, f"{_WHOLE}, or None for any number")
    return JobSettings(
        lease_seconds=float(lease),
        attempts=as_positive(entry.get("attempts", 3), f"{where}['attempts']", int, _WHOLE),
        keep_days=as_positive(entry.get("keep_days", 7), f"{where}['keep_days']", int, _WHOLE),
        slice_seconds=float(part),
        most_waiting=most,
    )
