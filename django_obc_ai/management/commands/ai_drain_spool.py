"""``manage.py ai_drain_spool``: take up operations that wait on disk for the database."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_obc_ai.services.ledger import drain_spool


class Command(BaseCommand):
    """Exit code 0: nothing waits any more; 1: something is left or was set aside."""

    help = (
        "Store the operations that wait in OBC_AI['LOG']['spool']. Safe to run twice, and at any"
        " time. Exit code 0: nothing waits, 1: something is left or was set aside."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the option."""
        parser.add_argument(
            "--all", action="store_true", help="Also what was meant for another database."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Take up, and say what happened."""
        report = drain_spool(is_from_any=options["all"])
        self.stdout.write(f"{report.stored} stored, {report.known} were in the ledger already.")
        if report.left or report.refused:
            raise CommandError(
                f"{report.left} still wait, {report.refused} were set aside; the log of"
                " django_obc_ai.ledger says why.",
                returncode=1,
            )
