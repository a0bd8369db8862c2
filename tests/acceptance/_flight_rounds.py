"""Rounds of equal calls, and what must be true of each; see single_flight.py."""

from __future__ import annotations

import time
from typing import Any

from tests.acceptance._budget_bills import cost_of
from tests.acceptance._traffic import DEADLINE, Crew, Site, foreign, percentile

CALLERS, PROCESSES = 16, 4
LATENCY, LEASE = 0.5, 15.0
Notes = list[dict[str, Any]]


class Rounds:
    """One store, four processes, and the figures that its rounds leave behind."""

    def __init__(self, site: Site, *, lease: float) -> None:
        self.site, self.lease, self.number = site, lease, 0
        self.crew = Crew(site, PROCESSES, scale={"lease": lease})
        self.lines: list[str] = []
        self.faults: list[str] = []
        for way in ("sync", "async", "stream", "astream"):  # clients and connections are made
            self.fly(way, callers=2, use_cache=False)

    def script(self, *replies: Any) -> str:
        """Begin a round; these replies are all that its calls get, the last one repeated."""
        self.number += 1
        self.site.gemini.reset()
        if replies:
            self.site.gemini.script(*replies, is_repeated=True)
        return f"{self.site.name}-{self.number:04d}"

    def fly(
        self, way: str, *replies: Any, callers: int = CALLERS, **arguments: Any
    ) -> tuple[str, Notes, Any]:
        """Let all processes ask the same at once; return the round, its calls and the journal."""
        mark = self.script(*replies)
        notes = self.crew.all(
            "once", way=way, prompt=f"What is {mark}?", at=time.monotonic() + 0.4,
            callers=callers, arguments={"module": mark, **arguments},
        )  # fmt: skip
        return mark, notes, self.site.gemini.journal

    def fault(self, what: str, why: str, notes: Notes = ()) -> None:  # type: ignore[assignment]
        said = sorted({f"{each['error']}: {each.get('message', '')}" for each in notes})
        text = f"{self.site.name}, {what}: {why}. {said[:3] if said != ['None: '] else ''}"
        print(text, flush=True)
        self.faults.append(text)

    def add(self, what: str, rounds: int, calls: str, notes: Notes, rows: str, more: str) -> None:
        seconds = [each["ended"] - each["began"] for each in notes]
        self.lines.append(
            f"| {self.site.name} | {what} | {rounds} | {calls} | {len(notes)} | {rows} |"
            f" {percentile(seconds, 50):.2f} s, {max(seconds):.2f} s | {more} |"
        )

    def ask_as_one(
        self, what: str, rounds: int, way: str, *replies: Any, finish: str = "", **arguments: Any
    ) -> None:
        """64 equal calls: 1 call at the server, 64 equal answers, 1 paid and 63 free rows."""
        every: Notes = []
        early, late, calls, kinds = 0, [], [], []
        for _ in range(rounds):
            mark, notes, journal = self.fly(way, *replies, **arguments)
            every += notes
            if wrong := foreign(notes):
                self.fault(what, f"errors that are not ours: {wrong[:3]}")
            texts = {each["text"] for each in notes}
            if not all(each["success"] for each in notes) or len(texts) != 1 or texts == {""}:
                answered = sum(each["success"] for each in notes)
                self.fault(what, f"{answered} answers, {len(texts)} different ones", notes)
            if len(journal) != 1:
                self.fault(what, f"{len(journal)} calls at the server")
            calls.append(len(journal))
            kinds.append(self.check_rows(what, mark, len(notes), journal))
            if "stream" in way:
                over = journal[0].started + journal[0].seconds
                early += sum(bool(each["first"]) and each["first"] < over for each in notes)
                late += [each["first"] - min(n["first"] for n in notes) for each in notes]
        more = ""
        if "stream" in way:
            if early != len(every):
                self.fault(what, f"{len(every) - early} got no text before the stream had ended")
            more = (
                f"{early} had text while it streamed, the last {max(late, default=0):.2f} s after"
                " the first"
            )
        paid, free = max(kinds)
        rows = f"{paid} paid, {free} free each"
        self.add(what, rounds, f"{max(calls)} each", every, rows, more)

    def check_rows(self, what: str, mark: str, count: int, journal: Any) -> tuple[int, int]:
        """Return how many rows are paid and how many free."""
        from django.db.models import Q

        from django_obc_ai.models import AIOperation
        from django_obc_ai.types import nano_from_usd

        rows = AIOperation.objects.filter(module=mark)
        free = rows.filter(Q(cached=True) | Q(coalesced=True), cost_usd=0).count()
        paid = rows.filter(cost_usd__gt=0).count()
        if (paid, free) != (1, count - 1):
            self.fault(what, f"{paid} paid and {free} free rows of {rows.count()}")
        bill = sum(cost_of(entry.billed) for entry in journal)
        if (booked := nano_from_usd(rows.total_cost())) != bill:
            self.fault(what, f"{booked} nano-dollars booked of {bill} billed")
        return paid, free

    def ask_apart(self, what: str, reply: Any) -> None:
        """Calls with use_cache=False are each made."""
        _, notes, journal = self.fly("sync", reply, callers=4, use_cache=False)
        if len(journal) != len(notes) or not all(each["success"] for each in notes):
            self.fault(what, f"{len(journal)} calls at the server for {len(notes)}", notes)
        self.add(what, 1, f"{len(journal)}", notes, f"{len(notes)} paid", "")

    def fail(self, what: str, rounds: int, most: int, *replies: Any, error: str = "") -> None:
        """All end with our errors, or answered where the last reply is an answer."""
        every: Notes = []
        calls = []
        for _ in range(rounds):
            _, notes, journal = self.fly("sync", *replies)
            every += notes
            calls.append(len(journal))
            if wrong := foreign(notes):
                self.fault(what, f"errors that are not ours: {wrong[:3]}")
            bad = [each for each in notes if each["error"] != (error or None)]
            if bad and error != "any":
                self.fault(what, f"{len(bad)} of {len(notes)} ended otherwise", bad)
            if len(journal) > most:
                self.fault(what, f"{len(journal)} calls at the server")
        answered = sum(each["success"] for each in every)
        self.add(what, rounds, f"at most {max(calls)}", every, f"{answered} answered", "")

    def kill_the_leader(self, what: str, rounds: int, way: str, *replies: Any) -> None:
        """The process that leads is killed while the server works; nobody waits for ever."""
        every: Notes = []
        calls, waited, equal = [], [], []
        for _ in range(rounds):
            mark = self.script(*replies)
            order = {
                "way": way, "prompt": f"What is {mark}?", "callers": CALLERS,
                "arguments": {"module": mark},
            }  # fmt: skip
            self.crew.order(0, "once", at=time.monotonic(), **order)
            self.until(lambda: bool(self.site.gemini.journal), "a call at the server")
            others = range(1, PROCESSES)
            for number in others:
                self.crew.order(number, "once", at=time.monotonic() + 0.2, **order)
            time.sleep(1.0)
            killed = self.crew.kill(0)
            notes = [n for found in self.crew.wait(others, 2 * self.lease) for n in found]
            self.crew.start(0)
            self.crew.wait([0])
            every += notes
            calls.append(len(self.site.gemini.journal))
            waited.append(max(each["ended"] for each in notes) - killed)
            if wrong := foreign(notes):
                self.fault(what, f"errors that are not ours: {wrong[:3]}")
            answers = [each["text"] for each in notes if each["success"]]
            equal.append(len(set(answers)) <= 1)
            if way in ("sync", "async") and len(answers) != len(notes):
                self.fault(what, f"{len(answers)} of {len(notes)} answered", notes)
        if max(calls) > 2:
            self.fault(what, f"{max(calls)} calls at the server")
        if not all(equal):
            self.fault(what, "survivors got different answers")
        allowed = self.lease + 2 * LATENCY + 5
        if max(waited) > allowed:
            self.fault(what, f"the last ended {max(waited):.1f} s after the kill")
        answered = sum(each["success"] for each in every)
        self.add(
            what, rounds, f"at most {max(calls)}", every, f"{answered} answered",
            f"all ended {max(waited):.1f} s after the kill",
        )  # fmt: skip

    def until(self, claim: Any, what: str) -> None:
        end = time.monotonic() + DEADLINE
        while not claim():
            if time.monotonic() > end:
                raise SystemExit(f"{self.site.name}: waited for {what}.")
            time.sleep(0.02)
