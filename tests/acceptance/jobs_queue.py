"""Ten times the limit is asked at once, and waits as jobs.

Persons ask through generate_text() from several processes; `when_exceeded` is "queue". First those
ask that have many questions, then, when all these wait, some that have one. Minutes are scaled
down in all processes. Celery workers and beat over a real broker drain the queue.

- Every question is answered, at once or as a job, with one request each.
- At no request to the server has the window that ends there more than the limit.
- Whoever has one question is behind at most one of each other person, and what the processes have
  in their hands. Persons with many are answered in turn: while two of them wait, the numbers of
  their answers differ by at most one, and what the processes have in their hands.

"At once" are those that found room before there was a line: at most what the limit allows, and
what was asked until the first job was taken.
"""

from __future__ import annotations

import argparse
import os
import platform
from contextlib import ExitStack
from pathlib import Path

COLUMNS = (
    "| questions | answered | at once | waited as jobs | most in a window |"
    " came before a single question | answers apart | took |\n" + "|---" * 8 + "|"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    from tests.acceptance._jobs_queue_trial import SMALL, Size, Trial

    size = SMALL if options.small else Size()
    with ExitStack() as stack:
        trial = Trial(stack, size)
        trial.run()
        row = trial.row()
    facts = (
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {size.workers} workers of"
        f" {size.slots} processes. Command: `./tests/acceptance/run.sh jobs_queue`"
    )
    lines = ["# A burst that waits as jobs", "", (__doc__ or "").strip(), "", facts, ""]
    Path(options.out).write_text("\n".join([*lines, COLUMNS, row, ""]), encoding="utf-8")
    raise SystemExit("\n".join(trial.faults) or 0)


if __name__ == "__main__":
    main()
