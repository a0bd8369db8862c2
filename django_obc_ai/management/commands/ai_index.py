"""``manage.py ai_index``: bring search indexes up to date."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_obc_ai.exceptions import ConfigurationError, ObcAIError
from django_obc_ai.indexes import get_indexes
from django_obc_ai.services.indexing import BATCH_SIZE, IndexingService, IndexReport


class Command(BaseCommand):
    """Index new and changed rows, remove what is gone; run it as often as you like."""

    help = (
        "Bring search indexes up to date with their rows. Unchanged texts are not embedded"
        " again; an interrupted run continues where it stopped."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add names and options."""
        parser.add_argument("names", nargs="*", help="Indexes; all of them if none is named.")
        add_run_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Index what was named."""
        names = options["names"] or [index.name for index in get_indexes()]
        run(self, names, options)


def add_run_options(parser: CommandParser) -> None:
    """Add the options that all indexing commands share."""
    parser.add_argument("--limit", type=int, help="Look at so many rows only.")
    parser.add_argument(
        "--rebuild", action="store_true", help="Build a new generation, then switch to it."
    )
    parser.add_argument("--force", action="store_true", help="Embed unchanged texts again, too.")
    parser.add_argument(
        "--batch-size", type=int, default=BATCH_SIZE, help=f"Rows a step; {BATCH_SIZE} by default."
    )


def run(command: BaseCommand, names: list[str], options: dict[str, Any]) -> None:
    """Index by name, with progress and a line for each.

    Raises:
        CommandError: No index is there, one is unknown or cannot be built, or rows failed.
    """
    if not names:
        raise CommandError(
            "No index is registered. Declare one in an app's ai_indexes.py; see"
            " docs/tutorial/quickstart.md."
        )
    failed = 0
    for name in names:
        start = time.monotonic()
        progress = _ProgressBar(command, name, enabled=options["verbosity"] > 0)
        try:
            report = IndexingService().index(
                name,
                limit=options.get("limit"),
                rebuild=options.get("rebuild", False),
                force=options.get("force", False),
                batch_size=options.get("batch_size", BATCH_SIZE),
                progress=progress,
            )
        except (ObcAIError, ConfigurationError, ValueError) as error:
            raise CommandError(str(error)) from error
        finally:
            progress.close()
        failed += len(report.failed)
        if options["verbosity"] > 0:
            command.stdout.write(_summary(command, report, time.monotonic() - start))
    if failed:
        raise CommandError(
            f"{failed} rows could not be indexed; the log of django_obc_ai.indexes says why."
            " Everything else is up to date."
        )


def _summary(command: BaseCommand, report: IndexReport, seconds: float) -> str:
    parts = [f"{report.seen} rows", f"{report.embedded} texts embedded"]
    if report.removed:
        parts.append(f"{report.removed} removed")
    if report.failed:
        parts.append(f"{len(report.failed)} failed")
    line = f"{report.index}: {', '.join(parts)} in {seconds:.1f} s"
    if report.reason:
        line += f" (new generation: {report.reason})"
    if not report.is_serving:
        line += "; not serving yet, run again without --limit"
    return command.style.SUCCESS(line) if not report.failed else command.style.WARNING(line)


class _ProgressBar:
    """A bar on a terminal; a line every quarter otherwise, so that logs stay short."""

    _WIDTH = 30

    def __init__(self, command: BaseCommand, name: str, *, enabled: bool) -> None:
        self._out = command.stdout
        self._name = name
        self._enabled = enabled
        self._is_terminal = self._out.isatty() if hasattr(self._out, "isatty") else False
        self._shown = 0
        self._is_open = False

    def __call__(self, done: int, total: int) -> None:
        if not self._enabled or not total:
            return
        share = min(1.0, done / total)
        if self._is_terminal:
            bar = "#" * round(share * self._WIDTH)
            text = f"\r{self._name} [{bar:<{self._WIDTH}}] {done}/{total}"
            self._out.write(text, ending="")
            self._out.flush()
            self._is_open = True
        elif int(share * 4) > self._shown and total > BATCH_SIZE:
            self._shown = int(share * 4)
            self._out.write(f"{self._name}: {done}/{total}")

    def close(self) -> None:
        if self._is_open:
            self._out.write("")
