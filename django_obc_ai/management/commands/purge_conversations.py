"""``manage.py purge_conversations``: delete conversations that nobody goes on with."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_obc_ai.services.conversations import purge_conversations


class Command(BaseCommand):
    """Exit code 0: done; 1: a wrong argument."""

    help = (
        "Delete conversations in which nothing was asked for OBC_AI['CHAT']['retention_days'],"
        " with their messages. Run it by cron, for example daily."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("--days", type=int, help="In place of the setting.")
        parser.add_argument("--dry-run", action="store_true", help="Only count them.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Delete, and say how many."""
        days = options["days"]
        if days is not None and days < 0:
            raise CommandError("--days is negative; give whole days, or 0 for all.")
        count = purge_conversations(days, is_dry_run=options["dry_run"])
        done = "would be" if options["dry_run"] else "were"
        self.stdout.write(f"{count} conversations {done} deleted.")
