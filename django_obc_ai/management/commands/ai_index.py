"""``manage.py ai_index``: bring search indexes up to date."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from django_obc_ai.exceptions import BudgetExceededError, ConfigurationError, ObcAIError
from django_obc_ai.indexes import get_indexes
from django_obc_ai.services._index_facts import facts_of, in_words
from django_obc_ai.services._index_reports import (
    IndexEstimate,
    IndexProgress,
    IndexReport,
    IndexVerification,
)
from django_obc_ai.services.index_requests import run_requested
from django_obc_ai.services.index_stats import IndexStats, index_stats
from django_obc_ai.services.indexing import BATCH_SIZE, IndexingService
from django_obc_ai.services.recall import RecallReport, decide_by_recall


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
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--verify", action="store_true", help="Compare index and rows; change nothing."
        )
        what.add_argument(
            "--dry-run", action="store_true", help="Say what would be embedded and its cost."
        )
        what.add_argument(
            "--sweep", action="store_true", help="Work off what waits in the outbox, only."
        )
        what.add_argument(
            "--stats", action="store_true", help="Print figures of each index; change nothing."
        )
        what.add_argument(
            "--requested",
            action="store_true",
            help="Do what operators have asked for in the admin, only.",
        )
        parser.add_argument("--json", action="store_true", help="With --stats: print JSON.")
        what.add_argument(
            "--measure-recall",
            action="store_true",
            help="Compare approximate search with exact search, and use it if it finds enough.",
        )
        parser.add_argument(
            "--queries",
            metavar="FILE",
            help="With --measure-recall of one index: search texts, one a line.",
        )
        parser.add_argument(
            "--repair", action="store_true", help="With --verify: bring up to date what differs."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Index what was named."""
        names = options["names"] or [index.name for index in get_indexes()]
        _check(names, options)
        try:
            if options["measure_recall"]:
                _measure(self, names, options["queries"])
            elif options["verify"]:
                _verify(self, names, is_repair=options["repair"])
            elif options["stats"]:
                _write_stats(self, [index_stats(name) for name in names], options["json"])
            else:
                self._index(names, options)
        except (ObcAIError, ConfigurationError, DatabaseError) as error:
            code = 2 if options["verify"] else 1
            raise CommandError(str(error), returncode=code) from error

    def _index(self, names: list[str], options: dict[str, Any]) -> None:
        if options["dry_run"]:
            for name in names:
                self.stdout.write(_estimate_line(IndexingService().estimate(name)))
        elif options["sweep"]:
            for name in names:
                _write_sweep(self, IndexingService().sweep(name), options["verbosity"])
        elif options["requested"]:
            for report in run_requested(names):
                _write_sweep(self, report, options["verbosity"])
        else:
            run(self, names, options)


def _check(names: list[str], options: dict[str, Any]) -> None:
    if options["repair"] and not options["verify"]:
        raise CommandError("--repair goes with --verify.")
    if options["json"] and not options["stats"]:
        raise CommandError("--json goes with --stats.")
    if options["queries"] and not (options["measure_recall"] and len(names) == 1):
        raise CommandError("--queries goes with --measure-recall and the name of one index.")


def _write_stats(command: BaseCommand, found: list[IndexStats], is_json: bool) -> None:
    if is_json:
        command.stdout.write(json.dumps([each.as_json() for each in found], indent=2))
        return
    for stats in found:
        command.stdout.write(command.style.MIGRATE_HEADING(f"{stats.name} ({stats.model})"))
        for what, how_much in facts_of(stats):
            command.stdout.write(f"  {what:<20}{how_much}")


def _write_sweep(command: BaseCommand, report: IndexReport, verbosity: int) -> None:
    if verbosity > 0:
        what = "rows" if report.reason else "changes"
        line = f"{report.index}: {report.seen} {what}, {report.embedded} embedded"
        line += f" (new generation: {report.reason})" if report.reason else ""
        command.stdout.write(line)


def _measure(command: BaseCommand, names: list[str], file: str | None) -> None:
    queries = None
    if file:
        try:
            lines = Path(file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"The file of --queries cannot be read: {error}.") from error
        queries = [line.strip() for line in lines if line.strip()]
        if not queries:
            raise CommandError("The file of --queries holds no text.")
    refused = []
    for name in names:
        report = decide_by_recall(name, queries=queries)
        command.stdout.write(_recall_line(report))
        if not (report.is_allowed or report.reason):
            refused.append(report)
    if refused:
        advice = "; ".join(f"{each.index}: {each.settings}" for each in refused)
        raise CommandError(
            f"Refused: recall is below the floor ({advice}). Raise ef_construction, then ef_search"
            " (or probes) in the vector store's OPTIONS['approximate'], and measure again; or stay"
            " with exact search. See docs/howto/approximate-search.md."
        )


def _recall_line(report: RecallReport) -> str:
    if report.reason:
        return f"{report.index}: searched exactly; {report.reason}."
    what = "searched approximately" if report.is_allowed else "refused, searched exactly"
    return (
        f"{report.index}: recall@{report.k} {report.recall:.3f} (worst tenth"
        f" {report.worst_decile:.3f}) of {report.queries} queries ({report.source}), at least"
        f" {report.floor:.3f} wanted; {report.kind} over {report.chunks} chunks; exact"
        f" {report.exact_ms:.2f} ms, approximate {report.approximate_ms:.2f} ms: {what}"
    )


def _verify(command: BaseCommand, names: list[str], *, is_repair: bool) -> None:
    reports = [IndexingService().verify(name, repair=is_repair) for name in names]
    for report in reports:
        command.stdout.write(_verification_line(report))
        for key in [*report.different, *report.broken, *report.dangling, *report.unreadable][:20]:
            command.stdout.write(f"  {key}")
    code = 1 if any(each.exit_code == 1 for each in reports) else 0
    code = code or max((each.exit_code for each in reports), default=0)
    if code:
        word = "differs from its rows" if code == 1 else "could not be compared"
        raise CommandError(f"At least one index {word}.", returncode=code)


def _verification_line(report: IndexVerification) -> str:
    line = (
        f"{report.index}: {report.rows} rows, {report.chunks} chunks,"
        f" {len(report.different)} differ, {len(report.broken)} broken vectors,"
        f" {len(report.dangling)} dangling, {len(report.unreadable)} unreadable,"
        f" {report.waiting} waiting"
    )
    line += f" for up to {report.waiting_seconds:.1f} s" if report.waiting else ""
    line += f", {report.repaired} repaired" if report.repaired else ""
    return line + (f"; could not tell: {report.reason}" if report.reason else "")


def _estimate_line(estimate: IndexEstimate) -> str:
    dollars = "unknown price" if estimate.cost_usd is None else f"at most ${estimate.cost_usd:.6f}"
    line = (
        f"{estimate.index}: {estimate.rows} rows, {estimate.texts} texts to embed,"
        f" at most {estimate.tokens} tokens, {dollars}"
    )
    line += "" if estimate.minutes is None else f", about {estimate.minutes:.1f} minutes"
    line += f", {len(estimate.unreadable)} unreadable" if estimate.unreadable else ""
    return line + (f" (new generation: {estimate.reason})" if estimate.reason else "")


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
    add_workers(parser)


def add_workers(parser: CommandParser) -> None:
    """Add the number of requests to the embedder at once."""
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        help="Requests to the embedder at once; limits and budgets hold. 1 by default.",
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
                workers=options.get("workers", 1),
                progress=progress,
            )
        except BudgetExceededError as error:
            raise CommandError(
                f"{error} What was embedded is kept; run the command again when the budget allows,"
                " and it continues."
            ) from error
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
        self._shown = self._longest = 0
        self._is_open = False

    def __call__(self, step: IndexProgress) -> None:
        if not self._enabled or not step.total:
            return
        share = min(1.0, step.done / step.total)
        if self._is_terminal:
            bar = "#" * round(share * self._WIDTH)
            text = f"{self._name} [{bar:<{self._WIDTH}}] {step.done}/{step.total}{_pace_of(step)}"
            self._out.write(f"\r{text:<{self._longest}}", ending="")
            self._out.flush()
            self._longest = max(self._longest, len(text))  # covers what was longer before
            self._is_open = True
        elif int(share * 4) > self._shown and step.total > BATCH_SIZE:
            self._shown = int(share * 4)
            self._out.write(f"{self._name}: {step.done}/{step.total}{_pace_of(step)}")

    def close(self) -> None:
        if self._is_open:
            self._out.write("")


def _pace_of(step: IndexProgress) -> str:
    if step.per_second is None:
        return ""
    text = f", {step.per_second:,.0f} rows/s"
    if step.seconds_left:
        text += f", about {in_words(step.seconds_left)} left"
    return text
