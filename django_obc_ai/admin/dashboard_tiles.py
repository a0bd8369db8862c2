"""The tiles and gauges of the dashboard: figures that stand alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from django_obc_ai.admin.dashboard_background import jobs_url
from django_obc_ai.admin.dashboard_links import ANSWERED_ANEW, COALESCED, Link, filter_of
from django_obc_ai.admin.dashboard_writing import (
    count,
    dollars,
    operations,
    percent,
    seconds,
    usd,
)
from django_obc_ai.services.attention import Concern
from django_obc_ai.services.figures import (
    Figures,
    Gauge,
    cache_saved_nano,
    failure_rate_of,
    first_chunk_ms,
    hit_rate_of,
    mean_ms,
    mean_wait_ms,
    success_rate_of,
)
from django_obc_ai.services.tally import Tally

_HIT_RATE_TARGET = 0.8
#: Which breakdown a budget's scope has, and so which filter.
_DIMENSIONS = {
    "module": "module",
    "operation_type": "operation_type",
    "model": "model",
    "user": "user",
    "tenant": "scope",
}
Read = Callable[[Tally], float | None]


def tiles(found: Figures, link: Link) -> list[dict[str, Any]]:
    """Return the figures of the head line, each beside that of the days before."""
    sums, hit_rate = found.total.sums, hit_rate_of(found.total)
    timed = link(**ANSWERED_ANEW)
    presumed = f"{sums['cost_unknown']:,} with a presumed cost" if sums["cost_unknown"] else ""
    target = f"the target is {_HIT_RATE_TARGET * 100:.0f} %"
    return [
        _tile(found, "operations", "Operations", lambda t: t.sums["operations"], count, link()),
        _tile(found, "spent", "Spent", lambda t: t.sums["cost_nano"], dollars, link(),
              note=presumed, note_url=link(cost_known__exact=0)),
        _tile(found, "answered", "Answered", success_rate_of, percent, link(success__exact=1),
              note=operations(sums["operations"] - sums["failures"])),
        _tile(found, "failed", "Failed", failure_rate_of, percent, link(success__exact=0),
              note=operations(sums["failures"])),
        _tile(found, "hit-rate", "Cache hit rate", hit_rate_of, percent, link(cached__exact=1),
              note=target, is_short=hit_rate is not None and hit_rate < _HIT_RATE_TARGET),
        _tile(found, "saved", "Saved by the cache", cache_saved_nano, dollars,
              link(cached__exact=1), note=operations(sums["cached"])),
        _tile(found, "coalesced", "Saved by coalescing", lambda t: t.sums["coalesced_nano"],
              dollars, link(**COALESCED), note=operations(sums["coalesced"])),
        _tile(found, "mean", "Response, mean", mean_ms, seconds, timed),
        _tile(found, "p50", "Response, median", lambda t: t.percentile(0.5), seconds, timed),
        _tile(found, "p95", "Response, 95 of 100", lambda t: t.percentile(0.95), seconds, timed),
        _tile(found, "first-chunk", "First piece of a stream", first_chunk_ms, seconds,
              link(first_chunk_ms__isnull=0)),
        _tile(found, "waited", "Wait, mean", mean_wait_ms, seconds, link(waited_ms__gt=0),
              note=operations(sums["waited"])),
        _tile(found, "fallbacks", "Fallbacks", lambda t: t.sums["fallbacks"], count,
              link(fell_back="yes")),
    ]  # fmt: skip


def _tile(
    found: Figures,
    name: str,
    label: str,
    read: Read,
    write: Callable[[Any], str],
    url: str,
    **more: Any,
) -> dict[str, Any]:
    """Return a tile; its ``exact`` values are what a machine reads."""
    now, old = read(found.total), read(found.before)
    # Any: an integer, a float or dollars.
    exact: Callable[[Any], Any] = usd if write is dollars else lambda each: each
    return {
        "name": name,
        "label": label,
        "value": write(now),
        "before": write(old),
        "exact": "" if now is None else f"{exact(now)}",
        "exact_before": "" if old is None else f"{exact(old)}",
        "change": _change(now, old, is_share=write is percent),
        "url": url,
        **more,
    }


def _change(now: float | None, old: float | None, *, is_share: bool) -> str:
    """Return what changed, of shares in percentage points; "" if nothing was there before."""
    if now is None or old is None or (not old and not is_share):
        return ""
    change = (now - old) * 100 if is_share else (now - old) / old * 100
    return f"{change:+.1f} points" if is_share else f"{change:+,.0f} %"


def gauge_rows(gauges: Sequence[Gauge], link: Link) -> list[dict[str, Any]]:
    """Return the budgets as they are shown, places on the bar in percent of its length."""
    return [_gauge_row(each, link) for each in gauges]


def _gauge_row(gauge: Gauge, link: Link) -> dict[str, Any]:
    write = _writer(gauge.budget.unit)
    whole = gauge.limit or Decimal(1)
    spent, held = (_place(each / whole) for each in (gauge.spent, gauge.spent + gauge.held))
    reached = [mark for mark in gauge.marks if mark <= gauge.used_percent]
    state = "over" if gauge.used_percent >= 100 else "near" if reached else "calm"
    expected = None if gauge.expected is None else gauge.expected / whole
    return {
        "key": gauge.key,
        "name": gauge.name,
        "state": state,
        "url": _rows_of(gauge, link),
        "spent": write(gauge.spent),
        "held": write(gauge.held),
        "limit": write(gauge.limit),
        "expected": "" if gauge.expected is None else write(gauge.expected),
        "is_expected_over": gauge.expected is not None and gauge.expected > gauge.limit,
        "exact": {name: f"{getattr(gauge, name):f}" for name in ("spent", "held", "limit")},
        "exact_expected": "" if gauge.expected is None else f"{gauge.expected:f}",
        "used": f"{gauge.used_percent:.1f} %",
        "is_enforced": gauge.budget.enforce,
        "marks": [
            {"percent": mark, "x": _shown(Decimal(mark)), "is_reached": mark in reached}
            for mark in gauge.marks
        ],
        "resets_at": gauge.resets_at,
        "spent_width": _shown(spent),
        "held_width": _shown(held - spent),
        "expected_x": "" if expected is None else _shown(_place(expected)),
    }  # fmt: skip


def _writer(unit: str) -> Callable[[Decimal], str]:
    if unit == "usd":
        # Whole cents, as most limits are, without digits of cents.
        return lambda amount: (
            f"${amount:,.2f}" if amount == round(amount, 2) else dollars(float(amount * 10**9))
        )
    return lambda amount: f"{amount:,.0f} {unit}"


def _place(share: Decimal) -> Decimal:
    return min(max(share, Decimal(0)), Decimal(1)) * 100


def _shown(place: Decimal) -> str:
    """Return a length as SVG wants it, whatever the language writes for a decimal point."""
    return f"{place:.2f}"


def _rows_of(gauge: Gauge, link: Link) -> str:
    budget, more = gauge.budget, {}
    if budget.scope != "global":
        if budget.scope not in _DIMENSIONS:  # a group: no column of the ledger names it
            return ""
        more = filter_of(_DIMENSIONS[budget.scope], gauge.value) or {}
    return link.between(gauge.starts_at, gauge.resets_at, **more)


def concern_rows(concerns: Sequence[Concern], link: Link, found: Figures) -> list[dict[str, Any]]:
    """Return what needs a hand, each with where to look."""
    urls: dict[str, Callable[[Concern], str]] = {
        "budget": lambda _: link.to("budget"),
        "failures": lambda each: link(
            first=found.last, success__exact=0, error_category__exact=each.key
        ),
        "price": lambda _: link(cost_known__exact=0),
        "provider": lambda _: link.to("providerpause"),
        "fallbacks": lambda _: link(first=found.last, fell_back="yes"),
        "jobs": lambda each: jobs_url(link, each.key),
        "workers": lambda _: link.to("worker"),
        "schedule": lambda _: link.to("taskstate"),
        "tasks": lambda each: link.listed("taskstate", name__exact=each.key),
    }
    shows = {
        "budget": "budgets",
        "provider": "providers",
        "jobs": "jobs",
        "workers": "workers",
        "schedule": "scheduled tasks",
        "tasks": "scheduled tasks",
    }
    return [
        {
            "message": each.message,
            "about": each.about,
            "shows": shows.get(each.about, "operations"),
            "is_urgent": each.is_urgent,
            "url": urls[each.about](each) if each.about in urls else "",
        }
        for each in concerns
    ]
