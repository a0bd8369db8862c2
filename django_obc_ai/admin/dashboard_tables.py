"""The tables and tiles of the dashboard, ready to be shown, drawn and downloaded."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.urls import reverse

from django_obc_ai.services.figures import (
    Figures,
    first_chunk_ms,
    hit_rate_of,
    mean_ms,
    success_rate_of,
)
from django_obc_ai.services.tally import Tally

#: Values of the breakdown that are drawn apart; the rest are one.
_MOST_DRAWN = 7
_MOST_USERS = 10
_HIT_RATE_TARGET = 0.8
_FILTERS = {
    "module": "module",
    "operation_type": "operation_type",
    "model": "model_used",
    "user": "user__id__exact",
    "scope": "scope",
}
_TOKENS = {
    "input_tokens": "Input, cached part included",
    "cached_tokens": "of it read from the provider's cache",
    "audio_tokens": "of it audio",
    "output_tokens": "Output",
    "thinking_tokens": "Thinking",
    "tool_tokens": "Tools",
}
Linker = Callable[..., str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What is written in a table, what is downloaded, and where it leads."""

    text: str
    plain: Any
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table, and the series of its chart.

    Attributes:
        header: Names of the columns.
        rows: Of cells, as many as columns.
        data: For the chart: labels and series.
    """

    header: list[str]
    rows: list[list[Cell]]
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def plain(self) -> list[list[Any]]:
        """Return the rows as they are downloaded."""
        return [[cell.plain for cell in row] for row in self.rows]


def tiles(found: Figures, link: Linker) -> list[dict[str, Any]]:
    """Return the figures of the head line, each beside that of the days before."""
    total, before = found.total, found.before
    sums = total.sums
    hit_rate, timed = hit_rate_of(total), link(success__exact=1, cached__exact=0)
    return [
        _tile("Operations", total, before, lambda t: t.sums["operations"], count, link()),
        _tile(
            "Spent", total, before, lambda t: t.sums["cost_nano"], dollars, link(),
            note=f"{sums['cost_unknown']:,} with a presumed cost" if sums["cost_unknown"] else "",
            note_url=link(cost_known__exact=0),
        ),
        _tile(
            "Answered", total, before, success_rate_of, percent, link(success__exact=1),
            note=f"{sums['failures']:,} failed" if sums["failures"] else "",
            note_url=link(success__exact=0),
        ),
        _tile("Mean response", total, before, mean_ms, seconds, timed),
        _tile(
            "Response p50 / p95", total, before, lambda t: t.percentile(0.5), seconds,
            timed, second=seconds(total.percentile(0.95)),
        ),
        _tile("First piece of a stream", total, before, first_chunk_ms, seconds,
              link(first_chunk_ms__isnull=0)),
        _tile(
            "Cache hit rate", total, before, hit_rate_of, percent, link(cached__exact=1),
            note=f"the target is {_HIT_RATE_TARGET * 100:.0f} %",
            is_short=hit_rate is not None and hit_rate < _HIT_RATE_TARGET,
        ),
        _tile("Saved by the cache", total, before, lambda t: t.sums["saved_nano"], dollars,
              link(cached__exact=1)),
    ]  # fmt: skip


def _tile(
    label: str,
    total: Tally,
    before: Tally,
    read: Callable[[Tally], float | None],
    write: Callable[[Any], str],
    url: str,
    **more: Any,
) -> dict[str, Any]:
    now, old = read(total), read(before)
    change = None if now is None or not old else (now - old) / old * 100
    return {
        "label": label,
        "value": write(now),
        "before": write(old),
        "change": None if change is None else f"{change:+.0f} %",
        "url": url,
        **more,
    }


def spend(found: Figures, names: Mapping[str, str], link: Linker) -> Table:
    """Return dollars by day and value of the chosen dimension, the dearest values first."""
    shares = found.total.by[found.by]
    order = sorted(shares, key=lambda value: (-shares[value][3], -shares[value][0], value))
    drawn = order[:_MOST_DRAWN]
    rest = set(order[_MOST_DRAWN:])
    labels = [_label(found.by, value, names) for value in drawn] + (["others"] if rest else [])
    rows, series = [], [[0.0] * len(found.days) for _ in labels]
    for at, (day, tally) in enumerate(found.days.items()):
        parts = tally.by[found.by]
        amounts = [parts[value][3] if value in parts else 0 for value in drawn]
        if rest:
            amounts.append(sum(share[3] for value, share in parts.items() if value in rest))
        for number, nano in enumerate(amounts):
            series[number][at] = nano / 1e9
        urls = [link(first=day, **_filter(found.by, value)) for value in drawn]
        cells = [
            Cell(text=dollars(nano), plain=_usd(nano), url=url if nano else "")
            for nano, url in zip(amounts, [*urls, ""], strict=False)
        ]
        sum_of_day = tally.sums["cost_nano"]
        whole = Cell(text=dollars(sum_of_day), plain=_usd(sum_of_day), url=link(first=day))
        rows.append([_day_cell(day, link), whole, *cells])
    return Table(
        header=["Day", "All", *labels],
        rows=rows,
        data={"labels": _days(found), "names": labels, "series": series, "unit": "$"},
    )


def calls(found: Figures, link: Linker) -> Table:
    """Return operations by day: paid answers, cached answers, failures."""
    rows: list[list[Cell]] = []
    series: list[list[int]] = [[], [], []]
    for day, tally in found.days.items():
        sums = tally.sums
        answered = sums["operations"] - sums["failures"] - sums["cached"]
        for number, amount in enumerate((answered, sums["cached"], sums["failures"])):
            series[number].append(amount)
        filters: list[dict[str, int]] = [
            {"success__exact": 1, "cached__exact": 0},
            {"cached__exact": 1},
            {"success__exact": 0},
        ]
        cells = [
            Cell(text=count(amount), plain=amount, url=link(first=day, **each) if amount else "")
            for amount, each in zip(
                (answered, sums["cached"], sums["failures"]), filters, strict=True
            )
        ]
        rows.append([_day_cell(day, link), *cells])
    names = ["Answered by the provider", "From the cache", "Failed"]
    return Table(
        header=["Day", *names],
        rows=rows,
        data={"labels": _days(found), "names": names, "series": series, "unit": ""},
    )


def times(found: Figures) -> Table:
    """Return the median and the 95th percentile of response times by day, in seconds."""
    rows: list[list[Cell]] = []
    series: list[list[float | None]] = [[], []]
    for day, tally in found.days.items():
        cells = []
        for number, share in enumerate((0.5, 0.95)):
            found_ms = tally.percentile(share)
            plain = None if found_ms is None else round(found_ms / 1000, 3)
            series[number].append(plain)
            cells.append(Cell(text=seconds(found_ms), plain=plain))
        rows.append([Cell(text=f"{day:%Y-%m-%d}", plain=day), *cells])
    names = ["p50", "p95"]
    return Table(
        header=["Day", *names],
        rows=rows,
        data={"labels": _days(found), "names": names, "series": series, "unit": "s"},
    )


def errors(found: Figures, link: Linker) -> list[dict[str, Any]]:
    """Return failures by category, most frequent first."""
    ordered = sorted(found.total.errors.items(), key=lambda each: (-each[1], each[0]))
    return [
        {"name": name, "count": number, "url": link(success__exact=0, error_category=name)}
        for name, number in ordered
    ]


def tokens(found: Figures) -> list[dict[str, Any]]:
    """Return tokens by bucket, with their share of the largest."""
    largest = max(1, *(found.total.sums[name] for name in _TOKENS))
    return [
        {"label": label, "count": found.total.sums[name],
         "share": round(100 * found.total.sums[name] / largest)}
        for name, label in _TOKENS.items()
    ]  # fmt: skip


def users(found: Figures, names: Mapping[str, str], link: Linker) -> Table:
    """Return who spent most."""
    shares = found.total.by["user"]
    order = sorted(shares, key=lambda value: (-shares[value][3], -shares[value][0], value))
    rows = []
    for value in order[:_MOST_USERS]:
        number, failed, cached, nano = shares[value]
        who = _label("user", value, names)
        rows.append(
            [
                Cell(text=who, plain=who, url=link(**_filter("user", value))),
                Cell(text=count(number), plain=number),
                Cell(text=count(failed), plain=failed),
                Cell(text=count(cached), plain=cached),
                Cell(text=dollars(nano), plain=_usd(nano)),
            ]
        )
    return Table(header=["User", "Operations", "Failed", "Cached", "Spent"], rows=rows)


def operations(kept: Sequence[tuple[int, str]], unit: str, site: Any) -> list[dict[str, str]]:
    """Return single operations, each with its address. Any: an admin site."""
    write = dollars if unit == "cost" else seconds
    return [
        {
            "value": write(amount),
            "key": key,
            "url": reverse(f"{site.name}:django_obc_ai_aioperation_change", args=[key]),
        }
        for amount, key in kept
    ]


def count(number: float | None) -> str:
    """Return a number as people write it."""
    return "-" if number is None else f"{number:,.0f}"


def dollars(nano: float | None) -> str:
    """Return nano-dollars in dollars, small amounts with more digits."""
    if nano is None:
        return "-"
    amount = nano / 1e9
    return f"${amount:,.2f}" if amount >= 1 or not amount else f"${amount:,.4f}"


def percent(share: float | None) -> str:
    """Return a share as percent."""
    return "-" if share is None else f"{share * 100:.1f} %"


def seconds(milliseconds: float | None) -> str:
    """Return milliseconds in seconds, or in themselves below one."""
    if milliseconds is None:
        return "-"
    return f"{milliseconds / 1000:,.2f} s" if milliseconds >= 1000 else f"{milliseconds:.0f} ms"


def _usd(nano: int) -> Decimal:
    return Decimal(nano).scaleb(-9)


def _days(found: Figures) -> list[str]:
    return [f"{day:%Y-%m-%d}" for day in found.days]


def _day_cell(day: datetime.date, link: Linker) -> Cell:
    return Cell(text=f"{day:%Y-%m-%d}", plain=day, url=link(first=day))


def _filter(dimension: str, value: str) -> dict[str, Any]:
    if dimension == "user" and not value:
        return {"user__isnull": 1}
    return {_FILTERS[dimension]: value}


def _label(dimension: str, value: str, names: Mapping[str, str]) -> str:
    if dimension == "user":
        return names.get(value, f"#{value}") if value else "nobody"
    return value or f"no {dimension.replace('_', ' ')}"
