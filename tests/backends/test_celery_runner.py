"""Tasks that go through Celery, with a real broker and real workers."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
import valkey
from django.db import connection
from django.test import SimpleTestCase
from pytest_django import DjangoDbBlocker

from django_obc_ai.backends.task_runners import BaseTaskRunner
from django_obc_ai.exceptions import ConfigurationError, TaskRunnerError
from django_obc_ai.testing import TaskRunnerContract
from tests.extras import requires
from tests.servers.celery_processes import CeleryProcess, run_worker
from tests.servers.valkey import RedisServer, run_redis

pytestmark = requires("celery")
SECRET = "s3cr3t/with:signs"


def make_runner(url: str, **conf: Any) -> Any:
    """A runner with an app of its own, which nobody else's tests see."""
    from celery import Celery

    from django_obc_ai.backends.task_runners.celery import CeleryRunner

    class Runner(CeleryRunner):
        app = Celery("sender", broker=url, set_as_current=False)

    runner = Runner(timeout_seconds=0.5)
    runner.app.conf.update(conf)
    return runner


def queued(url: str, key: str = "celery") -> list[dict[str, Any]]:
    """What lies in a list of the broker, the last one first."""
    with valkey.Valkey.from_url(url) as client:
        return [json.loads(each) for each in client.lrange(key, 0, -1)]


def seconds_until(eta: str) -> float:
    return (datetime.fromisoformat(eta) - datetime.now(UTC)).total_seconds()


@pytest.fixture(scope="module")
def broker() -> Iterator[RedisServer]:
    with run_redis() as server:
        yield server


@pytest.fixture(scope="module")
def worker(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, broker: RedisServer
) -> Iterator[CeleryProcess]:
    """A worker of two processes, which knows the suite's task."""
    with run_worker(broker.url, concurrency=2) as running:
        yield running
    with django_db_blocker.unblock():  # whose runs it has noted
        from django_obc_ai.models import TaskState

        TaskState.objects.all().delete()
        connection.close()


@pytest.mark.usefixtures("_worker")
class CeleryRunnerTests(TaskRunnerContract, SimpleTestCase):
    broker: RedisServer

    @pytest.fixture
    def _worker(self, worker: CeleryProcess, broker: RedisServer) -> None:
        self.broker = broker

    def make_runner(self) -> BaseTaskRunner:
        return self._made(self.broker.url)

    def make_unreachable_runner(self) -> BaseTaskRunner:
        return self._made("redis://:secret@127.0.0.1:1/0")

    def _made(self, url: str) -> BaseTaskRunner:
        runner: BaseTaskRunner = make_runner(url)
        self.addCleanup(runner.close)
        return runner


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


def test_what_is_sent_is_json_and_asks_for_no_result(redis_server: RedisServer) -> None:
    runner = make_runner(
        redis_server.url, task_serializer="pickle", result_backend="cache+memory://"
    )
    runner.enqueue("rebuild_index", {"name": "places"})
    (message,) = queued(redis_server.url)
    assert message["content-type"] == "application/json"
    assert message["headers"]["task"] == "django_obc_ai.rebuild_index"
    assert message["headers"]["ignore_result"] is True
    assert message["headers"]["eta"] is None
    runner.close()


def test_priorities_are_above_and_below_those_of_the_projects_tasks(
    redis_server: RedisServer,
) -> None:
    runner = make_runner(redis_server.url)
    assert runner.waiting() == 0
    for priority in (5, 0, -3, -1000):
        runner.enqueue("rebuild_index", {"name": str(priority)}, priority=priority)
    assert len(queued(redis_server.url)) == 2  # nothing is earlier than the usual one
    assert len(queued(redis_server.url, "celery\x06\x163")) == 1
    assert len(queued(redis_server.url, "celery\x06\x169")) == 1
    assert runner.waiting() == 4
    runner.close()


def test_it_counts_in_the_queue_that_routes_send_it_to(redis_server: RedisServer) -> None:
    routes = {"django_obc_ai.*": {"queue": "ai"}}
    runner = make_runner(redis_server.url, task_routes=routes)
    assert runner.waiting() == 0
    runner.enqueue("generate_text")
    runner.app.send_task("other")
    assert len(queued(redis_server.url, "ai")) == runner.waiting() == 1
    with valkey.Valkey.from_url(redis_server.url) as client:
        assert client.rpop("ai")  # as a worker takes it
    assert runner.waiting() == 0  # Redis keeps no empty queue
    runner.app.close()
    runner.close()


def test_a_queue_that_nobody_made_is_not_an_empty_one() -> None:
    runner = make_runner("memory://", task_default_queue="made by nobody")
    assert runner.waiting() is None
    runner.enqueue("generate_text")
    assert runner.waiting() == 1
    runner.close()


def test_the_usual_priority_is_the_projects_own(redis_server: RedisServer) -> None:
    routes = {"django_obc_ai.*": {"priority": 6}}
    runner = make_runner(redis_server.url, task_routes=routes)
    runner.enqueue("generate_text")
    assert len(queued(redis_server.url, "celery\x06\x166")) == 1
    runner.enqueue("generate_text", priority=5)
    assert len(queued(redis_server.url)) == 1
    runner.close()


def test_a_long_delay_is_cut_to_what_the_broker_stands(redis_server: RedisServer) -> None:
    runner = make_runner(redis_server.url, broker_transport_options={"visibility_timeout": 60})
    runner.enqueue("generate_text", delay_seconds=86_400)
    (message,) = queued(redis_server.url)
    assert 0 < seconds_until(message["headers"]["eta"]) <= 30
    runner.close()


@pytest.mark.parametrize("asked", [86_400, 20])
def test_a_delay_stays_far_below_what_any_broker_stands(asked: int) -> None:
    # Without a timeout of visibility, as RabbitMQ.
    runner = make_runner("memory://", task_default_queue=f"delayed {asked}")
    runner.enqueue("generate_text", delay_seconds=asked)
    with runner.app.connection_for_read() as link:
        wait = seconds_until(
            link.channel().basic_get(f"delayed {asked}", no_ack=True).headers["eta"]
        )
    most = min(asked, 600)
    assert most - 10 < wait <= most
    runner.close()


def test_a_broker_that_was_restarted_is_found_again(stack: ExitStack) -> None:
    first = stack.enter_context(ExitStack())
    server = first.enter_context(run_redis())
    runner = make_runner(server.url)
    stack.callback(runner.close)
    runner.enqueue("generate_text")
    first.close()
    with pytest.raises(TaskRunnerError):
        runner.enqueue("generate_text")
    stack.enter_context(run_redis(server.port))
    runner.enqueue("generate_text")
    assert len(queued(server.url)) == 1


def test_a_connection_that_went_stale_is_no_failure(stack: ExitStack) -> None:
    first = stack.enter_context(ExitStack())
    server = first.enter_context(run_redis())
    runner = make_runner(server.url)
    stack.callback(runner.close)
    runner.enqueue("generate_text")
    first.close()
    stack.enter_context(run_redis(server.port))
    runner.enqueue("generate_text")
    assert len(queued(server.url)) == 1


def test_a_broker_that_says_nothing_is_given_up(stack: ExitStack) -> None:
    server = stack.enter_context(run_redis())
    runner = make_runner(server.url)
    stack.callback(runner.close)
    runner.enqueue("generate_text")
    os.kill(server.pid, signal.SIGSTOP)
    stack.callback(os.kill, server.pid, signal.SIGCONT)
    for ask in (lambda: runner.enqueue("generate_text"), runner.ping, runner.waiting):
        with pytest.raises(TaskRunnerError, match="Timeout"):
            ask()


def test_a_sentinel_that_says_nothing_is_given_up(stack: ExitStack) -> None:
    server = stack.enter_context(run_redis())
    url = server.url.replace("redis:", "sentinel:")
    options = {"master_name": "main", "sentinel_kwargs": {"username": "amina"}}
    runner = make_runner(url, broker_transport_options=options)
    stack.callback(runner.close)
    with runner._connection(runner.app) as link:
        given = link.transport_options["sentinel_kwargs"]
    assert given["username"] == "amina"
    assert given["retry"]._retries == 0  # of redis-py's own, ten by default, with pauses
    os.kill(server.pid, signal.SIGSTOP)
    stack.callback(os.kill, server.pid, signal.SIGCONT)
    with pytest.raises(TaskRunnerError, match="No master found"):
        runner.enqueue("generate_text")


def test_a_broker_that_refuses_is_told(redis_server: RedisServer, stack: ExitStack) -> None:
    runner = make_runner(redis_server.url)
    stack.callback(runner.close)
    client = stack.enter_context(valkey.Valkey.from_url(redis_server.url))
    client.config_set("maxmemory", 1)
    stack.callback(client.config_set, "maxmemory", 0)
    with pytest.raises(TaskRunnerError, match="refuses"):
        runner.enqueue("generate_text")


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@127.0.0.1:1/0",  # a URL that nobody can read
        "redis://amina:s3cr3t@127.0.0.1:1/0;redis://:s3cr3t@127.0.0.1:2/0",
        "redis://amina:s3cr3t%2F@127.0.0.1:1/0",
        "nothing://:s3cr3t@here",
    ],
)
def test_no_message_holds_a_password(url: str) -> None:
    runner = make_runner(url)
    for ask in (lambda: runner.enqueue("generate_text"), runner.ping, runner.waiting):
        with pytest.raises(TaskRunnerError) as raised:
            ask()
        text = repr(raised.value) + str(raised.value)
        assert "s3cr3t" not in text
        assert "with:signs" not in text
        assert raised.value.__suppress_context__
    runner.close()


@pytest.mark.django_db
def test_an_app_that_runs_tasks_at_once_does(
    monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer
) -> None:
    runner = make_runner("redis://127.0.0.1:1/0", task_always_eager=True)
    flags = (runner.is_immediate, runner.supports_delay, runner.supports_priority)
    assert flags == (True, False, False)
    ran: list[str] = []
    monkeypatch.setattr("django_obc_ai.services.job_running.recover_jobs", lambda: ran.append("x"))
    runner.enqueue("recover_jobs")
    runner.ping()
    assert (ran, runner.waiting()) == (["x"], None)


def test_connections_are_not_shared_with_a_fork(redis_server: RedisServer) -> None:
    runner = make_runner(redis_server.url)
    runner.enqueue("generate_text")
    pool = runner._pool
    runner._pid -= 1  # as in a child
    runner.enqueue("generate_text")
    assert runner._pool is not pool
    assert runner.waiting() == 2
    pool.connections.force_close_all()
    runner.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"app": "tests.nowhere.app"}, "cannot be imported"),
        ({"app": "tests.celery_project.celery.TASKS"}, "is no Celery app"),
    ],
)
def test_an_app_that_is_none_is_a_configuration_error(
    options: dict[str, Any], message: str
) -> None:
    from django_obc_ai.backends.task_runners.celery import CeleryRunner

    with pytest.raises(ConfigurationError, match=message):
        CeleryRunner(**options).check("here")


@pytest.mark.parametrize("seconds", [0, -1, "2", True, None])
def test_a_time_that_is_none_is_refused(seconds: Any) -> None:
    from django_obc_ai.backends.task_runners.celery import CeleryRunner

    with pytest.raises(ValueError, match="timeout_seconds is no number above 0"):
        CeleryRunner(timeout_seconds=seconds)


def test_the_app_is_the_current_one_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from celery import Celery, _state

    from django_obc_ai.backends.task_runners.celery import CeleryRunner

    app = Celery("mine", set_as_current=False)
    monkeypatch.setattr(_state, "default_app", app)
    monkeypatch.setattr(_state._tls, "current_app", None)
    assert CeleryRunner().app.main == "mine"
    named = CeleryRunner(app="tests.celery_project.celery.app")
    assert named.app.main == "tests.celery_project"
