"""Who runs tasks is written down."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from django_obc_ai.models import Worker
from django_obc_ai.services import workers
from django_obc_ai.services.tasks import worker_name
from django_obc_ai.services.workers import Sightings, forget_worker, note_worker
from tests.servers.celery_processes import eventually

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(workers, "_clock", lambda: now[0])
    monkeypatch.setattr(workers, "_noted", {})
    return now


def _age(name: str, **by: float) -> None:
    then = timezone.now() - timedelta(**by)
    Worker.objects.filter(name=name).update(seen_at=then, started_at=then)


def test_a_process_is_noted_by_host_and_process_id() -> None:
    note_worker()
    assert [each.name for each in Worker.objects.all()] == [worker_name()]


def test_a_worker_is_written_every_twenty_seconds_at_most(clock: list[float]) -> None:
    note_worker("a")
    _age("a", minutes=5)
    clock[0] += 19
    note_worker("a")
    assert timezone.now() - Worker.objects.get().seen_at > timedelta(minutes=4)
    clock[0] += 1
    note_worker("a")
    row = Worker.objects.get()
    assert timezone.now() - row.seen_at < timedelta(minutes=1)
    assert timezone.now() - row.started_at > timedelta(minutes=4)


def test_a_worker_that_begins_anew_has_begun_anew(clock: list[float]) -> None:
    Worker.objects.create(name="a")
    _age("a", minutes=5)
    note_worker("a")
    assert timezone.now() - Worker.objects.get().started_at < timedelta(minutes=1)


def test_who_begins_forgets_those_that_were_not_seen_for_an_hour(clock: list[float]) -> None:
    Worker.objects.bulk_create([Worker(name="dead"), Worker(name="late")])
    _age("dead", minutes=61)
    _age("late", minutes=59)
    note_worker("new")
    assert set(Worker.objects.values_list("name", flat=True)) == {"late", "new"}


def test_a_worker_that_ends_is_forgotten_and_can_be_noted_again_at_once() -> None:
    note_worker("a")
    forget_worker("a")
    assert not Worker.objects.exists()
    note_worker("a")
    assert Worker.objects.exists()


def test_a_name_that_is_too_long_is_cut(clock: list[float]) -> None:
    note_worker("x" * 500)
    clock[0] += 60
    note_worker("x" * 500)
    forget_worker("x" * 500)
    assert not Worker.objects.exists()


def test_work_goes_on_without_the_database(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr("django.db.models.query.QuerySet.update", fail)
    monkeypatch.setattr("django.db.models.query.QuerySet.delete", fail)
    note_worker("a")
    forget_worker("a")
    events = [each.__dict__["event"] for each in caplog.records]
    assert events == ["tasks.worker_not_noted"]  # once in a while


@pytest.mark.django_db(transaction=True)
def test_a_thread_notes_a_busy_worker_and_forgets_it_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "SECONDS", 0.01)
    watch = Sightings("busy")
    watch.start()
    assert eventually(lambda: Worker.objects.filter(name="busy").exists())
    watch.stop()
    assert not watch.is_alive()
    assert not Worker.objects.exists()
