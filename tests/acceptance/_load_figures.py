"""How fast people were answered, and what the programs of the site took; see deploy_load.py."""

from __future__ import annotations

import argparse
import os
import statistics
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.acceptance._api_report import Report
from tests.acceptance._load_people import AGAIN, ALIKE, LONGEST, MIX, OWN
from tests.acceptance._load_samples import Samples, Use
from tests.acceptance._load_site import CHUNKS, INTERVAL_SECONDS, LATENCY_SECONDS, LoadSite
from tests.acceptance._traffic import percentile
from tests.servers.gemini.journal import JournalEntry

#: Calls of the provider that an answer waits for one after another, and until its first text.
CALLS = {"ask": 1, "chat": 2, "stream": 2}
#: Once the others have come, so many seconds are left out: what is asked then belongs to neither.
BETWEEN_SECONDS = 30.0
#: Programs whose memory is judged: the others keep what they are given to keep.
JUDGED = ("nginx", "web", "streams", "worker", "beat", "PostgreSQL")
#: What each program may grow by, from the middle third of the time to the last one: a share, and
#: bytes. In between lie some 4,500 requests of gunicorn: 2 % of what its workers have is what they
#: would lose by 3 KB in each.
GROWTH, BYTES = 0.02, 4 << 20
#: The same for files: connections come and go.
FILES = 0.1
#: Connections to PostgreSQL that a process of uvicorn keeps.
POOL = 20


class Figures:
    """Tables and claims."""

    def __init__(
        self,
        site: LoadSite,
        told: dict[str, Any],
        journal: list[JournalEntry],
        samples: Samples,
        report: Report,
    ) -> None:
        self.site, self.told, self.journal = site, told, journal
        self.samples, self.report = samples, report

    def prove(self, options: argparse.Namespace) -> None:
        """Write all, and judge what does not depend on the machine; at full size, growth, too."""
        self.people(options)
        self.latencies(options)
        self.programs()
        self.connections()
        if not options.small:
            self.growth()

    def people(self, options: argparse.Namespace) -> None:
        """Say what they did; all of it has to be answered well."""
        calls, line = self.told["calls"], self.report.line
        statuses = Counter(call["status"] for call in calls)
        failed = Counter(f"{call['kind']}: {call['failure']}" for call in calls if call["failure"])
        self.report.expect(
            not failed, f"{failed.total()} of {len(calls)} failed: {failed.most_common(5)}"
        )
        seen = {call["kind"] for call in calls}
        self.report.expect({*MIX, "edit"} <= seen, f"nobody did {set(MIX) - seen}")
        said = ", ".join(f"{share} {kind}" for kind, share in MIX.items())
        line(
            f"{options.people // 2} people for {options.alone:g} s, then {options.people} for"
            f" {options.seconds - options.alone:g} s; {len(calls):,} requests on"
            f" {self.told['connections']} connections, {len(calls) / options.seconds:.1f} a second."
            f' Of 100 requests: {said}. A search is one by meaning over 2,185 places; "ask" asks'
            " the model about the places that a search finds; a chat and a stream are two calls"
            " of the model each, a plan and an answer.\n"
        )
        line(
            f"Of what is asked about results {ALIKE:.0%} is what others ask, too; of conversations"
            f" {AGAIN:.0%} begin with one of {OWN} questions that the same person asks again and"
            f" again, and have 1 to {LONGEST} questions. All else is asked for the first time."
            f" The provider takes {LATENCY_SECONDS * 1000:.0f} ms before each answer, and tells a"
            f" stream in {CHUNKS} pieces, {INTERVAL_SECONDS * 1000:.0f} ms apart.\n"
        )
        line(
            "Statuses: "
            + ", ".join(f"{status}: {n:,}" for status, n in sorted(statuses.items()))
            + " (302 is how the admin answers an edit). Failed, cut or refused:"
            + f" {failed.total()}.\n"
        )

    def latencies(self, options: argparse.Namespace) -> None:
        """Say how long answers took, and how much of that is the provider's.

        That is shown and not judged: with all of them the cores have no time left, and what a
        person waits for then says how busy they are.
        """
        provider = statistics.median(
            each.seconds for each in self.journal if each.operation == "generateContent"
        )
        head = ("requests", "p50", "p95", "p99")
        half = [f"{options.people // 2} people: {head[0]}", *head[1:]]
        whole = [f"{options.people}: {head[0]}", *head[1:]]
        titles = ["what", "the provider's", *half, *whole]
        self.report.line(f"| {' | '.join(titles)} |")
        self.report.line("|---" * len(titles) + "|")
        between = 0 if options.small else BETWEEN_SECONDS
        for kind in (*MIX, "edit"):
            own = [call for call in self.told["calls"] if call["kind"] == kind]
            early = [call for call in own if call["at"] < options.alone]
            late = [call for call in own if call["at"] >= options.alone + between]
            waited = CALLS.get(kind, 0) * provider
            self._row(kind, waited, [[call["seconds"] for call in part] for part in (early, late)])
            if kind == "stream":
                firsts = [
                    [call["first_seconds"] for call in part if call["first_seconds"]]
                    for part in (early, late)
                ]
                self._row("stream, first text", waited, firsts)
        self.report.line(
            '\n"The provider\'s" is the time that it needs for its calls, at the'
            " median, where the cache does not answer; streams go on for"
            f" {INTERVAL_SECONDS * (CHUNKS - 1):.1f} s after their first text.\n"
        )

    def _row(self, what: str, waited: float, parts: list[list[float]]) -> None:
        cells = [what, f"{waited * 1000:,.0f} ms" if waited else ""]
        for seconds in parts:
            cells.append(f"{len(seconds):,}")
            cells += [
                f"{percentile(seconds, each) * 1000:,.0f} ms" if seconds else ""
                for each in (50, 95, 99)
            ]
        self.report.line(f"| {' | '.join(cells)} |")

    def programs(self) -> None:
        """Say what each program took."""
        samples, cores = self.samples, os.cpu_count() or 1
        self.report.line(
            "| program | processes | cores, all | of these, in the kernel |"
            " memory (PSS), third by third | its own, third by third | a minute |"
            " open files, third by third |"
        )
        self.report.line("|---" * 8 + "|")
        total = 0.0
        for name, uses in samples.uses.items():
            user, both = samples.cpu(name)
            total += both
            own = self._series(name, lambda use: use.own)
            self.report.line(
                f"| {name} | {max(use.processes for use in uses)} | {both:.3f} |"
                f" {both - user:.3f} | {self._thirds(name, lambda use: use.memory)} |"
                f" {self._thirds(name, lambda use: use.own)} |"
                f" {samples.slope(own) / 1e6:+.2f} MB |"
                f" {', '.join(f'{n:.0f}' for n in samples.thirds(self._series(name, _files)))} |"
            )
        self.report.line(
            f"\nTogether {total:.2f} of {cores} cores; to measure it took"
            f" {samples.measuring:.3f} more. Memory in MB; what processes share is"
            f' counted once. "Its own" is what no file backs. {len(samples.at)} samples; each'
            " figure is the median of a third of the time, and growth a minute is that of a line"
            " through the last two thirds.\n"
        )

    def connections(self) -> None:
        """See that nobody has more connections to the database than the kit says."""
        count = {name: int(value) for name, value in self.site.rendered.items()}
        bounds = {
            "obc-site-web": count["web_workers"] * count["web_threads"],
            "obc-site-streams": count["stream_workers"] * POOL,
            # One of the process that watches over the others, and says that they are there.
            "obc-site-worker": count["worker_processes"] + 1,
            "obc-site-beat": 1,
        }
        told = []
        seen = {name: max(counts) for name, counts in self.samples.connections.items()}
        own = seen.pop("", 0)  # of this process, which reads the results
        for name, most in sorted(seen.items()):
            bound = bounds.get(name, 0)
            self.report.expect(most <= bound, f"{name}: {most} connections, {bound} at most")
            told.append(f"{name.removeprefix('obc-site-')} {most} of {bound}")
        self.report.expect(own <= 1, f"{own} connections of nobody")
        self.report.line(
            f"Connections to PostgreSQL, at most: {', '.join(told)}; at most"
            f" {self.samples.idle_in_transaction} of them idle in a transaction at one time.\n"
        )

    def growth(self) -> None:
        """See that memory and files stay what they are, once all is warm."""
        for name in JUDGED:
            own, files = self._series(name, lambda use: use.own), self._series(name, _files)
            _, middle, last = self.samples.thirds(own)
            bound = max(GROWTH * middle, BYTES)
            self.report.expect(
                last - middle <= bound,
                f"{name}: its own memory grew by {(last - middle) / 1e6:.1f} MB, from"
                f" {middle / 1e6:.1f}",
            )
            _, before, after = self.samples.thirds(files)
            self.report.expect(
                after <= before * (1 + FILES) + 5,
                f"{name}: open files grew, {before:.0f} {after:.0f}",
            )

    def _series(self, name: str, of: Callable[[Use], float]) -> list[float]:
        return [of(use) for use in self.samples.uses[name]]

    def _thirds(self, name: str, of: Callable[[Use], float]) -> str:
        found = self.samples.thirds(self._series(name, of))
        return ", ".join(f"{each / 1e6:.1f}" for each in found)


def _files(use: Use) -> float:
    return use.files
