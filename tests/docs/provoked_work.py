"""Ways to meet the errors of jobs, search and chat, and messages that are none of the package's."""

from __future__ import annotations

import datetime
import logging
import sys
import uuid
from io import StringIO
from typing import Any

import numpy as np
import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from django_obc_ai.backends.vector_stores.numpy import NumpyVectorStore
from django_obc_ai.chat.guard import check_plan
from django_obc_ai.models import Job
from django_obc_ai.services import _job_queue
from django_obc_ai.services.chat import ChatService
from django_obc_ai.services.health import check_health
from django_obc_ai.services.job_running import run_jobs
from django_obc_ai.services.search import SimilaritySearchService
from django_obc_ai.services.text import GeminiService
from django_obc_ai.testing import index_now, override_ai
from django_obc_ai.types import ReplicaState
from tests.background import job, runner
from tests.docs.provoking import (
    ANSWER,
    BACKENDS,
    NOWHERE,
    Request,
    Told,
    ask,
    failed,
    needs,
    provokes,
    raised_by,
    scripted,
)
from tests.fakes import TinyEmbedder, entry
from tests.services.ticket_runner import RUNNER
from tests.testapp.models import Place

# --- Jobs -----------------------------------------------------------------------------


@provokes("TaskRunnerError")
def _no_broker(_: Request) -> Told:
    celery = pytest.importorskip("celery")
    app = celery.Celery("nowhere", broker=NOWHERE, set_as_current=False)
    app.conf.broker_connection_retry = False
    module = sys.modules[__name__]
    module.__dict__["no_broker_app"] = app
    found = entry(f"{BACKENDS}.task_runners.celery.CeleryRunner", app=f"{__name__}.no_broker_app")
    with override_ai(["A"], TASK_RUNNERS=found):
        return raised_by(GeminiService().submit, "Q")


@provokes("JobQueuedError")
def _queued(_: Request) -> Told:
    limits = {"default": {"per_minute": 1, "when_exceeded": "queue"}}
    with scripted(ANSWER, RATE_LIMITS=limits, TASK_RUNNERS=RUNNER):
        assert ask().success
        return failed(ask("another question"))


@provokes("JobsFullError")
def _full(_: Request) -> Told:
    with override_ai([], TASK_RUNNERS=RUNNER, JOBS={"most_waiting": 1}):
        GeminiService().submit("Q")
        return raised_by(GeminiService().submit, "Q")


@provokes("JobDeadlineError")
def _late(_: Request) -> Told:
    with override_ai([], TASK_RUNNERS=RUNNER):
        handle = GeminiService().submit("Q", deadline_seconds=60)
        Job.objects.update(deadline_at=timezone.now())
        run_jobs()
        handle.refresh()
        assert handle.result is not None
        return failed(handle.result)


@provokes("JobCancelledError")
def _cancelled(_: Request) -> Told:
    with override_ai([], TASK_RUNNERS=RUNNER):
        handle = GeminiService().submit("Q")
        assert handle.cancel() and handle.result is not None
        return failed(handle.result)


@provokes("AbandonedCallError")
def _worker_died(_: Request) -> Told:
    with override_ai([], TASK_RUNNERS=RUNNER, JOBS={"attempts": 1}):
        handle = GeminiService().submit("Q")
        assert _job_queue.claim() is not None
        Job.objects.update(lease_until=timezone.now() - datetime.timedelta(seconds=1))
        assert _job_queue.take_up() == 1
        handle.refresh()
        assert handle.result is not None
        return failed(handle.result)


@provokes("UnknownJobError")
def _no_such_job(_: Request) -> Told:
    with override_ai():
        return raised_by(GeminiService().job, uuid.uuid4())


# --- Search ---------------------------------------------------------------------------


def search(query: str = "Poblacion", index: str = "places", **arguments: Any) -> Any:
    return SimilaritySearchService().search(index, query, user=None, **arguments)


def _searched(**arguments: Any) -> BaseException:
    with override_ai():
        Place.objects.create(name="Poblacion")
        index_now("places")
        return raised_by(search, **arguments)


@provokes("UnknownIndexError")
def _no_such_index(_: Request) -> Told:
    return _searched(index="place")


@provokes("IndexNotReadyError")
def _not_built(_: Request) -> Told:
    with override_ai():
        return raised_by(search)


@provokes("IndexNotReadyError")
def _another_embedder(_: Request) -> Told:
    with override_ai():
        Place.objects.create(name="Poblacion")
        index_now("places")
        with override_ai(EMBEDDERS=entry(TinyEmbedder)):
            return raised_by(search)


@provokes("InvalidFilterError")
def _no_such_filter(_: Request) -> Told:
    return _searched(filters={"provinces": "Sulu"})


@provokes("SearchError")
def _no_results_wanted(_: Request) -> Told:
    return _searched(k=0)


@provokes("DimensionMismatchError")
def _other_length(_: Request) -> Told:
    store = NumpyVectorStore()
    state = ReplicaState(index_uuid=uuid.uuid4(), generation=uuid.uuid4(), version=1, stamp="s")
    store.reset("places", dimension=4, batches=[], state=state)
    return raised_by(store.search, "places", np.zeros((1, 3), dtype=np.float32), k=1)


# --- Chat -----------------------------------------------------------------------------


@provokes("DangerousQuery")
def _asks_to_write(_: Request) -> Told:
    with override_ai():
        answer = ChatService().send("Delete all places", user=None)
    assert answer.is_refused
    return answer.text


@provokes("DangerousQuery")
def _asks_for_what_is_not_declared(_: Request) -> Told:
    with override_ai():
        return raised_by(check_plan, {"kind": "query", "model": "auth.User"}, user=None)


@provokes("UnknownConversationError")
def _anothers(_: Request) -> Told:
    user = get_user_model().objects.create(username="amina")
    with override_ai():
        service = ChatService()
        return raised_by(service.send, "Hello", user=user, conversation=uuid.uuid4())


# --- What is no error of the package's -------------------------------------------------


@provokes("workers")
def _nobody_works(_: Request) -> Told:
    job(datetime.timedelta(minutes=5))
    with override_ai(TASK_RUNNERS=runner()):
        (item,) = (each for each in check_health(only=["workers"]).items if each.name == "workers")
    assert item.status == "error"
    return f"{item.message} {item.hint}"


@provokes("CSRF")
def _foreign_origin(request: Request) -> Told:
    caplog = request.getfixturevalue("caplog")
    caplog.set_level(logging.WARNING, "django.security.csrf")
    client = Client(enforce_csrf_checks=True, headers={"origin": "https://site.example:8443"})
    client.cookies["csrftoken"] = "b" * 32
    assert client.post("/admin/login/", {"username": "x"}).status_code == 403
    return str(caplog.messages[-1])


@provokes("ai_health_check")
def _unhealthy(_: Request) -> Told:
    needs("google.genai")
    path = f"{BACKENDS}.providers.google_genai.GoogleGenAIProvider"
    keyless = entry(path, api_key="", model="gemini-3.5-flash-lite")
    with override_ai(PROVIDERS=keyless), pytest.raises(CommandError) as caught:
        call_command("ai_health_check", "--verbose", stdout=StringIO())
    return str(caught.value)
