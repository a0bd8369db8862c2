"""``manage.py rebuild_vector_index``: build indexes anew beside the serving ones."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_obc_ai.exceptions import UnknownIndexError
from django_obc_ai.indexes import get_index, get_indexes
from django_obc_ai.management.commands.ai_index import add_workers, run
from django_obc_ai.services.indexing import BATCH_SIZE


class Command(BaseCommand):
    """Rebuild all or some indexes; searches go on with the old ones until the switch."""

    help = "Build search indexes anew, then switch to them; searches go on meanwhile."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the names."""
        parser.add_argument("--indices", nargs="+", metavar="NAME", help="Only these indexes.")
        parser.add_argument("--batch-size", type=int, default=BATCH_SIZE)
        add_workers(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Rebuild; unknown names are refused before anything is done."""
        names = options["indices"] or [index.name for index in get_indexes()]
        for name in names:
            try:
                get_index(name)
            except UnknownIndexError as error:
                raise CommandError(str(error)) from error
        run(self, names, {**options, "rebuild": True})
