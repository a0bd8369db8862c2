"""``manage.py erase_user``: erase what the package holds about one user."""

from __future__ import annotations

import dataclasses
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_obc_ai.services._people import Person, find_person
from django_obc_ai.services.erasure import ErasureReport, erase_user


class Command(BaseCommand):
    """Exit code 0: done; 1: nobody or two are meant, it was not confirmed, or it failed."""

    help = (
        "Erase what the package holds about a user: conversations, stored prompts and answers,"
        " cached answers, and the name in the ledger, whose sums stay. Safe to repeat."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument(
            "user",
            help="User name or primary key, also of a deleted user; name:… or id:… says which.",
        )
        parser.add_argument(
            "--mention",
            action="append",
            default=[],
            metavar="TEXT",
            help="Take this out of other people's texts, too; may be given several times.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Only count.")
        parser.add_argument("--no-input", action="store_true", help="Do not ask for confirmation.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Ask, erase, and say what was done."""
        try:
            person = find_person(options["user"])
        except ValueError as error:
            raise CommandError(str(error)) from None
        who = f"the user {person.key}" if person.user else f"the deleted user {person.key}"
        if not options["dry_run"] and not options["no_input"]:
            self._confirm(who)
        try:
            report = erase_user(
                _whom(person), mentions=options["mention"], is_dry_run=options["dry_run"]
            )
        except ValueError as error:
            raise CommandError(str(error)) from None
        done = "would be" if options["dry_run"] else "were"
        self.stdout.write(f"Of {who} there {done} erased or left to nobody:")
        for name, count in _counts(report).items():
            self.stdout.write(f"  {name}: {count}")
        if report.jobs_running:
            self.stderr.write(
                f"{report.jobs_running} jobs were still under way and will write what they were"
                " asked and answered. Erase again when they have ended."
            )
        for name in report.undeclared_indexes:
            self.stderr.write(
                f"The index {name!r} is in the database, but no ai_indexes.py declares it, so"
                " its texts were not looked at. Delete its IndexState if it is not needed."
            )

    def _confirm(self, who: str) -> None:
        self.stdout.write(f"This erases what the package holds about {who}, for good.")
        if input("Type 'yes' to go on: ").strip() != "yes":
            raise CommandError("Nothing was erased.", returncode=1)


def _whom(person: Person) -> Any:
    return person.key if person.user is None else person.user


def _counts(report: ErasureReport) -> dict[str, int]:
    values = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    return {
        name.replace("_", " "): count for name, count in values.items() if isinstance(count, int)
    }
