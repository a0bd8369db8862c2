"""Measure what a call of ours costs in time, over the bare SDK and beside LiteLLM.

The same short question is asked in every way of a loopback Gemini server in a process of its own,
which answers at once, so that what is measured is the client's work. Each project is a process
that asks in each of its ways in turn, the bare SDK among them, and all processes take turns in
blocks; "over the bare SDK" is the difference of medians within one process.

"Redis": cost store, coordinator (flights, limits, breaker) and cache on one Redis, a hard budget,
limits too high to matter, and a ledger in a PostgreSQL that forgets nothing it has confirmed.
Under the paid path are settings, prompt, cache key, price, limits, hold, provider, settling,
ledger row and signal. "Embedded" is what a project has that sets nothing, but for limits that would
let it wait: SQLite in WAL mode with synchronous=NORMAL. LiteLLM answers from `mock_response`, with
no network at all.

The goals were set on a machine where the bare SDK takes 0.67 ms. Other machines are slower or
faster in all of it, so the last columns say the same in calls of the bare SDK: a goal there is its
milliseconds over 0.67.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import statistics
import tempfile
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.benchmarks._bench import p
from tests.benchmarks._litellm import Speaker, environment
from tests.benchmarks._litellm import start as start_litellm
from tests.benchmarks._overhead_projects import BUDGET, Projects

BARE = "google-genai"
#: What a call of the bare SDK takes where the goals were set: 500 calls over keep-alive, p50.
BARE_OF_GOALS_MS = 0.67
#: Project, way, title, and at most so many milliseconds: over the bare SDK, or of the whole.
ROWS: list[tuple[str, str, str, float | None, bool]] = [
    ("batched", "httpx2", "httpx2 and JSON alone", None, True),
    ("batched", BARE, "google-genai, bare", None, True),
    ("batched", "uncached", "Redis, rows in batches, `use_cache=False`", 0.5, True),
    ("batched", "new", "Redis, rows in batches, cache and single-flight, a new prompt", 0.9, True),
    ("each", "uncached", "Redis, a row in PostgreSQL with each call, `use_cache=False`", 1.4, True),
    ("batched", "hit", "Redis, rows in batches, answered by the cache on Redis", 0.25, False),
    ("locmem", "hit", "Redis, rows in batches, answered by the cache in memory", 0.05, False),
    ("embedded", "provider", "our provider alone", None, True),
    ("embedded", "uncached", "embedded, `use_cache=False`", None, True),
    ("embedded", "new", "embedded, cache and single-flight, a new prompt", None, True),
    ("embedded", "hit", "embedded, answered by the cache in memory", None, False),
    ("limited", "uncached", "embedded, with a hard budget", None, True),
    ("old", "google-generativeai", "google-generativeai, bare", None, True),
    ("old", "uncached", "embedded, google-generativeai", None, True),
    ("litellm", "litellm", "LiteLLM, `completion(mock_response=…)`", None, False),
]  # fmt: skip
Times = dict[str, dict[str, list[float]]]


def start_all(
    projects: Projects, stack: ExitStack, *, is_small: bool
) -> tuple[dict[str, Speaker], str]:
    """Start each project; return them, and what is missing."""
    sdk = "google_genai.GoogleGenAIProvider"
    found = {
        "batched": projects.redis_project(
            "batched", ["httpx2", BARE, "uncached", "new", "hit"], rows="batched", cache="redis"
        ),
        "each": projects.redis_project("each", [BARE, "uncached"], rows="each", cache="redis"),
        "locmem": projects.redis_project("locmem", [BARE, "hit"], rows="batched", cache="locmem"),
        "embedded": projects.embedded_project(
            "embedded", [BARE, "provider", "uncached", "new", "hit"], sdk
        ),
        "limited": projects.embedded_project("limited", [BARE, "uncached"], sdk, **BUDGET),
    }
    missing = ""
    if importlib.util.find_spec("google.generativeai"):
        old = "google_generativeai.GoogleGenerativeAIProvider"
        ways = ["google-generativeai", "uncached"]
        found["old"] = projects.embedded_project("old", ways, old)
    else:
        missing += "google-generativeai is not installed. "
    for each in found.values():
        each.hear()
    if is_small:
        return found, missing + "LiteLLM is measured at full size alone. "
    python, said = environment()
    if python is None:
        missing += f"LiteLLM could not be installed: {said} "
    else:
        found["litellm"] = start_litellm(python, stack)
    return found, missing


def measure(projects: dict[str, Speaker], calls: int, block: int) -> Times:
    """Let all take turns, a block each, until each has made so many calls in each way."""
    taken: Times = {name: {} for name in projects}
    for each in projects.values():
        each.ask("block", calls=block)
    for _ in range(-(-calls // block)):
        for name, each in projects.items():
            for way, times in each.ask("block", calls=block).items():
                taken[name].setdefault(way, []).extend(times)
    return taken


def table(taken: Times) -> tuple[list[str], list[str]]:
    """Return the table, and what took longer than promised."""
    lines = [
        "| one call | p50 | p95 | over the bare SDK, p50 | at most | in bare calls | at most |",
        "|---|---|---|---|---|---|---|",
    ]
    slow = []
    for project, way, title, most, is_over in ROWS:
        if way not in taken.get(project, {}):
            continue
        times, bare = taken[project][way], taken[project].get(BARE)
        if project == "old":
            bare = taken[project]["google-generativeai"]
        median = statistics.median(times)
        over = median - statistics.median(bare) if bare and is_over else None
        found = median if over is None else over
        goal = "" if most is None else f"{most:.2f} ms" + (" over" if is_over else " in all")
        shown = "" if over is None else f"{over:+.2f} ms"
        goal += (
            " | | "
            if most is None or not bare
            else (f" | {found / statistics.median(bare):.3f} | {most / BARE_OF_GOALS_MS:.3f}")
        )
        lines.append(f"| {title} | {median:.2f} ms | {p(times, 95):.2f} ms | {shown} | {goal} |")
        if most is not None and found > most:
            slow.append(f"{title}: {found:.2f} ms of {most:.2f} ms")
    return lines, slow


def where(project: Speaker, calls: int) -> list[str]:
    """Say where the time of a call goes."""
    lines: list[str] = []
    for way, title in (
        ("uncached", "`use_cache=False`"),
        ("new", "a new prompt"),
        ("hit", "a hit"),
    ):
        rows = project.ask("parts", way=way, calls=calls)
        lines += [
            f"### Redis, rows in batches, {title}", "",
            "| in one call | times | ms | share |", "|---|---|---|---|",
        ]  # fmt: skip
        whole = rows[-1][2]
        for name, times, ms in rows:
            lines.append(f"| {name or 'all'} | {times:.2f} | {ms:.3f} | {ms / whole:.0%} |")
        lines.append("")
    lines += ["### Functions of ours, a new prompt, under a profiler", ""]
    lines += [
        "It slows Python down and the network not, so that only the order means something.",
        "",
    ]
    lines += ["| function | times | µs of its own | µs with all it calls |", "|---|---|---|---|"]
    for name, times, own, all_ in project.ask("profile", way="new", calls=calls):
        lines.append(f"| `{name}` | {times:.2f} | {own:.0f} | {all_:.0f} |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    calls, block = (20, 10) if options.small else (300, 30)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        projects, missing = start_all(Projects(stack, folder), stack, is_small=options.small)
        lines, slow = table(measure(projects, calls, block))
        parts = where(projects["batched"], max(calls // 4, 20))
    packages: Any = ("django", "google-genai", "httpx2", "redis", "psycopg")
    versions = [f"{name} {version(name)}" for name in packages]
    if "litellm" in projects:
        versions.append(f"litellm {environment()[1]}")
    facts = (
        f"Python {platform.python_version()}, {', '.join(versions)}, {os.cpu_count()} cores,"
        f" {calls:,} calls each. {missing}Command: `./tests/acceptance/run.sh overhead`"
    )
    page = ["# What a call costs in time", "", (__doc__ or "").strip(), "", facts, "", *lines, ""]
    page += ["## Where the time goes", "", *parts]
    Path(options.out).write_text("\n".join(page), encoding="utf-8")
    # At reduced size, as in CI, the clock decides nothing.
    if slow and not options.small:
        raise SystemExit("Slower than promised: " + "; ".join(slow))


if __name__ == "__main__":
    main()
