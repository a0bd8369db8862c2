"""``manage.py send_cost_report``: a day's costs by e-mail."""

from __future__ import annotations

import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from django_obc_ai.querysets import current_day
from django_obc_ai.services.ledger import drain_spool
from django_obc_ai.services.reports import DailyCostReport


class Command(BaseCommand):
    """For cron: shortly after midnight in TIME_ZONE, it reports the day that has ended."""

    help = "E-mail the report of a day's costs; print it with --print."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--day",
            type=datetime.date.fromisoformat,
            metavar="YYYY-MM-DD",
            help="Which day, in TIME_ZONE; yesterday if not given.",
        )
        parser.add_argument(
            "--to", nargs="*", default=[], metavar="ADDRESS", help="Recipients; else ADMINS."
        )
        parser.add_argument("--print", action="store_true", help="Print it and send nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Send or print."""
        drain_spool()
        report = DailyCostReport(options["day"] or current_day() - datetime.timedelta(days=1))
        if options["print"]:
            self.stdout.write(report.format_report(), ending="")
            return
        report.send(options["to"])
        self.stdout.write(f"Sent the report of {report.date}.")
