"""The worker of django-tasks-db, for the test database; it knows the contract suite's task."""

from __future__ import annotations

import django
from django.core.management import call_command

from django_obc_ai.services.task_table import TASKS


def main() -> None:
    django.setup()
    from django_obc_ai.services import workers

    workers.SECONDS = 0  # the tests empty the tables
    TASKS["contract_note"] = "django_obc_ai.testing.task_runner_contract.note_run"
    call_command("db_worker", *"--backend=database --queue-name=* --interval=0.05".split())


if __name__ == "__main__":
    main()
