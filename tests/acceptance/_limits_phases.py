"""The phases of limits.py, on one coordinator."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from tests.acceptance._limits_checks import (
    by_day,
    most_in_window,
    overtaken,
    per_tenth,
    too_eager,
)
from tests.acceptance._traffic import MODEL, Crew, Site, foreign, percentile

ANY = 100_000
#: What may wait for the end of a phase.
PATIENCE = 60.0


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much; seconds.

    Attributes:
        on_the_way: A call whose permit was given before a 429 was heard may arrive so much later.
        is_strict: Whether anything is decided by how fast this machine is.
    """

    processes: int = 8
    threads: int = 8
    window: float = 3.0
    limit: int = 30
    windows: int = 8
    day: float = 11.0
    per_day: int = 60
    tokens: int = 1_200
    on_the_way: float = 0.3
    is_strict: bool = True


SMALL = Size(
    processes=4, threads=4, window=1.0, limit=15, windows=4, day=3.0, per_day=20, tokens=600,
    on_the_way=1.0, is_strict=False,
)  # fmt: skip


class Phases:
    """The processes of one store, and what was found."""

    def __init__(self, site: Site, size: Size) -> None:
        self.site, self.size = site, size
        self.crew = Crew(
            site,
            size.processes,
            scale={"window": size.window},
            RETRY={"deadline_seconds": PATIENCE},
        )
        self.lines: list[str] = []
        self.faults: list[str] = []

    def expect(self, claim: bool, why: str) -> None:
        if not claim:
            text = f"{self.site.name}: {why}"
            print(text, flush=True)
            self.faults.append(text)

    def limit(self, day: float = 86_400.0, **limits: Any) -> None:
        """Set the limits of all processes, after what they did before has left the window."""
        time.sleep(self.size.window)
        self.crew.all("scale", window=self.size.window, day=day)
        self.crew.configure(
            RATE_LIMITS={
                "default": {
                    "per_minute": ANY, "tokens_per_minute": None, "per_day": None,
                    "when_exceeded": "wait", **limits,
                }
            },
            RETRY={"deadline_seconds": PATIENCE},
        )  # fmt: skip

    def push(self, label: str, seconds: float, delay: float = 0.01, **order: Any) -> list[Any]:
        """Let all processes ask for so long; return their calls, of which none may fail oddly."""
        self.begin(label, seconds, delay, **order)
        return self.finish(seconds)

    def begin(self, label: str, seconds: float, delay: float, **order: Any) -> None:
        from tests.servers.gemini import replies

        self.site.gemini.reset()
        self.site.gemini.script(replies.answer("word " * 12, delay_seconds=delay), is_repeated=True)
        arguments = {"module": label, "use_cache": False, "max_output_tokens": 40}
        until = time.monotonic() + seconds
        for number in range(self.crew.count):
            given = {"callers": self.size.threads, "arguments": arguments, **order}
            self.crew.order(number, "push", label=label, until=until, **given)

    def finish(self, seconds: float) -> list[Any]:
        found = self.crew.wait(range(self.crew.count), seconds + PATIENCE)
        notes = [note for each in found for note in each]
        wrong = foreign(notes)
        self.expect(not wrong, f"errors that are not ours: {wrong[:3]}")
        return notes

    def add(self, what: str, asked: str, seen: str, rule: str) -> None:
        self.lines.append(f"| {self.site.name} | {what} | {asked} | {seen} | {rule} |")

    def share(self, arrivals: list[float]) -> float:
        """Return the requests of all windows but the first as a share of what was allowed."""
        size = self.size
        end = arrivals[0] + size.window * size.windows
        steady = [at for at in arrivals if arrivals[0] + size.window <= at < end]
        return len(steady) / (size.limit * (size.windows - 1))

    def wait_in_line(self) -> None:
        """Everyone waits: no window has more than the limit, and whoever came first goes first."""
        size = self.size
        self.limit(per_minute=size.limit)
        notes = self.push("wait", size.window * size.windows)
        journal = self.site.gemini.journal
        arrivals = [entry.started for entry in journal]
        most, share = most_in_window(arrivals, size.window), self.share(arrivals)
        self.expect(most <= size.limit, f"{most} requests in a window of {size.limit}")
        self.expect(share >= 0.8 or not size.is_strict, f"only {share:.0%} of the limit was used")
        failed = [each["message"] for each in notes if not each["success"]]
        self.expect(not failed, f"{len(failed)} that waited failed: {failed[:2]}")
        begun = {each["prompt"]: each["began"] for each in notes}
        prompts = [entry.body["contents"][-1]["parts"][-1]["text"] for entry in journal]
        served = [(begun[p], at) for p, at in zip(prompts, arrivals, strict=True)]
        pairs, wrong = overtaken(*zip(*served, strict=True), apart=size.window / 6)
        self.expect(
            wrong <= pairs / (50 if size.is_strict else 10), f"{wrong} of {pairs} were overtaken"
        )
        each = [sum(f": {process.pid}-" in p for p in prompts) for process in self.crew.processes]
        fair = len(prompts) / len(each)
        self.expect(min(each) >= fair / 2 or not size.is_strict, f"calls by process: {each}")
        waited = [at - began for began, at in served]
        callers = size.processes * size.threads
        self.add(
            "wait", f"{callers} callers, always all of them", f"{len(arrivals)} requests, at most"
            f" {most} in a window; {share:.0%} of what is allowed; {wrong} of {pairs} pairs out of"
            f" order; a process {min(each)} to {max(each)}; waited {percentile(waited, 50):.1f} s,"
            f" at most {max(waited):.1f} s", f"{size.limit} in {size.window:g} s",
        )  # fmt: skip

    def refuse_and_count_days(self) -> None:
        """Ten times the limit is asked, over several midnights."""
        size = self.size
        self.limit(size.day, per_minute=size.limit, per_day=size.per_day, when_exceeded="refuse")
        callers = size.processes * size.threads
        interval = callers * size.window / (12 * size.limit)
        notes = self.push(
            "refuse", max(size.window * size.windows, 2.2 * size.day), interval=interval
        )
        journal = self.site.gemini.journal
        arrivals = [entry.started for entry in journal]
        most = most_in_window(arrivals, size.window)
        days = by_day([entry.received_at.timestamp() for entry in journal], size.day)
        self.expect(most <= size.limit, f"{most} requests in a window of {size.limit}")
        self.expect(
            max(days.values()) <= size.per_day, f"requests by day: {days}, {size.per_day} allowed"
        )
        self.expect(len(days) >= 2, "no midnight was passed")
        used_up = max(days.values()) >= 0.9 * size.per_day
        self.expect(used_up or not size.is_strict, f"no day was used up: {days}")
        refused = [each for each in notes if not each["success"]]
        kinds = {each["error"] for each in refused}
        ours = {"rate_limited", "quota_exhausted"}  # the window's limit, and the day's
        self.expect(kinds <= ours, f"refused with {kinds}")
        seconds = max(each["ended"] for each in notes) - min(each["began"] for each in notes)
        times = len(notes) / seconds * size.window / size.limit
        self.expect(times >= 8 or not size.is_strict, f"only {times:.1f} times the limit was asked")
        self.add(
            "refuse", f"{len(notes)} calls, {times:.1f} times the limit", f"{len(arrivals)}"
            f" requests, at most {most} in a window, by day"
            f" {', '.join(str(days[day]) for day in sorted(days))}; {len(refused)} refused",
            f"{size.limit} in {size.window:g} s, {size.per_day} in a day of {size.day:g} s",
        )  # fmt: skip

    def count_tokens(self) -> None:
        size = self.size
        self.limit(tokens_per_minute=size.tokens)
        self.push("tokens", size.window * size.windows / 2)
        journal = self.site.gemini.journal
        arrivals = [entry.started for entry in journal]
        tokens = [entry.billed.total for entry in journal]
        most = most_in_window(arrivals, size.window, tokens)
        self.expect(most <= size.tokens, f"{most} tokens in a window of {size.tokens}")
        self.add(
            "tokens", f"{size.processes * size.threads} callers", f"{sum(tokens)} tokens in"
            f" {len(arrivals)} requests, at most {most} in a window", f"{size.tokens} tokens in"
            f" {size.window:g} s",
        )  # fmt: skip

    def pause(self, seconds: float = 2.0) -> None:
        """One call is told to wait: nobody calls meanwhile, and then few at first."""
        from tests.servers.gemini import replies

        self.limit()
        self.begin("pause", seconds + 5, 0.15)
        time.sleep(1.5)
        self.site.gemini.script(replies.rate_limited(f"{seconds:g}s"), model=MODEL)
        notes = self.finish(seconds + 5)
        journal = self.site.gemini.journal
        told = [entry for entry in journal if entry.status == 429]
        self.expect(len(told) == 1, f"{len(told)} answers of 429")
        at = told[0].started + told[0].seconds
        arrivals = [entry.started for entry in journal]
        early = sum(at + self.size.on_the_way < each < at + seconds for each in arrivals)
        self.expect(early == 0, f"{early} requests during the pause")
        after = [entry for entry in journal if entry.started >= at + seconds]
        self.expect(bool(after), "nobody called after the pause")
        if not after:
            return
        eager = too_eager(after)
        self.expect(eager == 0, f"{eager} requests came sooner than a reopening gate lets them")
        self.expect(all(each["success"] for each in notes), "a call failed, though it could wait")
        first = after[0].started
        tenths = per_tenth([entry.started for entry in after], first, 12)
        self.add(
            f"429, wait {seconds:g} s", f"{len(notes)} calls", f"{early} requests during the pause;"
            f" the first {first - at - seconds:.2f} s after it; then by 100 ms"
            f" {' '.join(map(str, tenths))}", "0 during the pause, then 1, 2, 4, … at a time",
        )  # fmt: skip

    def end_the_day(self) -> None:
        """The provider says that its day is used up: nobody calls until its midnight."""
        from tests.servers.gemini import replies

        day = max(6.0, self.size.day * 0.7)
        self.limit(day, when_exceeded="refuse")
        time.sleep(day - time.time() % day + 0.2)
        length = day + 2
        self.begin("quota", length, 0.02, interval=0.2)
        time.sleep(1.0)
        self.site.gemini.script(replies.daily_quota(), model=MODEL)
        notes = self.finish(length)
        journal = self.site.gemini.journal
        told = [entry for entry in journal if entry.status == 429]
        self.expect(len(told) == 1, f"{len(told)} answers of 429")
        at = told[0].received_at.timestamp() + told[0].seconds
        midnight = (at // day + 1) * day
        stamps = [entry.received_at.timestamp() for entry in journal]
        between = sum(at + self.size.on_the_way < each < midnight for each in stamps)
        after = sum(each >= midnight for each in stamps)
        self.expect(between == 0, f"{between} requests after the day was used up")
        self.expect(after > 0, "nobody called on the next day")
        refused = [each for each in notes if not each["success"] and each["until"]]
        told_when = [each for each in refused if abs(each["until"] - midnight) < 1.0]
        self.expect(
            bool(refused) and len(told_when) == len(refused),
            f"{len(told_when)} of {len(refused)} said when the next day begins",
        )
        self.add(
            "429, day used up", f"{len(notes)} calls", f"{between} requests until midnight,"
            f" {after} after it; {len(told_when)} of {len(refused)} refused were told when it is",
            "0 until the next day",
        )  # fmt: skip
