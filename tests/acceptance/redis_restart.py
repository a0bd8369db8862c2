"""Kill Redis in the middle of calls, and start it again.

Four processes call the loopback Gemini server, three from threads and one from tasks; a quarter of
their questions is asked by several at once. The cost store, the coordinator and the cache are on
one Redis, the ledger is in PostgreSQL. Redis is killed with SIGKILL, stays away, and is started on
the same port: empty, or ("kept") with all that it had confirmed. No process is restarted.

- No exception is raised, and every result's is ours.
- With a hard budget nothing is sent while Redis is away. Without one calls go on: not shared, and
  each process keeps to the limits by itself.
- When Redis is back calls are answered, and the limits are shared, without a restart; "answers
  again" and "shares again" say how soon. An empty Redis admits nothing under a budget until the
  calls that were under way have come to their end (a lease, 2 s here).
- In the end the attempts in the ledger's rows are the server's calls, and their costs its bill.
"""

from __future__ import annotations

import argparse
import os
import platform
from contextlib import ExitStack
from pathlib import Path

from tests.acceptance._restart_trial import TRIALS, Trial

COLUMNS = (
    "| project | calls | outages | asked without Redis | answers again | shares again |"
    " rows and bill |\n" + "|---" * 7 + "|"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", choices=tuple(TRIALS))
    options = parser.parse_args()
    if options.only:
        outages, seconds = (1, 3.0) if options.small else (2, 6.0)
        with ExitStack() as stack:
            trial = Trial(options.only, stack, outages=outages, seconds=seconds)
            Path(options.out).write_text(trial.prove(), encoding="utf-8")
        raise SystemExit("\n".join(trial.faults) or 0)
    from tests.acceptance._traffic import each_by_itself

    names = ["no budget, kept", "budget, rows in batches"]
    rows = each_by_itself(
        __file__, names if options.small else list(TRIALS), is_small=options.small
    )
    facts = (
        f"Python {platform.python_version()}, {os.cpu_count()} cores. Command:"
        " `./tests/acceptance/run.sh redis_restart`"
    )
    lines = ["# Redis away and back", "", (__doc__ or "").strip(), "", facts, ""]
    Path(options.out).write_text("\n".join([*lines, COLUMNS, *rows, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
