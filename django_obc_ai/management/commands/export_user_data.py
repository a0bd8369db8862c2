"""``manage.py export_user_data``: what the package holds about one user, as JSON."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_obc_ai.services._people import find_person
from django_obc_ai.services.export import export_user_data


class Command(BaseCommand):
    """Exit code 0: written; 1: nobody or two are meant, or the file cannot be written."""

    help = "Write what the package holds about a user as one JSON document."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument(
            "user",
            help="User name or primary key, also of a deleted user; name:… or id:… says which.",
        )
        parser.add_argument(
            "--output",
            type=Path,
            metavar="FILE",
            help="Write to a file that only this user may read, once it is whole.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Write the document."""
        try:
            person = find_person(options["user"])
        except ValueError as error:
            raise CommandError(str(error)) from None
        pieces = export_user_data(person.key)
        target: Path | None = options["output"]
        if target is None:
            for piece in pieces:
                self.stdout.write(piece, ending="")
            return
        try:
            _write(target, pieces)
        except OSError as error:
            raise CommandError(f"{target} cannot be written: {error.strerror}.") from None


def _write(target: Path, pieces: Iterator[str]) -> None:
    """Write a whole file or none."""
    draft = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
