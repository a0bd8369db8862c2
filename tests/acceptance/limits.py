"""Push ten times the limit from eight processes, and read it off the server's clock.

Minutes and days are scaled down in all processes. The loopback Gemini server notes when each
request arrived, by one clock that nobody sets; at every arrival the window that ends there is
counted. Phases, on Redis and on PostgreSQL as the coordinator:

- wait: 64 threads always want to call and wait for their turn. No window has more than the limit,
  most of the limit is used, whoever asked first is served first, and no process gets less than
  half of its share;
- refuse: threads call ten times as often as is allowed, over several midnights. No window and no
  day of the provider has more than its limit;
- tokens: the same for tokens, as the server bills them;
- 429 with a delay, told to one call: nobody calls during the delay, but those already on their
  way (0.3 s are granted to them); then one at a time, and twice as many with each success;
- 429 of a daily quota: nobody calls until the day is over, and refusals say when that is.
"""

from __future__ import annotations

import argparse
import os
import platform
from contextlib import ExitStack
from pathlib import Path

STORES = ("redis", "postgres")
COLUMNS = "| coordinator | phase | asked | seen by the server | allowed |\n|---|---|---|---|---|"


def prove(name: str, *, is_small: bool) -> tuple[list[str], list[str]]:
    """Return the rows of the table and what was not as it must be."""
    from tests.acceptance._limits_phases import SMALL, Phases, Size
    from tests.acceptance._traffic import Site

    with ExitStack() as stack:
        phases = Phases(Site(name, stack), SMALL if is_small else Size())
        phases.wait_in_line()
        phases.refuse_and_count_days()
        phases.count_tokens()
        phases.pause()
        phases.end_the_day()
        return phases.lines, phases.faults


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

    rows = each_by_itself(__file__, STORES, is_small=options.small)
    facts = (
        f"Python {platform.python_version()}, {os.cpu_count()} cores. Command:"
        " `./tests/acceptance/run.sh limits`"
    )
    lines = ["# Limits that all workers share", "", (__doc__ or "").strip(), "", facts, ""]
    Path(options.out).write_text("\n".join([*lines, COLUMNS, *rows, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
