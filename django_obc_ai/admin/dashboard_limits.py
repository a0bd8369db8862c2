"""The limits of providers on the dashboard: what is left of each, and who is closed."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from django.utils import timezone

from django_obc_ai.admin.dashboard_links import Link
from django_obc_ai.admin.dashboard_writing import count
from django_obc_ai.services.limits import CLOSING, LimitState, Meter

_NEAR_PERCENT = 90


def limit_rows(limits: Sequence[LimitState], link: Link) -> list[dict[str, Any]]:
    """Return the providers as they are shown."""
    return [_row(each, link) for each in limits]


def _row(found: LimitState, link: Link) -> dict[str, Any]:
    state = found.state
    return {
        "alias": found.alias,
        "condition": condition_of(found),
        "is_bad": state is None or found.is_closed,
        "url": link.to("providerpause"),
        "meters": [_meter(each, found, link) for each in found.meters()],
        "state": state,
        "resets_at": found.resets_at,
    }


def condition_of(found: LimitState) -> str:
    """Return in words whether a provider is asked."""
    if found.state is None:
        return "unknown: the coordinator does not answer"
    reason = found.state.reason
    if reason in CLOSING:
        until = found.until
        return f"closed{'' if until is None else f' until {moment(until)}'}: {CLOSING[reason]}"
    if reason == "reopening":
        return "reopening: few calls are let through"
    return "open"


def moment(at: datetime.datetime) -> str:
    """Return a time in the active time zone, of today without its day."""
    local, now = timezone.localtime(at), timezone.localtime(datetime.datetime.now(datetime.UTC))
    return f"{local:%H:%M:%S}" if local.date() == now.date() else f"{local:%Y-%m-%d %H:%M}"


def _meter(meter: Meter, found: LimitState, link: Link) -> dict[str, Any]:
    percent = meter.percent
    return {
        "name": meter.name,
        "words": meter.words,
        "used": count(meter.used),
        "limit": count(meter.limit),
        "exact": meter.used,
        "exact_limit": meter.limit,
        "percent": f"{percent:.0f} %",
        "width": f"{min(percent, 100.0):.2f}",
        "state": "over" if percent >= 100 else "near" if percent >= _NEAR_PERCENT else "calm",
        "url": _rows_of(meter, found, link),
    }


def _rows_of(meter: Meter, found: LimitState, link: Link) -> str:
    """Return the operations of the provider's day that sent requests.

    What counts in a window is not in the ledger yet, and has no rows.
    """
    if meter.name != "day":
        return ""
    start, end = (
        datetime.datetime.fromtimestamp(each, datetime.UTC)
        for each in (found.limits.day_starts_at, found.limits.day_ends_at)
    )
    return link.between(start, end, provider__exact=found.alias, attempts__gt=0)
