"""What a call is told that the limits refuse."""

from __future__ import annotations

import datetime

from django_obc_ai.exceptions import RateLimitedError
from django_obc_ai.logs import events
from django_obc_ai.types import CallInfo
from django_obc_ai.types.coordination import Admission, Limits

_CODES = {"day": "quota_exhausted", "quota": "quota_exhausted", "breaker": "transient"}


def moment_of(seconds: float) -> datetime.datetime:
    """Return a time of a coordinator's, in seconds since 1970, as aware UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def refuse_to_overtake(info: CallInfo) -> None:
    """Refuse a call before which jobs wait for the limits of who is asked now.

    Raises:
        RateLimitedError: It has to queue.
    """
    alias = info.provider
    until = None if info.line is None else info.line(alias)
    if until is None:
        return
    error = RateLimitedError(
        f"Questions that were asked before wait as jobs for the provider {alias!r}, and go first."
        " Nothing was sent."
    )
    error.alias, error.reason, error.until = alias, "queue", until
    events.TRAFFIC_REFUSED.log(about=f"{alias} queue", alias=alias, reason="queue")
    raise error


def refusal_of(alias: str, answer: Admission, limits: Limits, tokens: int) -> RateLimitedError:
    """Return the error that says which limit it was, when there is room, and what to do."""
    where = f"OBC_AI['RATE_LIMITS'][{alias!r}]"
    until = None if answer.until is None else moment_of(answer.until)
    end = "" if until is None else f" until {until:%Y-%m-%d %H:%M:%S} UTC"
    wait = f"; there is room in {answer.wait_seconds:.1f} seconds" if answer.wait_seconds else ""
    window = f"{limits.window_seconds:.0f} seconds"
    text = {
        "requests": f"{where} allows {limits.requests} requests in {window}{wait}.",
        "queue": f"{where} allows {limits.requests} requests in {window}, and others wait{wait}.",
        "tokens": f"{where} allows {limits.tokens} tokens in {window}, and this call may take"
        f" {tokens}{wait}. Lower max_output_tokens, or raise the limit.",
        "day": f"{where} allows {limits.per_day} requests a day, and they are used up{end}.",
        "throttled": f"The provider {alias!r} answers that too much is asked of it, so no worker"
        f" asks it{end}.",
        "quota": f"The daily quota of {alias!r} is used up, so no worker asks it{end}.",
        "breaker": f"The provider {alias!r} has failed {limits.failures} times in a row, so no"
        f" worker asks it{end}.",
        "reopening": f"The provider {alias!r} is asked by a few at first, after it was closed.",
    }[answer.reason or "requests"]
    is_final = answer.reason == "tokens" and not answer.wait_seconds
    remedy = " Nothing was sent."
    if not is_final:
        remedy += " Try later, or name another alias in OBC_AI['FALLBACKS']."
    error = RateLimitedError(text + remedy, retry_after_seconds=answer.wait_seconds or None)
    error.is_final = is_final
    error.code = _CODES.get(answer.reason, error.code)
    error.alias, error.reason, error.until = alias, answer.reason, until
    events.TRAFFIC_REFUSED.log(about=f"{alias} {answer.reason}", alias=alias, reason=answer.reason)
    return error
