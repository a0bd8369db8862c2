"""Ask the same sixty-four times at once, from four processes, and pay once.

Sixteen threads, or sixteen tasks of one event loop, in each of four processes ask the loopback
Gemini server the same at the same moment. It answers after half a second, or streams for two, and
keeps a journal of its own. In each round of "one call": the journal has 1 call, the 64 answers are
equal, the ledger has 1 paid row, which costs what was billed, and 63 free ones (coalesced, or
cached for whoever was late). Followers of a stream have text before the server has sent the last
piece. A truncated answer, which no cache keeps, and a project without a cache make no difference;
`use_cache=False` makes every call.

In the rounds of "killed" one process calls, its call arrives, three more join, and the first is
killed with SIGKILL: there are 2 calls at most, and nobody waits longer than the lease and a call.

The coordinator follows the cost store: Redis with the cache on the same Redis; PostgreSQL with the
cache in the database; SQLite with a cache that each process has for itself.
"""

from __future__ import annotations

import argparse
import os
import platform
from contextlib import ExitStack
from pathlib import Path

STORES = ("redis", "postgres", "sqlite")
COLUMNS = (
    "| store | calls | rounds | at the server | asked | rows or answers |"
    " median and longest, the server's time included | |\n" + "|---" * 8 + "|"
)


def prove(name: str, *, is_small: bool) -> tuple[list[str], list[str]]:
    """Return the rows of the table and what was not as it must be."""
    from tests.acceptance._flight_rounds import LATENCY, LEASE, Rounds
    from tests.acceptance._traffic import Site
    from tests.servers.gemini import replies

    many, some, few = (2, 1, 1) if is_small else (10, 5, 3)
    # No two calls are answered alike, so that equal answers are of one call.
    answer = [replies.answer(f"Answer {n}.", delay_seconds=LATENCY) for n in range(64)]
    long = [replies.answer(f"{n} word " * 99, delay_seconds=LATENCY) for n in range(64)]
    pieces = {"delay_seconds": 0.3, "chunks": 8, "chunk_interval_seconds": 0.25}
    streamed = [replies.answer(f"{n} word " * 32, **pieces) for n in range(64)]
    busy = replies.error(503, delay_seconds=0.1)
    held = [replies.answer(f"Answer {n}.", delay_seconds=4.0 / n) for n in (1, 8)]
    with ExitStack() as stack:
        rounds = Rounds(Site(name, stack), lease=4.0 if is_small else LEASE)
        rounds.ask_as_one("one call", many, "sync", *answer)
        if is_small and name != "redis":
            rounds.ask_as_one("one call, async stream", some, "astream", *streamed)
            return rounds.lines, rounds.faults
        rounds.ask_as_one("one call, async", many, "async", *answer)
        rounds.ask_as_one("one call, stream", some, "stream", *streamed)
        rounds.ask_as_one("one call, async stream", some, "astream", *streamed)
        rounds.ask_as_one("one truncated call", few, "sync", *long, max_output_tokens=5)
        rounds.ask_apart("use_cache=False", answer[0])
        rounds.fail("refused with 400", few, 1, replies.error(400), error="invalid_request")
        rounds.fail("503 twice, then an answer", 1 if is_small else 2, 3, busy, busy, answer[0])
        rounds.kill_the_leader("killed", 1 if is_small else 3, "sync", *held)
        if not is_small:
            slow = replies.answer("word " * 64, chunks=8, chunk_interval_seconds=0.5)
            rounds.kill_the_leader("killed, async", 2, "async", *held)
            rounds.kill_the_leader("killed in mid-stream", 2, "stream", slow, streamed[0])
            rounds.crew.configure(RETRY={"attempts": 1, "deadline_seconds": 30})
            rounds.fail("503 for ever, one attempt each", 1, 64, busy, error="any")
        rounds.crew.configure(CACHE={"alias": None})
        rounds.ask_as_one("one call, no cache", few, "sync", *answer)
        return rounds.lines, rounds.faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", choices=STORES)
    options = parser.parse_args()
    if options.only:
        lines, faults = prove(options.only, is_small=options.small)
        Path(options.out).write_text("\n".join(lines), encoding="utf-8")
        raise SystemExit("\n".join(faults) or 0)
    from tests.acceptance._traffic import each_by_itself
    from tests.benchmarks._litellm import ask_as_one

    rows = each_by_itself(__file__, STORES, is_small=options.small)
    facts = (
        f"Python {platform.python_version()}, {os.cpu_count()} cores. Command:"
        " `./tests/acceptance/run.sh single_flight`"
    )
    lines = ["# Sixty-four equal questions, one paid call", "", (__doc__ or "").strip(), ""]
    lines += [facts, "", COLUMNS, *rows, ""]
    if not options.small:
        lines += ["## The same with LiteLLM", "", *ask_as_one(), ""]
    Path(options.out).write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
