"""A real beat and a real worker on a real broker: the schedule is kept."""

from __future__ import annotations

import pytest

from django_obc_ai.models import TaskState
from django_obc_ai.services.task_table import SCHEDULE
from tests.extras import requires
from tests.servers.valkey import RedisServer

pytestmark = [requires("celery"), pytest.mark.django_db(transaction=True)]


def test_every_scheduled_task_is_run_again_and_again(redis_server: RedisServer) -> None:
    from tests.servers.celery_processes import eventually, run_beat, run_worker

    def missing() -> set[str]:
        often = TaskState.objects.filter(key="", runs__gte=2, is_ok=True, finished_at__isnull=False)
        return set(SCHEDULE) - set(often.values_list("name", flat=True))

    every = dict.fromkeys(SCHEDULE, 2)
    with run_worker(redis_server.url) as worker, run_beat(redis_server.url, schedule=every) as beat:
        done = eventually(lambda: not missing(), 180)
        logs = [each.log.read_text(errors="replace")[-3000:] for each in (worker, beat)]
    states = list(TaskState.objects.values("name", "runs", "is_ok", "error_message"))
    assert done, f"{missing()} never ran well: {states}\n{logs}"
