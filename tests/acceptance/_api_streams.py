"""Two hundred streams of the chat at once, and clients that go away; see api.py."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import random
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from tests.acceptance._api_report import Report
from tests.acceptance._budget_bills import cost_of, reconcile
from tests.acceptance._streams_clients import OWN, Told, ask, ask_provider
from tests.acceptance._streams_site import MODEL, ApiSite, Sampler, close_own_connections
from tests.acceptance._traffic import percentile
from tests.servers.gemini.journal import JournalEntry

CHUNKS, SECONDS = 25, 5.0
#: Before a plan, and before the first piece of an answer; a real provider takes longer.
THINKS_SECONDS = 0.2
#: What the page promises: so much later than the provider at most, in 95 of 100 turns.
LATER_SECONDS = 0.3
#: One process a core, and the connections that they may have together.
WORKERS, POOL = 2, 10
PIECE = "There are three places in the province that was asked about [1]. "


@dataclass(frozen=True, kw_only=True)
class Round:
    """Streams that are begun one after another.

    Attributes:
        streams: How many.
        a_second: How many of them begin in each second.
        seconds: That each answer takes.
        leaves: Whether the clients go away at some time before the end.
        are_together: Whether all are open at some moment.
    """

    name: str
    streams: int
    a_second: float
    seconds: float = SECONDS
    leaves: bool = False
    are_together: bool = False


def rounds(*, is_small: bool) -> list[Round]:
    """Return what is tried."""
    if is_small:
        return [
            Round(name="one after another", streams=20, a_second=5, seconds=2.0),
            Round(name="clients leave", streams=10, a_second=5, seconds=2.0, leaves=True),
        ]
    return [
        Round(name="one after another", streams=200, a_second=20),
        # The first of them is told for longer than it takes all to begin.
        Round(name="all open at once", streams=200, a_second=20, seconds=15.0, are_together=True),
        Round(name="clients leave", streams=100, a_second=20, leaves=True),
    ]


class Trial:
    """One site, its clients and what they were told."""

    def __init__(self, site: ApiSite, port: int, sessions: list[str], report: Report) -> None:
        self.site, self.port, self.sessions, self.report = site, port, sessions, report
        self.asked = self.bill = self.rows_before = 0
        self.name, self.folder, self.key = "streams", site.folder, "global:total:always"
        self.chance = random.Random(20261129)

    def script(self, seconds: float) -> None:
        """Let the provider answer each question: a count, and a text in pieces."""
        from tests.servers.gemini import replies

        count = {"function": "count", "path": "", "alias": "count"}
        plan = {"kind": "query", "model": "testapp.Place", "aggregate": [count]}
        self.site.gemini.script(
            replies.answer(json.dumps(plan), delay_seconds=THINKS_SECONDS),
            operation="generateContent", is_repeated=True,
        )  # fmt: skip
        self.site.gemini.script(
            replies.answer(
                PIECE * CHUNKS,
                chunks=CHUNKS,
                delay_seconds=THINKS_SECONDS,
                chunk_interval_seconds=(seconds - THINKS_SECONDS) / (CHUNKS - 1),
            ),
            operation="streamGenerateContent", is_repeated=True,
        )  # fmt: skip

    async def run(self, each: Round) -> tuple[list[Told], list[float], int]:
        """Make a round; return what the clients and the provider's own were told, and the most
        that were open at once."""
        done, most, now_open = asyncio.Event(), 0, 0
        own: list[float] = []

        async def one(number: int) -> Told:
            nonlocal most, now_open
            self.asked += 1
            message = f"How many places are there? I ask as number {self.asked}."
            await asyncio.sleep(number / each.a_second)
            leave = self.chance.uniform(0.05, each.seconds + 0.3) if each.leaves else None
            now_open += 1
            most = max(most, now_open)
            try:
                session = self.sessions[number % len(self.sessions)]
                return await ask(self.port, session, message, leave_after=leave)
            finally:
                now_open -= 1

        async def compare() -> None:
            while not done.is_set():
                own.append(await ask_provider(self.site.gemini.url, self.site.gemini.key, MODEL))
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.25):
                        await done.wait()

        comparing = asyncio.create_task(compare())
        told = await asyncio.gather(*(one(number) for number in range(each.streams)))
        done.set()
        await comparing
        return told, own, most

    def prove(self, each: Round) -> None:
        """Make a round and say what came of it."""
        self.begin(each.seconds)
        close_own_connections()  # what is counted is the site's alone
        with Sampler(self.site.dsn) as sampler:
            told, own, most = asyncio.run(self.run(each))
        expect = self.report.expect
        complete = sum(one.is_complete for one in told)
        firsts = [one.first_seconds for one in told if one.first_seconds is not None]
        late = percentile(firsts, 95) - percentile(own, 95)
        if not each.leaves:
            wrong = {one.failure or str(one.names[-2:]) for one in told if not one.is_complete}
            expect(not wrong, f"{each.name}: {each.streams - complete} are not whole: {wrong}")
            expect(
                late <= LATER_SECONDS or each.streams < 200,  # the small proof measures nothing
                f"{each.name}: the first text comes {late * 1000:.0f} ms later than the provider's",
            )
        together = each.streams if each.are_together else 0
        expect(most >= together, f"{each.name}: {most} were open at once")
        bound = self.site.pool * self.site.workers
        expect(sampler.most <= bound, f"{each.name}: {sampler.most} connections, {bound} allowed")
        self.report.line(
            f"| {each.name} | {each.streams}, {each.a_second:g} a second | {most} | {complete} |"
            f" {percentile(own, 50):.3f} s, {percentile(own, 95):.3f} s |"
            f" {percentile(firsts, 50):.3f} s, {percentile(firsts, 95):.3f} s |"
            f" {late * 1000:.0f} ms | {sampler.most} of {bound} in {sampler.samples} samples |"
        )
        self.settle(each)

    def begin(self, seconds: float) -> None:
        """Empty the provider's journal, whose bill is kept, and let it answer again."""
        self.bill += sum(cost_of(entry.billed) for entry in self.journal())
        self.site.gemini.reset()
        self.script(seconds)

    def journal(self) -> list[JournalEntry]:
        """Return what the provider did for the site."""
        return [each for each in self.site.gemini.journal if not _is_own(each)]

    def settle(self, each: Round) -> None:
        """Wait until the books are closed, and compare them with the provider's bill."""
        from django_obc_ai.backends.cost_stores import cost_stores
        from django_obc_ai.models import AIOperation

        end = time.monotonic() + 60
        while True:
            journal, rows = self.journal(), list(AIOperation.objects.all())
            held = cost_stores["default"].totals([self.key])[self.key].held_nano
            # A call that was stopped before it was sent has a row and no entry.
            missing = len(journal) - (len(rows) - self.rows_before)
            if not held and missing <= 0 and all(entry.is_finished for entry in journal):
                break
            if time.monotonic() > end:
                self.report.fault(f"{each.name}: {held} nano-dollars held, {missing} rows missing")
                break
            time.sleep(0.2)
        new = sorted(rows, key=lambda row: row.recorded_at)[self.rows_before :]
        self.rows_before = len(rows)
        whole = [entry for entry in journal if entry.is_complete]
        billed = sum(cost_of(entry.billed) for entry in whole)
        booked = sum(nano_of(row) for row in new if row.success)
        # The provider may have sent the end to somebody who was no longer there.
        if each.leaves:
            cut = [row for row in new if not row.success]
            unknown = sum(not row.cost_known for row in cut)
            total = sum(cost_of(entry.billed) for entry in journal)
            self.report.line(
                f"\nOf {len(new)} calls {len(cut)} were cut. Billed ${total / 1e9:.9f}, booked"
                f" ${sum(map(nano_of, new)) / 1e9:.9f}; {unknown} cut calls, of which nobody knows"
                f" what was billed, stand at their ceilings. Nothing is held."
            )
            exact = [row for row in cut if row.cost_known and row.tokens_exact]
            self.report.expect(not exact, f"{len(exact)} cut calls claim to be counted exactly")
        else:
            self.report.expect(
                billed == booked, f"{each.name}: billed {billed}, booked {booked} nano-dollars"
            )

    def reconcile(self) -> None:
        """Give the books the provider's bill: nothing may be left over."""
        self.begin(SECONDS)
        left = reconcile(self, self.bill)
        self.report.line(f"Reconciled with the bill of all rounds, the books differ by {left}.")


def _is_own(entry: JournalEntry) -> bool:
    return OWN in json.dumps(entry.body)


def nano_of(row: Any) -> int:
    """Return what a row costs."""
    return int(row.cost_usd * 10**9)


COLUMNS = (
    "| round | streams | most open | whole | provider's first text, median and p95 |"
    " ours | p95 later by | connections |"
)


def prove(*, is_small: bool, folder: str, report: Report) -> None:
    """Make all rounds."""
    with ExitStack() as stack:
        site = ApiSite(stack, folder, workers=WORKERS, pool=POOL // WORKERS)
        sessions = site.persons(20)
        fill()
        with site.served() as port:
            trial = Trial(site, port, sessions, report)
            trial.script(0.5)
            asyncio.run(warm(port, sessions))
            trial.settle(Round(name="the first", streams=0, a_second=1))
            with_ = [each for each in ("uvloop", "httptools") if importlib.util.find_spec(each)]
            report.line(
                f"{WORKERS} processes of uvicorn with {' and '.join(with_) or 'asyncio and h11'},"
                f" each with a pool of {POOL // WORKERS} connections at most.\n"
            )
            report.line(COLUMNS)
            report.line("|---" * COLUMNS.count("| ") + "|")
            for each in rounds(is_small=is_small):
                trial.prove(each)
        trial.reconcile()


async def warm(port: int, sessions: list[str]) -> None:
    """Let both processes import and connect: who is idle takes what comes first."""
    for _ in range(5):
        told = await asyncio.gather(*(ask(port, each, "How many?") for each in sessions))
    if not all(one.is_complete for one in told):
        raise SystemExit(f"The site does not answer: {told[0]}")


def fill() -> None:
    """Store what is asked about."""
    from tests.testapp.models import Place

    Place.objects.bulk_create(Place(name=f"place {n}", province="Lanao") for n in range(30))
