"""Parts of ``settings.OBC_AI``, parsed and completed with defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """``OBC_AI["CACHE"]``: the Django cache alias (None: off) and seconds by content type."""

    alias: str | None
    ttl_seconds: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """``OBC_AI["RETRY"]``: attempts at most, and seconds for all of them together."""

    attempts: int
    deadline_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """``OBC_AI["LOG"]``: the folder of operations that wait for the database; None: nowhere."""

    spool: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """``OBC_AI["METRICS"]``: what lets a monitoring system read the metrics; None: nothing."""

    token: str | None = field(default=None, repr=False)
