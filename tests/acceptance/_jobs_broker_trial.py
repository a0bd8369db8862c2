"""Submits while the broker is away; see jobs_broker.py."""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import ExitStack
from typing import Any

from tests.acceptance._jobs_site import JobSite, Submitters, answer_to
from tests.acceptance._traffic import DEADLINE, NO_BREAKER

#: Without a broker a submit says so within that time, however busy the machine.
SOON = 30.0


class Trial:
    """Submitters, of which every second one submits in transactions, and outages."""

    def __init__(self, stack: ExitStack, *, submitters: int, outages: int, each: int) -> None:
        from tests.servers.gemini import replies

        self.site = JobSite(stack, BREAKER=NO_BREAKER)
        self.site.gemini.script(replies.answer(delay_seconds=0.05), is_repeated=True)
        self.submitters, self.outages, self.each = submitters, outages, each
        self.notes: list[dict[str, Any]] = []
        self.faults: list[str] = []
        self.down: list[tuple[float, float]] = []

    def expect(self, claim: bool, why: str) -> None:
        if not claim:
            print(why, flush=True)
            self.faults.append(why)

    def told(self, number: int, *, since: float, error: str) -> int:
        """Return of how many submits of one submitter, begun since, that was the end."""
        path = self.site.folder / f"progress-{number}"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        notes = [json.loads(line) for line in lines if line.endswith("}")]
        return sum(note["began"] >= since and note["error"] == error for note in notes)

    def until_told(self, what: str, *, since: float, error: str) -> None:
        """Wait until each submitter has been told something so often."""
        self.site.wait(
            what,
            lambda: all(
                self.told(number, since=since, error=error) >= self.each
                for number in range(self.submitters)
            ),
        )

    def run(self) -> None:
        """Let all submit, with outages in between, and wait for the end of all jobs."""
        from django_obc_ai.models import Job

        site = self.site
        site.start_beat()
        site.start_worker(0, 2)
        persons = site.persons(self.submitters)
        crew = Submitters(site, self.submitters, scale={})
        stop = site.folder / "stop"
        for number, person in enumerate(persons):
            crew.order(
                number, "submit", person=person, label=f"P{number}", count=100_000, pause=0.05,
                stop=str(stop), atomic=number % 2 == 1,
                progress=str(site.folder / f"progress-{number}"),
            )  # fmt: skip
        since = 0.0
        for _ in range(self.outages):
            self.until_told("handles", since=since, error="")
            site.stop_broker()
            down = time.monotonic()
            self.until_told("TaskRunnerErrors", since=down, error="TaskRunnerError")
            up = time.monotonic()
            site.restart_broker()
            since = time.monotonic()
            self.down.append((down, up))
        self.until_told("handles", since=since, error="")
        stop.touch()
        self.notes = [note for found in crew.wait(range(self.submitters)) for note in found]
        crew.end()
        running = Job.objects.filter(status__in=["queued", "running"])
        site.wait("the end of all jobs", lambda: not running.exists(), 2 * DEADLINE)
        site.end()

    def row(self) -> str:
        """Return the row of the table."""
        from django_obc_ai.models import Job

        jobs = {str(job.pk): job for job in Job.objects.all()}
        promised = {note["id"]: note["prompt"] for note in self.notes if not note["error"]}
        refused = [note for note in self.notes if note["error"]]
        kinds = Counter(note["error"] for note in refused)
        self.expect(set(kinds) == {"TaskRunnerError"}, f"refused with {dict(kinds)}")
        lost = [key for key in promised if key not in jobs or jobs[key].status != "succeeded"]
        self.expect(not lost, f"{len(lost)} of {len(promised)} that had a handle were not answered")
        left = set(jobs) - set(promised)
        self.expect(not left, f"{len(left)} jobs were left by submits that raised")
        wrong = [
            key
            for key in set(promised) - set(lost)
            if not jobs[key].result["text"].startswith(answer_to(promised[key]))
        ]
        self.expect(not wrong, f"{len(wrong)} answers are none to that question")
        inside = [
            note
            for note in self.notes
            for down, up in self.down
            if not note["error"] and down < note["began"] and note["began"] + note["seconds"] < up
        ]
        self.expect(not inside, f"{len(inside)} handles were given while the broker was away")
        slowest = max((note["seconds"] for note in refused), default=0.0)
        self.expect(slowest < SOON, f"a submit took {slowest:.1f} s to say that it failed")
        return (
            f"| {self.outages} | {len(promised)} | {len(promised) - len(lost)} | {len(lost)} |"
            f" {len(refused)}, after at most {slowest:.1f} s | {len(left)} |"
        )
