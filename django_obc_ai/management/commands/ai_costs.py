"""``manage.py ai_costs``: what calls cost, by module, model, user, day, ..."""

from __future__ import annotations

import calendar
import csv
import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_obc_ai.querysets import BREAKDOWN_FIELDS, current_day
from django_obc_ai.services.costs import CostTracker
from django_obc_ai.services.ledger import drain_spool

_COLUMNS = ("key", "cost", "operations", "failures", "cached", "coalesced", "tokens")
#: A spreadsheet takes a cell that begins so for a formula, and runs it.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")


class Command(BaseCommand):
    """Reads the ledger; changes nothing but what waits in the spool."""

    help = "Show what calls cost, today by default, by module by default."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        date = datetime.date.fromisoformat
        for name, text in (
            ("--day", "One day."),
            ("--from", "First day."),
            ("--to", "Last day, included; today if not given."),
        ):
            parser.add_argument(name, type=date, metavar="YYYY-MM-DD", help=text)
        parser.add_argument("--month", type=_month, metavar="YYYY-MM", help="One month.")
        parser.add_argument(
            "--by", choices=tuple(BREAKDOWN_FIELDS), default="module", help="What to group by."
        )
        parser.add_argument("--format", choices=("table", "csv", "json"), default="table")
        parser.add_argument(
            "--forecast", action="store_true", help="Add the month's end, by tenant."
        )
        parser.add_argument(
            "--suggestions", action="store_true", help="Add ways to spend less, from 30 days."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Sum up and print."""
        drain_spool()
        first, last = _days(options)
        tracker = CostTracker()
        try:
            rows = tracker.get_cost_breakdown(first, last, by=options["by"])
        except ValueError as error:
            raise CommandError(str(error)) from error
        form = options["format"]
        if form == "csv":
            self._write_csv(options["by"], rows)
        elif form == "json":
            self.stdout.write(
                json.dumps(self._as_json(first, last, rows, tracker, options), indent=2)
            )
        else:
            self._write_table(options["by"], first, last, rows)
            self._write_more(tracker, options)

    def _write_csv(self, by: str, rows: Sequence[Mapping[str, Any]]) -> None:
        writer = csv.writer(self.stdout, lineterminator="\n")
        writer.writerow([by, *_COLUMNS[1:]])
        for row in rows:
            writer.writerow([_harmless(row["key"]), f"{row['cost']:f}", *_counts(row)])

    def _as_json(
        self,
        first: datetime.date,
        last: datetime.date,
        rows: Sequence[Mapping[str, Any]],
        tracker: CostTracker,
        options: Mapping[str, Any],
    ) -> dict[str, Any]:
        body: dict[str, Any] = {
            "from": str(first),
            "to": str(last),
            "by": options["by"],
            "rows": [
                {
                    **{name: row[name] for name in _COLUMNS[2:]},
                    "key": None if row["key"] is None else str(row["key"]),
                    "cost": f"{row['cost']:f}",
                }
                for row in rows
            ],
        }
        if options["forecast"]:
            body["forecast"] = [
                {name: None if (v := getattr(each, name)) is None else str(v) for name in _FORECAST}
                for each in tracker.forecast_by_scope()
            ]
        if options["suggestions"]:
            body["suggestions"] = [
                {name: str(getattr(each, name)) for name in _SUGGESTION}
                for each in tracker.suggestions()
            ]
        return body

    def _write_table(
        self,
        by: str,
        first: datetime.date,
        last: datetime.date,
        rows: Sequence[Mapping[str, Any]],
    ) -> None:
        body = [[_shown(row["key"]), f"${row['cost']:f}", *map(str, _counts(row))] for row in rows]
        total = [sum(row[name] for row in rows) for name in _COLUMNS[1:]]
        body.append(["total", f"${total[0]:f}", *map(str, total[1:])])
        table = [[by, *_COLUMNS[1:]], *body]
        widths = [max(len(line[place]) for line in table) for place in range(len(_COLUMNS))]
        self.stdout.write(f"{first} to {last}")
        for line in table:
            cells = [line[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
            self.stdout.write("  ".join(cells))

    def _write_more(self, tracker: CostTracker, options: Mapping[str, Any]) -> None:
        if options["forecast"]:
            for each in tracker.forecast_by_scope():
                name = "all" if each.scope is None else each.scope or "no tenant"
                text = f"{name}: ${each.spent_usd:f} so far, about ${each.expected_usd} expected"
                if each.low_usd is not None and each.high_usd is not None:
                    text += f", {each.level:.0%} sure of ${each.low_usd:.2f} to ${each.high_usd}"
                self.stdout.write(text)
        if options["suggestions"]:
            for found in tracker.suggestions():
                self.stdout.write(f"${found.saves_usd:f}  {found.message} ({found.how})")


_FORECAST = (
    "scope", "month", "spent_usd", "expected_usd", "low_usd", "high_usd", "level", "history_days",
)  # fmt: skip
_SUGGESTION = ("kind", "subject", "message", "saves_usd", "how")


def _counts(row: Mapping[str, Any]) -> list[int]:
    return [row[name] for name in _COLUMNS[2:]]


def _shown(key: Any) -> str:
    return "-" if key in (None, "") else str(key)


def _harmless(key: Any) -> str:
    text = "" if key is None else str(key)
    return f"'{text}" if text.startswith(_FORMULAS) else text


def _month(text: str) -> datetime.date:
    return datetime.date.fromisoformat(f"{text}-01")


def _days(options: Mapping[str, Any]) -> tuple[datetime.date, datetime.date]:
    day, month, first, last = (options[name] for name in ("day", "month", "from", "to"))
    if sum(each is not None for each in (day, month, first or last)) > 1:
        raise CommandError("Give one of --day, --month, and --from with --to.")
    if month is not None:
        return month, month.replace(day=calendar.monthrange(month.year, month.month)[1])
    if day is not None:
        return day, day
    today = current_day()
    return first or last or today, last or today
