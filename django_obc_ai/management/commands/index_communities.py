"""``manage.py index_communities``: the original's name for indexing communities."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from django_obc_ai.management.commands.ai_index import add_run_options, run


class Command(BaseCommand):
    """The same as ``ai_index communities``."""

    help = "Bring the index named 'communities' up to date; the same as: ai_index communities"

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options of ``ai_index``."""
        add_run_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Index communities."""
        run(self, ["communities"], options)
