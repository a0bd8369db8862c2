"""Jobs, and workers that are killed while they run them; see jobs_kill.py."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance._jobs_site import LEASE, STORE_LEASE, JobSite, Submitters, children
from tests.acceptance._traffic import DEADLINE, NO_BREAKER


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much.

    Attributes:
        kills: Of a worker's child, of a whole worker, of beat.
        stops: Processes that are stopped for longer than a lease.
        seconds: How long the server takes for an answer.
    """

    jobs: int = 200
    persons: int = 8
    submitters: int = 2
    workers: int = 2
    slots: int = 3
    kills: tuple[int, int, int] = (18, 8, 4)
    stops: int = 6
    seconds: float = 0.8


SMALL = Size(jobs=20, persons=3, submitters=1, slots=2, kills=(1, 1, 1), stops=1)


class Trial:
    """One run.

    Attributes:
        name, key, folder: What `_budget_bills.reconcile` asks for.
        struck: For each strike, how many jobs its processes had in their hands.
    """

    name, key = "jobs", "global:total:always"

    def __init__(self, stack: ExitStack, size: Size, *, seed: int) -> None:
        from tests.servers.gemini import replies

        self.size, self.chance = size, random.Random(seed)
        self.site = JobSite(stack, BREAKER=NO_BREAKER)
        self.folder, self.gemini = self.site.folder, self.site.gemini
        self.gemini.script(replies.answer(delay_seconds=size.seconds), is_repeated=True)
        self.count: Counter[str] = Counter()
        self.struck = 0
        self.stopped: dict[int, float] = {}
        self.workers: list[subprocess.Popen[bytes]] = []

    def run(self) -> None:
        """Submit, strike, and wait until every job has ended."""
        size = self.size
        self.beat = self.site.start_beat()
        self.workers = [self.site.start_worker(n, size.slots) for n in range(size.workers)]
        crew = Submitters(self.site, size.submitters, scale={})
        self.persons = self.site.persons(size.persons)
        self.began = time.monotonic()
        share, rest = divmod(size.jobs, size.persons)
        for number, person in enumerate(self.persons):
            crew.order(
                number % size.submitters, "submit", person=person, label=f"Q{person}",
                count=share + (number < rest),
            )  # fmt: skip
        deck = ["child"] * size.kills[0] + ["worker"] * size.kills[1] + ["beat"] * size.kills[2]
        deck += ["stop"] * size.stops
        self.chance.shuffle(deck)
        for number, strike in enumerate(deck):
            self.until_answered(size.jobs * number // len(deck))
            self.strike(strike)
            took = time.monotonic() - self.began
            print(f"{took:.1f} s: {strike}, {self.struck} in hand", file=sys.stderr, flush=True)
        self.notes = [
            note
            for number in range(size.persons)
            for note in crew.wait([number % size.submitters])[0]
        ]
        crew.end()
        self.site.wait("the end of all jobs", self.is_over, 2 * DEADLINE)
        self.seconds = time.monotonic() - self.began
        self.wake(everyone=True)
        # A process that was stopped with a job in its hands wakes up and is refused.
        time.sleep(max(LEASE, STORE_LEASE) + 1)
        self.site.end()

    def until_answered(self, number: int) -> None:
        """Wait until so many jobs are answered and some are being run, at a random moment."""
        from django_obc_ai.models import Job

        def is_time() -> bool:
            self.wake()
            running = Job.objects.filter(status="running")
            return Job.objects.filter(status="succeeded").count() >= number and running.exists()

        self.site.wait(f"{number} answers", is_time)
        time.sleep(self.chance.uniform(0, self.size.seconds))

    def is_over(self) -> bool:
        """Wake up who was stopped for long enough; return whether all jobs have ended."""
        from django_obc_ai.models import Job

        self.wake()
        return not Job.objects.filter(status__in=["queued", "running"]).exists()

    def wake(self, *, everyone: bool = False) -> None:
        for pid, until in list(self.stopped.items()):
            if everyone or time.monotonic() > until:
                with suppress(ProcessLookupError):  # it was killed with its parent
                    os.kill(pid, signal.SIGCONT)
                del self.stopped[pid]

    def strike(self, what: str) -> None:
        """Kill or stop something, and count the jobs that it had in its hands."""
        if what == "beat":
            self.beat.kill()
            self.beat.wait(DEADLINE)
            self.beat = self.site.start_beat()
        elif what == "worker":
            number = self.chance.randrange(len(self.workers))
            pids = children(self.workers[number].pid)
            self.workers[number].kill()  # Linux kills its children with it
            self.workers[number].wait(DEADLINE)
            self.site.wait("the children's end", lambda: not any(map(is_alive, pids)))
            self.note(pids)
            self.workers[number] = self.site.start_worker(number, self.size.slots)
        else:
            pid = self.chance.choice(self.running_children())
            os.kill(pid, signal.SIGKILL if what == "child" else signal.SIGSTOP)
            if what == "child":
                self.site.wait("its end", lambda: not is_alive(pid))
            else:
                time.sleep(0.1)
                self.stopped[pid] = time.monotonic() + LEASE + self.chance.uniform(1.0, 3.0)
            self.note([pid])
        self.count[what] += 1

    def running_children(self) -> list[int]:
        """Return the children that run a job; there may be none for a moment."""
        found: list[int] = []

        def is_found() -> bool:
            found[:] = [
                pid
                for worker in self.workers
                for pid in children(worker.pid)
                if pid not in self.stopped
            ]
            return bool(found)

        self.site.wait("a child", is_found)
        owners = self.owners()
        return [pid for pid in found if pid in owners] or found

    def owners(self) -> list[int]:
        """Return the process of each job that runs."""
        from django_obc_ai.models import Job

        owners = Job.objects.filter(status="running").values_list("owner", flat=True)
        return [pid_of(owner) for owner in owners]

    def note(self, pids: list[int]) -> None:
        held = [pid for pid in self.owners() if pid in pids]
        self.struck += len(held)
        if held:
            self.count["in the middle"] += 1


def is_alive(pid: int) -> bool:
    """Return whether a process is there and no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def pid_of(owner: str) -> int:
    """Return the process that an owner's name tells: host, process, token."""
    return int(owner.split(":")[-2])
