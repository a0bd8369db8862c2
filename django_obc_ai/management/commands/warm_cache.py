"""``manage.py warm_cache``: ask ahead what people are going to ask."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from django_obc_ai.services.warming import warm_cache


class Command(BaseCommand):
    """Exit code 0: done; 1: a budget or a limit was used up before the end."""

    help = (
        "Ask what OBC_AI['CACHE']['warm'] names, so that the answers are in the cache before"
        " people ask. It ends with the first prompt that a budget or a limit refuses."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Ask, and say what came of it."""
        report = warm_cache()
        if report.is_elsewhere:
            self.stdout.write("Another process is at it.")
            return
        self.stdout.write(
            f"{report.answered} answered, {report.cached} in the cache already,"
            f" {report.failed} failed."
        )
        if report.left:
            raise CommandError(f"{report.left} were not asked: {report.reason}.", returncode=1)
