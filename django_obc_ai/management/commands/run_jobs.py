"""``manage.py run_jobs``: answer what waits in the background, without a task runner."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from django_obc_ai.services.job_running import tidy, work
from django_obc_ai.services.tasks import worker_name
from django_obc_ai.services.workers import Sightings

#: What is rarely to be done; a job whose worker died is taken up at the next look.
_TIDY_EVERY_SECONDS = 30.0


class Command(BaseCommand):
    """Exit code 0: done, or stopped by a signal; 1: a wrong argument."""

    help = (
        "Take up what dead workers have left, then answer jobs until none is due. At SIGTERM or"
        " SIGINT it ends after the job that it is at."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        how_long = parser.add_mutually_exclusive_group()
        how_long.add_argument("--once", action="store_true", help="Answer one job at most.")
        how_long.add_argument("--forever", action="store_true", help="Wait for more, for ever.")
        parser.add_argument(
            "--interval",
            type=float,
            default=1.0,
            metavar="SECONDS",
            help="With --forever: look for jobs so often.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Work, and say how many jobs were taken."""
        if not options["interval"] > 0:
            raise CommandError("--interval is not above 0.")
        stop = threading.Event()
        before = {
            each: signal.signal(each, lambda *_: stop.set())
            for each in (signal.SIGTERM, signal.SIGINT)
            if threading.current_thread() is threading.main_thread()
        }
        watch = Sightings(worker_name()) if options["forever"] else None
        if watch is not None:
            watch.start()
        try:
            count = self._work(stop, **options)
        finally:
            if watch is not None:
                watch.stop()
            for each, handler in before.items():
                signal.signal(each, handler)
        self.stdout.write(f"{count} jobs were taken.")

    def _work(self, stop: threading.Event, **options: Any) -> int:
        most = 1 if options["once"] else None
        count, tidied_at = 0, float("-inf")
        while not stop.is_set():
            if time.monotonic() - tidied_at >= _TIDY_EVERY_SECONDS:
                tidy()
                tidied_at = time.monotonic()
            # Not until none is due, which may be never.
            taken = work(seconds=_TIDY_EVERY_SECONDS, most=most, is_stopped=stop.is_set)
            count += taken
            _close_old_connections()
            if options["once"] or not (taken or options["forever"]):
                break
            if not taken:
                stop.wait(options["interval"])
        return count


def _close_old_connections() -> None:
    """Do what Django does between requests, but in no transaction of a caller, such as a test."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
