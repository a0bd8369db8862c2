"""``manage.py purge_content``: delete stored prompts and answers whose time is over."""

from __future__ import annotations

import argparse
import datetime
import re
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from django_obc_ai.services.content import purge_content

_UNITS = {"d": "days", "h": "hours", "w": "weeks"}


def _age(text: str) -> datetime.timedelta:
    match = re.fullmatch(r"(\d{1,6})([dhw])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no age; give for example 30d, 12h or 4w.")
    return datetime.timedelta(**{_UNITS[match[2]]: int(match[1])})


class Command(BaseCommand):
    """Exit code 0: done; 1: a wrong argument."""

    help = (
        "Delete stored prompts and answers older than OBC_AI['LOG']['content_days']; their"
        " operations stay. Run it by cron, for example daily."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--older-than", type=_age, metavar="AGE", help="In place of the setting, such as 30d."
        )
        parser.add_argument("--dry-run", action="store_true", help="Only count them.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Delete, and say how many."""
        count = purge_content(options["older_than"], is_dry_run=options["dry_run"])
        done = "would be" if options["dry_run"] else "were"
        self.stdout.write(f"{count} stored prompts and answers {done} deleted.")
