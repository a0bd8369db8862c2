"""``manage.py purge_operations``: delete old operations and keep their sums."""

from __future__ import annotations

import argparse
import datetime
import re
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_obc_ai.conf import get_settings
from django_obc_ai.services.retention import purge_operations


class Command(BaseCommand):
    """Exit code 0: done; 1: a wrong argument."""

    help = (
        "Delete operations older than an age, or than OBC_AI['LOG']['operation_days'], in short"
        " batches beside running calls. Costs, budgets and the dashboard stay what they were. Run"
        " it by cron, for example daily."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--older-than",
            type=age,
            metavar="AGE",
            help="Days or weeks such as 90d or 13w, at least 1d; else the setting.",
        )
        parser.add_argument("--most", type=int, help="Delete so many at most in this run.")
        parser.add_argument("--dry-run", action="store_true", help="Only count them.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Delete, and say how many."""
        older_than = options["older_than"]
        older_than = _setting() if older_than is None else older_than
        if options["most"] is not None and options["most"] < 1:
            raise CommandError("--most is below 1; leave it out to delete all.")
        try:
            report = purge_operations(
                older_than, is_dry_run=options["dry_run"], most=options["most"]
            )
        except ValueError as error:
            raise CommandError(str(error)) from None
        done = "would be" if options["dry_run"] else "were"
        text = f"{report.deleted:,} operations {done} deleted"
        if report.batches:
            text += f" in {report.batches:,} batches; their sums are kept"
        self.stdout.write(f"{text}.")
        if report.left:
            self.stdout.write(
                f"{report.left:,} stay for a later run: they were recorded a moment ago, or the"
                " response cache still holds their answers."
            )


def _setting() -> datetime.timedelta:
    days = get_settings().log.operation_days
    if days is None:
        raise CommandError("Give --older-than, or set OBC_AI['LOG']['operation_days'].")
    return datetime.timedelta(days=days)


def age(text: str) -> datetime.timedelta:
    """Return an age written as days or weeks.

    Raises:
        ArgumentTypeError: It is not one.
    """
    found = re.fullmatch(r"(\d{1,6})([dw])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no age; write days or weeks: 90d, 13w.")
    days = int(found[1]) * (7 if found[2] == "w" else 1)
    return datetime.timedelta(days=days)
