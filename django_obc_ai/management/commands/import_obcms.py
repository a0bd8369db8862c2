"""``manage.py import_obcms``: bring along what the original system has recorded."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError

from django_obc_ai.services.obcms import ImportReport, import_obcms


class Command(BaseCommand):
    """Exit code 0: done; 1: the tables are not as they should be, or a database failed."""

    help = (
        "Import operations and conversations from the tables of the original system, OBCMS, which"
        " are only read. Safe to interrupt and to run again. Embeddings are not imported."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--database",
            default="default",
            metavar="ALIAS",
            help="Where the original's tables are, of DATABASES.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Only count.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Import, and say what came and what did not."""
        alias = options["database"]
        try:
            report = import_obcms(alias, is_dry_run=options["dry_run"])
        except ValueError as error:
            raise CommandError(str(error)) from None
        except (DatabaseError, InterfaceError) as error:
            raise CommandError(
                f"A database failed while {alias!r} was read: {error} What is imported stays; run"
                " the command again to go on."
            ) from error
        self._show(report, "would be imported" if options["dry_run"] else "imported")

    def _show(self, report: ImportReport, done: str) -> None:
        cost, saved = report.cost_usd.normalize(), report.saved_usd.normalize()
        self.stdout.write(
            f"operations: {report.operations:,} {done} at ${cost:f}, with ${saved:f} saved by the"
            f" cache; {report.known_operations:,} were there"
        )
        self.stdout.write(
            f"conversations: {report.conversations:,} {done} with {report.messages:,} messages;"
            f" {report.known_conversations:,} were there"
        )
        for note, count in sorted(report.notes.items()):
            self.stdout.write(f"{count:,} {note}")
        for each in report.embeddings:
            way = f"run: ai_index {each.index}" if each.index else "declare an index over it"
            self.stdout.write(
                f"{each.count:,} embeddings of {each.model} left behind"
                f" ({each.old_index}, {each.embedder}); {way}"
            )
