"""Parts of ``settings.OBC_AI``, parsed and completed with defaults."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """``OBC_AI["CACHE"]``.

    Attributes:
        alias: Of the Django cache; None: no answer is kept.
        ttl_seconds: Seconds by content type.
        stale_seconds: For how long after that an answer is served while it is made anew.
        compress_over_bytes: Answers of more bytes are compressed.
        max_bytes: Answers that take more are not kept.
        models: Labels of models whose rows may be tags, besides those of indexes.
        warm: A function, or its dotted path, that says what to ask before people do.
    """

    alias: str | None
    ttl_seconds: Mapping[str, int]
    stale_seconds: int
    compress_over_bytes: int
    max_bytes: int
    models: tuple[str, ...]
    warm: str | Callable[[], Iterable[Mapping[str, Any]]] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """``OBC_AI["RETRY"]``: attempts at most, and seconds for all of them together."""

    attempts: int
    deadline_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitSettings:
    """``OBC_AI["RATE_LIMITS"][alias]``: what all workers together may ask one provider.

    Attributes:
        per_minute: Requests in any 60 seconds; None: any number.
        tokens_per_minute: Tokens in any 60 seconds, prompts and answers; None: any number.
        per_day: Requests in one day of the provider; None: any number.
        day_starts: The time zone in which its day begins.
        when_exceeded: "wait" for as long as ``OBC_AI["RETRY"]`` allows, "refuse", or "queue": the
            call becomes a job, which is answered in the background.
    """

    per_minute: int | None = 60
    tokens_per_minute: int | None = None
    per_day: int | None = 1500
    day_starts: str = "America/Los_Angeles"
    when_exceeded: str = "wait"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """``OBC_AI["BREAKER"]``: failures in a row that open it (None: never), and for how long."""

    failures: int | None
    open_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """``OBC_AI["JOBS"]``.

    Attributes:
        lease_seconds: After so long without a sign of life of its worker a job is given to another.
        attempts: How many workers may die of a job before it counts as failed.
        keep_days: For how many days jobs are kept once they have ended.
        slice_seconds: For how long a task takes one job after another before it lets other tasks
            have their turn.
        most_waiting: More jobs than that may not wait; None: any number.
    """

    lease_seconds: float
    attempts: int
    keep_days: int
    slice_seconds: float
    most_waiting: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """``OBC_AI["LOG"]``.

    Attributes:
        spool: The folder of operations that wait for the database; None: nowhere.
        rows: "each" is written by its call; "batched": several together, a moment later.
        operation_days: After so many days the task of that name purges them; None: it does not.
        store_content: Whether prompts and answers are kept.
        content_days: For how many days; None: until somebody deletes them.
        redact: What is taken out of them first: "email", "phone", "keys".
        redact_patterns: What else is.
        redact_with: A function, or its dotted path, that sees each text last.
    """

    spool: Path | None
    rows: str
    operation_days: int | None
    store_content: bool
    content_days: int | None
    redact: tuple[str, ...]
    redact_patterns: tuple[re.Pattern[str], ...]
    redact_with: str | Callable[[str], str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """``OBC_AI["METRICS"]``: what lets a monitoring system read the metrics; None: nothing."""

    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many requests in any so many seconds."""

    requests: int
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """``OBC_AI["WEB"]``.

    Attributes:
        anonymous_scope: Tenant key of people who did not log in; None: they may ask nothing.
        may_ask: The project's rule for who may ask, or its dotted path; None: no further rule.
        throttles: "anon" by address, "user" by account, "burst" for both; None switches one off.
        throttle_cache: Alias of the Django cache that counts them.
        trusted_proxies: How many proxies in front add to ``X-Forwarded-For``.
        max_body_bytes: Longer requests are refused.
        keep_alive_seconds: A stream that says nothing for so long sends a comment.
    """

    anonymous_scope: str | None
    may_ask: Callable[[Any], bool] | str | None
    throttles: Mapping[str, Rate | None]
    throttle_cache: str
    trusted_proxies: int
    max_body_bytes: int
    keep_alive_seconds: float
