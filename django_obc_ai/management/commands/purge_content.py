"""``manage.py purge_content``: delete stored prompts and answers whose time is over."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from django_obc_ai.management.commands.purge_operations import age
from django_obc_ai.services.content import purge_content


class Command(BaseCommand):
    """Exit code 0: done; 1: a wrong argument."""

    help = (
        "Delete stored prompts and answers older than OBC_AI['LOG']['content_days']; their"
        " operations stay. Run it by cron, for example daily."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--older-than", type=age, metavar="AGE", help="In place of the setting, such as 30d."
        )
        parser.add_argument("--dry-run", action="store_true", help="Only count them.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Delete, and say how many."""
        count = purge_content(options["older_than"], is_dry_run=options["dry_run"])
        done = "would be" if options["dry_run"] else "were"
        self.stdout.write(f"{count} stored prompts and answers {done} deleted.")
