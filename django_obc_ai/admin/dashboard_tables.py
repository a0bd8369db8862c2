"""The tables of the dashboard, ready to be shown, drawn and downloaded."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django_obc_ai.admin.dashboard_links import ANSWERED_ANEW, COALESCED, Link, filter_of
from django_obc_ai.admin.dashboard_writing import count, dollars, seconds, usd
from django_obc_ai.services.figures import Figures

#: Values of the breakdown that are drawn apart; the rest are one.
_MOST_DRAWN = 7
_MOST_USERS = 10
_TOKENS = {
    "input_tokens": "Input, cached part included",
    "cached_tokens": "of it read from the provider's cache",
    "audio_tokens": "of it audio",
    "output_tokens": "Output",
    "thinking_tokens": "Thinking",
    "tool_tokens": "Tools",
}
#: Of each user's operations; Any: what filters take.
_OF_USERS: dict[str, dict[str, Any]] = {
    "Failed": {"success__exact": 0},
    "Cached": {"cached__exact": 1},
    "Coalesced": COALESCED,
}
#: Of operations, with what filters take (Any).
_KINDS: dict[str, dict[str, Any]] = {
    "Answered by the provider": ANSWERED_ANEW,
    "From the cache": {"cached__exact": 1},
    "Coalesced": COALESCED,
    "Failed": {"success__exact": 0},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What is written in a table, what is downloaded, and where it leads.

    Attributes:
        text: For people.
        plain: For machines, exact.
        url: Of the rows that are counted, "" for none.
        share: Of a bar below, in percent; "" draws none.
    """

    text: str
    plain: Any
    url: str = ""
    share: str = ""

    @property
    def is_number(self) -> bool:
        """Return whether it is set to the right."""
        return self.plain is None or isinstance(self.plain, (int, float, Decimal))


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

    @property
    def columns(self) -> list[tuple[str, bool]]:
        """Return each column's name, and whether it holds numbers."""
        first = self.rows[0] if self.rows else []
        return [
            (name, at < len(first) and first[at].is_number) for at, name in enumerate(self.header)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What tables are made of.

    Attributes:
        found: The figures.
        link: To the rows behind them.
        names: Of users by key; keys that are missing have no user any more.
        kept: The dearest and slowest operations by key; those that are missing were purged.
    """

    found: Figures
    link: Link
    names: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def label(self, dimension: str, value: str) -> str:
        """Return what a value of a dimension is called."""
        if dimension == "user":
            return self.names.get(value, f"#{value}, deleted") if value else "nobody"
        return value or f"no {dimension.replace('_', ' ')}"

    def to(self, dimension: str, *values: str, **more: Any) -> str:
        """Return the address of the rows with one of some values; a deleted user has none."""
        if dimension == "user" and any(each and each not in self.names for each in values):
            return ""
        chosen = filter_of(dimension, *values)
        return "" if chosen is None else self.link(**more, **chosen)


def by_spend(shares: Mapping[str, Sequence[int]]) -> list[str]:
    """Return the values of a breakdown, the dearest first."""
    return sorted(shares, key=lambda value: (-shares[value][3], -shares[value][0], value))


def users_shown(found: Figures) -> list[str]:
    """Return the users whose names are wanted."""
    most = max(_MOST_USERS, _MOST_DRAWN)
    return [each for each in by_spend(found.total.by["user"])[:most] if each]


def spend(shown: Shown) -> Table:
    """Return dollars by day and value of the chosen dimension, the dearest values first."""
    found, link = shown.found, shown.link
    order = by_spend(found.total.by[found.by])
    groups = [[value] for value in order[:_MOST_DRAWN]]
    if rest := order[_MOST_DRAWN:]:
        groups.append(rest)
    labels = [shown.label(found.by, group[0]) for group in groups]
    if rest:
        labels[-1] = f"{len(rest)} others" if len(rest) > 1 else labels[-1]
    rows, series = [], [[0.0] * len(found.days) for _ in groups]
    for at, (day, tally) in enumerate(found.days.items()):
        parts, cells = tally.by[found.by], []
        for number, group in enumerate(groups):
            nano = sum(parts[value][3] for value in group if value in parts)
            series[number][at] = nano / 1e9
            url = shown.to(found.by, *group, first=day) if nano else ""
            cells.append(Cell(text=dollars(nano), plain=usd(nano), url=url))
        of_day = tally.sums["cost_nano"]
        whole = Cell(text=dollars(of_day), plain=usd(of_day), url=link(first=day))
        rows.append([_day_cell(day, link), whole, *cells])
    return Table(
        header=["Day", "All", *labels],
        rows=rows,
        data={"labels": _days(found), "names": labels, "series": series, "unit": "$"},
    )


def calls(shown: Shown) -> Table:
    """Return operations by day: answers of providers, of the cache, coalesced; failures."""
    found, link = shown.found, shown.link
    rows: list[list[Cell]] = []
    series: list[list[int]] = [[] for _ in _KINDS]
    for day, tally in found.days.items():
        sums, cells = tally.sums, []
        parts = (sums["cached"], sums["coalesced"], sums["failures"])
        amounts = (sums["operations"] - sum(parts), *parts)
        for number, (amount, chosen) in enumerate(zip(amounts, _KINDS.values(), strict=True)):
            series[number].append(amount)
            url = link(first=day, **chosen) if amount else ""
            cells.append(Cell(text=count(amount), plain=amount, url=url))
        rows.append([_day_cell(day, link), *cells])
    names = list(_KINDS)
    return Table(
        header=["Day", *names],
        rows=rows,
        data={"labels": _days(found), "names": names, "series": series, "unit": ""},
    )


def times(shown: Shown) -> Table:
    """Return the median and the 95th percentile of response times by day, in seconds."""
    found, link = shown.found, shown.link
    rows: list[list[Cell]] = []
    series: list[list[float | None]] = [[], []]
    for day, tally in found.days.items():
        cells = []
        for number, share in enumerate((0.5, 0.95)):
            found_ms = tally.percentile(share)
            plain = None if found_ms is None else round(found_ms / 1000, 3)
            series[number].append(plain)
            url = "" if plain is None else link(first=day, **ANSWERED_ANEW)
            cells.append(Cell(text=seconds(found_ms), plain=plain, url=url))
        rows.append([_day_cell(day, link), *cells])
    names = ["Median", "95 of 100"]
    return Table(
        header=["Day", *names],
        rows=rows,
        data={"labels": _days(found), "names": names, "series": series, "unit": "s"},
    )


def errors(shown: Shown) -> Table:
    """Return failures by category, most frequent first."""
    now, before = shown.found.total.errors, shown.found.before.errors
    every = shown.found.total.sums["failures"]
    rows = []
    for name, number in sorted(now.items(), key=lambda each: (-each[1], each[0])):
        url = shown.link(success__exact=0, error_category__exact=name)
        old, label = before.get(name, 0), name.replace("_", " ") or "no category"
        rows.append(
            [
                Cell(text=label, plain=name, url=url),
                Cell(text=count(number), plain=number, url=url, share=_share(number, every)),
                Cell(text=count(old), plain=old),
            ]
        )
    return Table(header=["Category", "Operations", "Before"], rows=rows)


def tokens(shown: Shown) -> Table:
    """Return tokens by bucket."""
    now, before = shown.found.total.sums, shown.found.before.sums
    largest = max(now[name] for name in _TOKENS)
    rows = []
    for name, label in _TOKENS.items():
        number, old = now[name], before[name]
        has_some: dict[str, Any] = {f"{name}__gt": 0}  # Any: what filters take
        url = shown.link(**has_some) if number else ""
        share = _share(number, largest)
        rows.append(
            [
                Cell(text=label, plain=name),
                Cell(text=count(number), plain=number, url=url, share=share),
                Cell(text=count(old), plain=old),
            ]
        )
    return Table(header=["Tokens", "Number", "Before"], rows=rows)


def users(shown: Shown) -> Table:
    """Return who spent most."""
    shares, before = shown.found.total.by["user"], shown.found.before.by["user"]
    order = by_spend(shares)[:_MOST_USERS]
    most, rows = max((shares[value][3] for value in order), default=0), []
    for value in order:
        number, failed, cached, nano, coalesced = shares[value]
        old = before[value][3] if value in before else 0
        who, url = shown.label("user", value), shown.to("user", value)
        parts = [
            Cell(text=count(part), plain=part, url=shown.to("user", value, **kind) if part else "")
            for part, kind in zip((failed, cached, coalesced), _OF_USERS.values(), strict=True)
        ]
        rows.append(
            [
                Cell(text=who, plain=who, url=url),
                Cell(text=dollars(nano), plain=usd(nano), url=url, share=_share(nano, most)),
                Cell(text=dollars(old), plain=usd(old)),
                Cell(text=count(number), plain=number, url=url),
                *parts,
            ]
        )
    header = ["User", "Spent", "Before", "Operations", *_OF_USERS]
    return Table(header=header, rows=rows)


def dearest(shown: Shown) -> Table:
    """Return the calls that cost most."""
    amounts = [
        (Cell(text=dollars(nano), plain=usd(nano), url=shown.link.to("aioperation", key)), key)
        for nano, key in shown.found.total.dearest
    ]
    return _operations("Cost", amounts, shown)


def slowest(shown: Shown) -> Table:
    """Return the answers that took longest."""
    amounts = [
        (Cell(text=seconds(ms), plain=ms / 1000, url=shown.link.to("aioperation", key)), key)
        for ms, key in shown.found.total.slowest
    ]
    return _operations("Time", amounts, shown)


def _operations(name: str, amounts: Sequence[tuple[Cell, str]], shown: Shown) -> Table:
    rows = []
    for amount, key in amounts:
        row = shown.kept.get(key)
        if row is None:  # its figure is in the rollup, it itself is gone
            purged = Cell(text="purged", plain="purged")
            empty = Cell(text="", plain="")
            rows.append([Cell(text=amount.text, plain=amount.plain), purged, empty, empty])
            continue
        user = "" if row["user_id"] is None else str(row["user_id"])
        parts = (row["module"], row["operation_type"], row["model_used"])
        what, who = " · ".join(filter(None, parts)), shown.label("user", user)
        began = f"{row['began']:%Y-%m-%d %H:%M}"
        rows.append([amount, *(Cell(text=each, plain=each) for each in (began, what, who))])
    return Table(header=[name, "When", "What", "User"], rows=rows)


def repeated(prompts: Iterable[Mapping[str, Any]], link: Link) -> Table:
    """Return the prompts that were paid for again."""
    rows = []
    for row in prompts:
        url = link(
            prompt_hash__exact=row["prompt_hash"],
            module__exact=row["module"],
            cost_usd__gt=0,
            **ANSWERED_ANEW,
        )
        nano = int(row["spent"].scaleb(9))
        rows.append(
            [
                Cell(text=row["prompt_hash"][:12], plain=row["prompt_hash"], url=url),
                Cell(text=row["module"] or "no module", plain=row["module"]),
                Cell(text=count(row["times"]), plain=row["times"], url=url),
                Cell(text=dollars(nano), plain=row["spent"], url=url),
            ]
        )
    return Table(header=["Prompt", "Module", "Times paid", "Spent"], rows=rows)


#: By name, as in the addresses of the downloads.
TABLES: dict[str, Callable[[Shown], Table]] = {
    "spend": spend,
    "calls": calls,
    "times": times,
    "errors": errors,
    "tokens": tokens,
    "users": users,
    "dearest": dearest,
    "slowest": slowest,
}


def _share(part: int, whole: int) -> str:
    """Return the length of a bar in percent, as SVG wants it."""
    return f"{100 * part / whole:.1f}" if whole else ""


def _days(found: Figures) -> list[str]:
    return [f"{day:%Y-%m-%d}" for day in found.days]


def _day_cell(day: datetime.date, link: Link) -> Cell:
    return Cell(text=f"{day:%Y-%m-%d}", plain=day, url=link(first=day))
