"""``manage.py ai_health_check``: is everything in place, and what to do if not."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_obc_ai.services.health import HealthItem, check_health

_MARKS = {"ok": "ok     ", "warning": "warning", "error": "ERROR  ", "unknown": "unknown"}


class Command(BaseCommand):
    """Exit code 0: healthy; 1: something is broken; 2: something could not be told."""

    help = (
        "Check settings, backends, database, cache and indexes. Spends nothing unless --live."
        " Exit code 0: healthy, 1: unhealthy, 2: could not tell."
    )
    requires_system_checks: list[str] = []  # it reports what the checks would stop at

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--verbose", action="store_true", help="Show class paths and versions, too."
        )
        parser.add_argument(
            "--live", action="store_true", help="Make one smallest call and say what it cost."
        )
        parser.add_argument(
            "--provider", default="default", metavar="ALIAS", help="Which provider --live asks."
        )
        parser.add_argument(
            "--no-ping",
            action="store_true",
            help="Do not ask providers whether they accept the key, which is free of charge.",
        )
        parser.add_argument(
            "--only",
            nargs="+",
            default=[],
            metavar="NAME",
            help='Look at these parts alone, for example "provider" or "index places".',
        )
        parser.add_argument(
            "--timeout",
            type=float,
            default=10.0,
            metavar="SECONDS",
            help="What has not answered by then is told as such (default: 10).",
        )
        parser.add_argument("--format", choices=("text", "json"), default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        """Check and report."""
        try:
            report = check_health(
                is_live=options["live"],
                provider=options["provider"],
                may_ping=not options["no_ping"],
                only=options["only"],
                timeout_seconds=options["timeout"],
            )
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        words = {0: "healthy", 1: "unhealthy", 2: "could not tell"}
        if options["format"] == "json":
            body = {
                "status": words[report.exit_code],
                "items": [asdict(item) for item in report.items],
            }
            self.stdout.write(json.dumps(body, indent=2))
        else:
            for item in report.items:
                self._show(item, options["verbose"])
        if report.exit_code:
            raise CommandError(
                f"AI system: {words[report.exit_code]}.", returncode=report.exit_code
            )
        if options["format"] == "text":
            self.stdout.write(self.style.SUCCESS("AI system: healthy."))

    def _show(self, item: HealthItem, is_verbose: bool) -> None:
        style = {"ok": self.style.SUCCESS, "warning": self.style.WARNING}.get(
            item.status, self.style.ERROR
        )
        self.stdout.write(f"{style(_MARKS[item.status])} {item.name}: {item.message}")
        if is_verbose and item.detail:
            self.stdout.write(f"        {item.detail}")
        if item.hint:
            self.stdout.write(f"        {item.hint}")
