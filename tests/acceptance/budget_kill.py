"""Spend against a budget that is far too small, while everything that can die does.

Eight processes (five with --small) ask the loopback Gemini server as fast as they can. Meanwhile
processes are killed with SIGKILL at random moments and replaced, stopped with SIGSTOP for longer
than a lease, Redis is killed and restarted empty, and a backend of PostgreSQL is killed, which
restarts the whole server. All the while settled + held is compared with the limit, and so is what
the server says it has billed. At the end every answered call's cost is compared with the server's
bill for that very request, and the bill with what is settled, ceilings of unknown calls included.
Then `reconcile_costs --repair` reads the server's bill as CSV, and ledger and store equal it.

The memory store is one process's, so there threads ask instead of processes, and what they are
all stopped by is SIGSTOP for longer than a lease.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.acceptance._budget_threads import ThreadTrial
from tests.acceptance._budget_trial import LEASE, STORES, Trial


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=20261125)
    parser.add_argument("--only", choices=tuple(STORES))
    options = parser.parse_args()
    workers, seconds, limit = (5, 4, 3_000_000) if options.small else (8, 60, 20_000_000)
    if options.only:
        with ExitStack() as stack:
            kind = ThreadTrial if options.only == "memory" else Trial
            trial = kind(options.only, stack, workers, seconds, limit, seed=options.seed)
            try:
                row = trial.run()
            finally:
                for each in trial.workers:
                    each.kill()
        Path(options.out).write_text(row, encoding="utf-8")
        return
    rows = []
    for name in STORES:
        with tempfile.NamedTemporaryFile() as part:
            # A process of its own for each store: Django is set up once per process.
            command = [sys.executable, __file__, "--only", name, "--out", part.name]
            command += ["--seed", str(options.seed), *(["--small"] if options.small else [])]
            if subprocess.run(command, check=False).returncode:
                raise SystemExit(1)
            rows.append(Path(part.name).read_text(encoding="utf-8"))
            print(rows[-1], flush=True)
    facts = (
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {workers} processes, leases"
        f" of {LEASE:.0f} s. Command: `./tests/acceptance/run.sh budget_kill`"
    )
    columns = (
        "| store | limit | most settled + held | billed | settled | ledger | unknown ceilings |"
        " answered, each equal to its bill | refused | killed | stopped | servers restarted |"
        " samples | difference after reconciling |\n" + "|---" * 14 + "|"
    )
    head = ["# A budget under attack", "", (__doc__ or "").strip(), "", facts, "", columns]
    Path(options.out).write_text("\n".join([*head, *rows, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
