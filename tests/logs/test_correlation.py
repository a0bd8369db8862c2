"""Correlation ids: who sees them, and how they get into other threads and processes."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading

import pytest
from asgiref.sync import sync_to_async

from django_obc_ai.logs import bound, correlation, current
from django_obc_ai.models.connections import apart
from tests.subprocesses import ROOT


def test_an_id_holds_for_a_block_and_the_one_before_comes_back() -> None:
    assert current() == ""
    with bound("outer") as outer:
        with bound() as made:
            assert current() == made != outer
            assert len(made) == 32
        assert current() == outer == "outer"
    assert current() == ""


@pytest.mark.parametrize(
    "given", ["", "a b", "a\nb", "a" * 129, "ä", '"', "<x>", "a\x00", "a\n", "{}", "%s"]
)
def test_what_could_forge_a_line_is_no_id(given: str) -> None:
    assert not correlation.is_valid(given)
    with bound(given) as made:
        assert made != given and correlation.is_valid(made)


@pytest.mark.parametrize(
    "given",
    [
        "a",
        "a" * 128,
        "3f6c0f9e-8d1b-4a53-8a53-0f0a3a5b7c11",
        "Root=1-67891233-abcdef012345678912345678",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "req_123:45/6.7+8@9",
    ],
)
def test_ids_of_proxies_and_tracers_are_taken(given: str) -> None:
    with bound(given) as taken:
        assert taken == given


def test_threads_and_tasks_of_the_event_loop_see_it() -> None:
    async def other() -> str:
        return current()

    async def main() -> list[str]:
        with bound("request-1"):
            return [await sync_to_async(current)(), await asyncio.create_task(other())]

    assert asyncio.run(main()) == ["request-1", "request-1"]


def test_the_thread_that_works_outside_of_the_callers_transaction_sees_it() -> None:
    with bound("request-1"):
        assert apart(current) == "request-1"


def test_two_threads_have_ids_of_their_own() -> None:
    barrier, seen = threading.Barrier(2), {}

    def work(name: str) -> None:
        with bound(name):
            barrier.wait(10)
            seen[name] = current()

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert seen == {"a": "a", "b": "b"}


def test_a_job_takes_it_along_into_a_thread_of_its_own() -> None:
    """What a task runner does: `current` where the job is made, `bound` where it runs."""
    seen: list[str] = []

    def run(job: dict[str, str]) -> None:
        with bound(job["correlation_id"]):
            seen.append(current())
        seen.append(current())

    with bound("request-1"):
        job = {"correlation_id": current()}
    thread = threading.Thread(target=run, args=(job,))
    thread.start()
    thread.join()
    assert seen == ["request-1", ""]


_WORKER = """
import json, logging, sys
from django_obc_ai.logs import bound
from django_obc_ai.logs.correlation import CorrelationFilter
handler = logging.StreamHandler(sys.stdout)
handler.addFilter(CorrelationFilter())
handler.setFormatter(logging.Formatter("%(correlation_id)s %(message)s"))
logging.basicConfig(level="INFO", handlers=[handler])
job = json.load(sys.stdin)
logging.info("before")
with bound(job["correlation_id"]):
    logging.getLogger("project").info("during")
logging.info("after")
"""


def test_a_job_takes_it_along_into_another_process() -> None:
    with bound("request-1"):
        job = json.dumps({"correlation_id": current()})
    done = subprocess.run(
        [sys.executable, "-c", _WORKER], input=job, capture_output=True, text=True, check=True,
        cwd=ROOT,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["- before", "request-1 during", "- after"]


def test_the_filter_leaves_an_id_that_a_record_has() -> None:
    record = logging.makeLogRecord({"correlation_id": "its own"})
    with bound("request-1"):
        assert correlation.CorrelationFilter().filter(record)
    assert vars(record)["correlation_id"] == "its own"
