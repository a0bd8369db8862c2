"""A burst that waits as jobs behind the limits; see jobs_queue.py."""

from __future__ import annotations

import itertools
import time
from contextlib import ExitStack
from dataclasses import dataclass

from tests.acceptance._jobs_site import JobSite, Submitters, answer_to, asked
from tests.acceptance._limits_checks import most_in_window
from tests.acceptance._traffic import DEADLINE, NO_BREAKER


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much: ten times the limit is asked.

    Attributes:
        window: Seconds that a minute of the limits has.
        many: How much each of the persons asks that begin.
        single: How many persons ask one question when all these wait.
        is_strict: Whether anything is decided by how fast this machine asks.
    """

    window: float = 6.0
    limit: int = 30
    many: tuple[int, ...] = (100, 40, 40, 40, 40, 30)
    single: int = 10
    processes: int = 3
    workers: int = 2
    slots: int = 3
    is_strict: bool = True


SMALL = Size(
    window=3.0, limit=6, many=(25, 12, 12, 7), single=4, processes=2, slots=2, is_strict=False
)


class Trial:
    """One burst."""

    def __init__(self, stack: ExitStack, size: Size) -> None:
        from tests.servers.gemini import replies

        limits = {
            "per_minute": size.limit, "tokens_per_minute": None, "per_day": None,
            "when_exceeded": "queue",
        }  # fmt: skip
        self.size = size
        # Without a budget: one would admit nothing before a new Redis is a lease old.
        self.site = JobSite(
            stack, window=size.window, BREAKER=NO_BREAKER, BUDGETS=[],
            RATE_LIMITS={"default": limits},
        )  # fmt: skip
        self.site.gemini.script(replies.answer(delay_seconds=0.02), is_repeated=True)
        self.faults: list[str] = []

    def expect(self, claim: bool, why: str) -> None:
        if not claim:
            print(why, flush=True)
            self.faults.append(why)

    def run(self) -> None:
        """Let the persons ask, and wait for the end of all jobs."""
        from django_obc_ai.models import Job

        size, site = self.size, self.site
        persons = site.persons(len(size.many) + size.single)
        site.start_beat()
        for number in range(size.workers):
            site.start_worker(number, size.slots)
        crew = Submitters(site, size.processes, scale={})
        counts = dict(zip(persons, [*size.many, *[1] * size.single], strict=True))
        first, last = persons[: len(size.many)], persons[len(size.many) :]
        self.began = time.monotonic()
        self.notes = [
            note
            for group in (first, last)
            for note in crew.all_ask([{person: counts[person]} for person in group])
        ]
        self.queued_at = max(note["ended"] for note in self.notes if note["person"] in first)
        crew.end()
        running = Job.objects.filter(status__in=["queued", "running"])
        site.wait("the end of all jobs", lambda: not running.exists(), 2 * DEADLINE)
        self.seconds = time.monotonic() - self.began
        site.end()

    def row(self) -> str:
        """Return the row of the table."""
        from django_obc_ai.models import Job

        size, notes = self.size, self.notes
        jobs = {str(job.pk): job for job in Job.objects.all()}
        total = sum(size.many) + size.single
        queued = [note for note in notes if note["job"]]
        wrong = {note["error"] for note in notes} - {None, "", "queued"}
        self.expect(not wrong, f"refused with {wrong}")
        texts = {
            note["prompt"]: (jobs[note["job"]].result or {}).get("text", "")
            if note["job"] else note["text"]
            for note in notes
        }  # fmt: skip
        answered = [p for p, text in texts.items() if text.startswith(answer_to(p))]
        self.expect(len(answered) == total, f"{len(answered)} of {total} were answered")
        is_burst = len(queued) >= total // 2
        self.expect(is_burst or not size.is_strict, f"only {len(queued)} had to wait")
        journal = self.site.gemini.journal
        arrivals = [entry.started for entry in journal]
        most = most_in_window(arrivals, size.window)
        self.expect(most <= size.limit, f"{most} requests in a window of {size.limit}")
        self.expect(len(journal) == total, f"{len(journal)} requests of {total} questions")
        served = [(asked(entry), entry.started) for entry in journal]
        behind = self.behind(served)
        slots = size.workers * size.slots
        # Beside other proofs a worker may hold what it took for long: first come, first served
        # would still be far above.
        patience = 1 if size.is_strict else 2
        bound = patience * (len(size.many) + size.single + slots)
        self.expect(
            max(behind, default=0) <= bound, f"{max(behind, default=0)} came before a single one"
        )
        apart = self.apart(served)
        most_apart = patience * (1 + slots)
        self.expect(apart <= most_apart, f"persons were {apart} answers apart")
        times = total / size.limit
        return (
            f"| {total} of {len(size.many) + size.single} persons, {times:.0f} times the limit |"
            f" {len(answered)} | {total - len(queued)} | {len(queued)} |"
            f" {most} of {size.limit} in {size.window:g} s |"
            f" {max(behind, default=0)} (bound {bound}) | {apart} (bound {most_apart}) |"
            f" {self.seconds:.0f} s, at the limit {total / size.limit * size.window:.0f} s |"
        )

    def behind(self, served: list[tuple[str, float]]) -> list[int]:
        """Return how many calls came before each person's who asked once, since it was asked."""
        at = dict(served)
        asked_once = [
            note for note in self.notes if note["job"] and note["person"] in self.single()
        ]
        self.expect(bool(asked_once) or not self.size.is_strict, "nobody asked once and waited")
        return [
            sum(note["ended"] < when < at[note["prompt"]] for _, when in served)
            for note in asked_once
        ]

    def single(self) -> set[int]:
        """Return the persons who ask once."""
        return {note["person"] for note in self.notes} - self.many()

    def many(self) -> set[int]:
        """Return those who ask many questions."""
        persons = [note["person"] for note in self.notes]
        return {person for person in persons if persons.count(person) > 1}

    def apart(self, served: list[tuple[str, float]]) -> int:
        """Return by how many answers two persons differ at most, while both wait for more."""
        whose = {note["prompt"]: note["person"] for note in self.notes}
        left: dict[int, int] = dict.fromkeys(self.many(), 0)
        rest = [whose[p] for p, at in served if at > self.queued_at and whose[p] in left]
        for person in rest:
            left[person] += 1
        got, most = dict.fromkeys(left, 0), 0
        for person in rest:
            got[person] += 1
            waiting = [each for each in left if got[each] < left[each]]
            for one, other in itertools.combinations(waiting, 2):
                most = max(most, abs(got[one] - got[other]))
        return most
