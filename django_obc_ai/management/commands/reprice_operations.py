"""``manage.py reprice_operations``: costs again, after a price was corrected."""

from __future__ import annotations

import datetime
import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from django_obc_ai.services.repricing import reprice


class Command(BaseCommand):
    """Exit code 0, whether anything changed or not."""

    help = (
        "Compute costs again from stored token counts, at the price of each operation's own day."
        " Leaves a CostCorrection for each change; a second run changes nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--since",
            type=datetime.date.fromisoformat,
            required=True,
            metavar="YYYY-MM-DD",
            help="First day, in TIME_ZONE.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Only say what would change.")
        parser.add_argument("--by", help="Who does it, for the trace.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Price again, and report totals."""
        is_dry_run = options["dry_run"]
        made_by = options["by"] or getpass.getuser()
        report = reprice(options["since"], made_by=made_by, is_dry_run=is_dry_run)
        for model, (old, new) in sorted(report.by_model.items()):
            self.stdout.write(f"{model}: ${old:f} -> ${new:f} ({new - old:+f})")
        for reason, count in sorted(report.skipped.items()):
            self.stdout.write(f"{count} left alone: {reason}")
        verb = "would change" if is_dry_run else "changed"
        self.stdout.write(
            f"{report.seen} operations seen, {report.changed} {verb}:"
            f" ${report.old_usd:f} -> ${report.new_usd:f}"
            f" ({report.new_usd - report.old_usd:+f})."
        )
        if report.changed and not is_dry_run:
            self.stdout.write(f"Corrections of this run: {report.run}")
            self.stdout.write("Budgets still hold the old sums: see reconcile_costs --repair.")
