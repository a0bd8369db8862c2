"""One worker: ``python -m tests.services.jobs_in_process JSON``.

JSON holds DATABASES and OBC_AI, and how it works: "claims" takes and ends jobs without a call,
once all are ready, and prints the keys as a list; "forever" is the command of that name.
"""

from __future__ import annotations

import json

from tests.in_process import begin, wait_for_the_others


def main() -> None:
    given = begin()
    from django.core.management import call_command
    from django.db import connections

    from django_obc_ai.backends.coordinators import coordinators
    from django_obc_ai.services import _job_queue

    if given["works"] == "forever":
        coordinators["default"].flight_lease_seconds = 2.0
        print("ready", flush=True)
        call_command("run_jobs", forever=True, interval=0.05)
    else:
        wait_for_the_others()
        taken = []
        while (job := _job_queue.claim()) is not None:
            assert _job_queue.finish(job, {"text": "A"})
            taken.append(str(job.pk))
        print(json.dumps(taken))
    connections.close_all()


if __name__ == "__main__":
    main()
