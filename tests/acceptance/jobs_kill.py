"""Jobs, while their workers and beat are killed.

Several persons submit jobs. Celery workers (prefork) and beat run them over a real broker, against
the loopback Gemini server, with PostgreSQL, and Redis for the money. Meanwhile children of workers,
whole workers and beat are killed with SIGKILL at random moments and started again, and children
are stopped with SIGSTOP until their lease is over, then woken up. The broker delivers a task again
after seconds.

- Every job is answered, with what the server said to that very question, and the database itself
  notes each change of a job: none is answered twice.
- The server sees no more calls than there are jobs and processes struck with a job in their hands.
- Every answered call's cost is the server's bill for it. Ledger and store hold at least the bill,
  the calls of those that died at their ceilings, and after `reconcile_costs --repair` exactly it.
"""

from __future__ import annotations

import argparse
import os
import platform
from contextlib import ExitStack
from pathlib import Path

COLUMNS = (
    "| jobs | killed | stopped | jobs in their hands | answered | lost | doubled | calls |"
    " begun again | billed | ledger | unknown ceilings | difference after reconciling | took |\n"
    + "|---" * 14
    + "|"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=20261128)
    options = parser.parse_args()
    from tests.acceptance._jobs_trial import SMALL, Size, Trial

    size = SMALL if options.small else Size()
    with ExitStack() as stack:
        trial = Trial(stack, size, seed=options.seed)
        trial.run()
        from tests.acceptance._jobs_bills import compare

        row, faults = compare(trial)
    facts = (
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {size.workers} workers of"
        f" {size.slots} processes. Command: `./tests/acceptance/run.sh jobs_kill`"
    )
    lines = ["# Jobs whose workers die", "", (__doc__ or "").strip(), "", facts, ""]
    Path(options.out).write_text("\n".join([*lines, COLUMNS, row, ""]), encoding="utf-8")
    raise SystemExit("\n".join(faults) or 0)


if __name__ == "__main__":
    main()
