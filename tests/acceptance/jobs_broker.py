"""Stop the broker in the middle of a burst of submits, and start it again, empty.

Processes submit jobs as fast as they can, every second one in transactions. The broker (and
nothing else) is killed with SIGKILL, stays away until each of them has been told so several
times, and is started on the same port without anything that it held. No process is restarted.

- What was given a handle is answered, though all tickets of the broker were lost.
- Submits while the broker is away raise TaskRunnerError within seconds, and leave no job.
"""

from __future__ import annotations

import argparse
import os
import platform
from contextlib import ExitStack
from pathlib import Path

COLUMNS = (
    "| outages | handles | answered | lost | TaskRunnerError | jobs left by these |\n"
    + "|---" * 6
    + "|"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    from tests.acceptance._jobs_broker_trial import Trial

    submitters, outages, each = (2, 1, 4) if options.small else (4, 3, 20)
    with ExitStack() as stack:
        trial = Trial(stack, submitters=submitters, outages=outages, each=each)
        trial.run()
        row = trial.row()
    facts = (
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {submitters} submitters."
        " Command: `./tests/acceptance/run.sh jobs_broker`"
    )
    lines = ["# Jobs whose broker vanishes", "", (__doc__ or "").strip(), "", facts, ""]
    Path(options.out).write_text("\n".join([*lines, COLUMNS, row, ""]), encoding="utf-8")
    raise SystemExit("\n".join(trial.faults) or 0)


if __name__ == "__main__":
    main()
