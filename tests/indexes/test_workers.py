"""Indexing by workers: sent for once in a burst, and nothing is left out whoever dies."""

from __future__ import annotations

import datetime
import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from django_obc_ai.indexes import get_index
from django_obc_ai.models import DirtyRow, IndexGeneration, IndexRequest, IndexState, TaskState
from django_obc_ai.services import _sweep, index_requests, index_tasks, tasks
from django_obc_ai.services._claims import claimed
from django_obc_ai.services._sweep import wait_for_sweeps
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.services.search import SimilaritySearchService
from django_obc_ai.testing import override_ai
from tests.fakes import entry
from tests.subprocesses import ROOT, run_together
from tests.task_in_process import StuckEmbedder
from tests.task_runners import Folder, of_this_test
from tests.testapp.models import Place, Slugged

pytestmark = pytest.mark.django_db(transaction=True)
MESSAGE = ("index_objects", {"index": "places"})


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Folder]:
    """An index of six places, and workers that come when the test lets them."""
    folder = Folder(tmp_path)
    with override_ai(TASK_RUNNERS=folder.runners):
        Place.objects.bulk_create([Place(name=f"Place {n}", province="Sulu") for n in range(6)])
        IndexingService().index("places")
        yield folder


def work(broker: Folder) -> None:
    """Be the worker."""
    sent = broker.sent
    broker.empty()
    for name, arguments in sent:
        tasks.run(name, arguments)


def is_equal() -> bool:
    return not DirtyRow.objects.exists() and IndexingService().verify("places").is_equal


def names_found(query: str) -> list[str]:
    found = SimilaritySearchService().search("places", query, user=None, k=1)
    return [each.object.name for each in found]


def test_a_save_sends_for_a_worker_and_embeds_nothing(broker: Folder) -> None:
    Place.objects.create(name="Zamboanga")
    assert broker.sent == [MESSAGE]
    assert DirtyRow.objects.count() == 1
    assert names_found("Zamboanga") == []
    work(broker)
    assert names_found("Zamboanga") == ["Zamboanga"]
    assert is_equal()


def test_a_transaction_that_is_rolled_back_sends_for_nobody(broker: Folder) -> None:
    with pytest.raises(KeyError), transaction.atomic():
        Place.objects.create(name="Zamboanga")
        raise KeyError
    assert broker.sent == []


def test_a_burst_sends_for_one_worker(broker: Folder) -> None:
    for number in range(100):
        Place.objects.create(name=f"Town {number}")
    assert broker.sent == [MESSAGE]
    work(broker)
    assert is_equal()
    Place.objects.create(name="One more")
    assert broker.sent == [MESSAGE]


def test_a_burst_of_four_processes_sends_for_few_workers(broker: Folder) -> None:
    given = {**of_this_test(TASK_RUNNERS=broker.runners), "save": 50}
    run_together("tests.task_in_process", given)
    assert DirtyRow.objects.count() == 200
    assert set(map(str, broker.sent)) == {str(MESSAGE)}
    assert len(broker.sent) <= 5  # one, and one for each ten seconds that a slow machine takes
    work(broker)
    assert is_equal()


def test_nothing_is_left_out_by_workers_that_come_during_a_burst(broker: Folder) -> None:
    given = {**of_this_test(TASK_RUNNERS=broker.runners), "save": 30, "run": [MESSAGE, MESSAGE]}
    run_together("tests.task_in_process", given, count=3)
    while broker.sent:
        work(broker)
    assert is_equal()


def test_what_commits_while_a_worker_reads_sends_for_another(
    broker: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    process_changes = IndexingService.process_changes

    def slowly(self: IndexingService, name: str) -> Any:
        report = process_changes(self, name)
        if not Place.objects.filter(name="Late").exists():
            Place.objects.create(name="Late")
        return report

    monkeypatch.setattr(IndexingService, "process_changes", slowly)
    Place.objects.create(name="Early")
    work(broker)
    assert broker.sent[0] == MESSAGE
    while broker.sent:
        work(broker)
    assert is_equal()


def test_a_worker_that_found_another_at_it_is_made_up_for(
    broker: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    process_changes = IndexingService.process_changes

    def beside(self: IndexingService, name: str) -> Any:
        report = process_changes(self, name)
        if not Place.objects.filter(name="Late").exists():
            Place.objects.create(name="Late")
            work(broker)  # another worker comes at once, and goes
            assert broker.sent == []
        return report

    monkeypatch.setattr(IndexingService, "process_changes", beside)
    Place.objects.create(name="Early")
    work(broker)
    assert broker.sent == [MESSAGE]
    work(broker)
    assert is_equal()


def test_two_workers_do_not_embed_the_same(broker: Folder) -> None:
    Place.objects.create(name="Zamboanga")
    with claimed("index_objects", "places"):
        assert not index_tasks.work_off(get_index("places"))
    assert DirtyRow.objects.count() == 1
    assert index_tasks.work_off(get_index("places"))
    assert is_equal()


def test_a_lost_message_holds_the_next_back_for_seconds_only(broker: Folder) -> None:
    Place.objects.create(name="Zamboanga")
    broker.empty()
    Place.objects.create(name="Jolo")
    assert broker.sent == []
    for moment in (-index_tasks.SEND_AGAIN_AFTER, datetime.timedelta(hours=1)):
        # The hour: another machine's clock was wrong.
        IndexState.objects.update(woken_at=timezone.now() + moment * 1.01)
        Place.objects.create(name="Basilan")
        assert broker.sent == [MESSAGE]
        broker.empty()


def test_a_save_succeeds_while_the_broker_is_down(
    broker: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    broker.set_down(True)
    with caplog.at_level(logging.WARNING, "django_obc_ai.tasks"):
        for number in range(5):
            Place.objects.create(name=f"Town {number}")
    (record,) = caplog.records  # the others do not wait for a broker that is down
    assert vars(record)["event"] == "tasks.not_sent"
    assert DirtyRow.objects.count() == 5
    tasks.run("index_objects", {})  # by the schedule of another machine
    assert is_equal()
    broker.set_down(False)
    Place.objects.create(name="Zamboanga")
    assert broker.sent == [MESSAGE]


def test_an_index_that_was_never_built_sends_for_nobody(broker: Folder) -> None:
    Slugged.objects.create(slug="jolo")
    assert broker.sent == []
    tasks.run("index_objects", {})
    assert DirtyRow.objects.filter(index_name="slugs").exists()


def test_a_worker_killed_in_the_middle_leaves_nothing_unindexed(
    broker: Folder, tmp_path: Path
) -> None:
    Place.objects.create(name="Zamboanga")
    stuck = tmp_path / "stuck"
    embedders = entry(StuckEmbedder, path=str(stuck))
    given = of_this_test(TASK_RUNNERS=broker.runners, EMBEDDERS=embedders)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.task_in_process", json.dumps({**given, "run": [MESSAGE]})],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
        until = time.monotonic() + 60
        while not stuck.exists():
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    broker.empty()  # the worker had taken its message
    tasks.run(*MESSAGE)  # delivered again, at once: the dead one may live
    assert DirtyRow.objects.exists()
    TaskState.objects.update(lease_until=timezone.now())  # 15 seconds later
    tasks.run("index_objects", {})
    assert is_equal()


def test_a_search_leaves_fresh_changes_to_the_workers(broker: Folder) -> None:
    if connection.vendor == "sqlite" and connection.is_in_memory_db():
        pytest.skip("threads of an in-memory database share one connection")
    Place.objects.create(name="Zamboanga")

    def search_after(seconds: float) -> None:
        DirtyRow.objects.update(created_at=timezone.now() - datetime.timedelta(seconds=seconds))
        _sweep._next_look.clear()
        names_found("Zamboanga")
        wait_for_sweeps()

    search_after(5)
    assert DirtyRow.objects.count() == 1
    with claimed("index_objects", "places"):
        search_after(61)
        assert DirtyRow.objects.count() == 1
    search_after(61)
    assert is_equal()


def test_what_failed_once_is_tried_again_for_all_indexes(
    broker: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    Place.objects.create(name="unreadable")
    work(broker)
    monkeypatch.setattr(type(get_index("places")), "get_text", lambda self, place: place.name)
    tasks.run(*MESSAGE)
    assert DirtyRow.objects.exists()
    tasks.run("index_objects", {})
    assert not DirtyRow.objects.exists()


@pytest.fixture
def _many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_requests, "AT_ONCE", 2)


@pytest.mark.usefixtures("_many")
@pytest.mark.parametrize("kind", ["sweep", "rebuild"])
def test_a_large_request_of_an_operator_goes_to_a_worker(broker: Folder, kind: str) -> None:
    for number in range(3):
        Place.objects.create(name=f"Town {number}")
    before = IndexGeneration.objects.get().pk
    broker.empty()
    assert index_requests.request_indexing("places", kind, user=None) is None
    wanted = ("rebuild_index", {"index": "places", "if_requested": True})
    assert broker.sent == [wanted if kind == "rebuild" else MESSAGE]
    work(broker)
    assert not IndexRequest.objects.exists()
    assert is_equal()
    is_new = IndexGeneration.objects.get().pk != before
    assert is_new is (kind == "rebuild")


@pytest.mark.usefixtures("_many")
def test_a_request_whose_message_is_lost_is_sent_again(broker: Folder) -> None:
    broker.set_down(True)
    assert index_requests.request_indexing("places", "rebuild", user=None) is None
    broker.set_down(False)
    tasks.run("index_objects", {})
    assert broker.sent == []  # it may be on its way
    IndexRequest.objects.update(requested_at=timezone.now() - datetime.timedelta(seconds=61))
    with claimed("index_requests", "places"):
        tasks.run("index_objects", {})
        assert broker.sent == []  # somebody is at it
    tasks.run("index_objects", {})
    assert [name for name, _ in broker.sent] == ["rebuild_index"]
    work(broker)
    assert not IndexRequest.objects.exists()


def test_a_rebuild_that_was_done_is_not_done_by_a_second_message(broker: Folder) -> None:
    before = IndexGeneration.objects.get().pk
    tasks.run("rebuild_index", {"index": "places", "if_requested": True})
    assert IndexGeneration.objects.get().pk == before
    tasks.run("rebuild_index", {"index": "places"})
    assert IndexGeneration.objects.get().pk != before
    assert is_equal()


def test_two_rebuilds_at_once_are_one(broker: Folder) -> None:
    with claimed("index_requests", "places"):
        tasks.run("rebuild_index", {"index": "places"})
        asked = IndexRequest.objects.get()
        tasks.run("rebuild_index", {"index": "places"})
    assert IndexRequest.objects.get().requested_at == asked.requested_at
    given = of_this_test(TASK_RUNNERS=broker.runners)
    message = ("rebuild_index", {"index": "places", "if_requested": True})
    run_together("tests.task_in_process", {**given, "run": [message]}, count=3)
    assert not IndexRequest.objects.exists()
    assert is_equal()


def test_a_rebuild_keeps_the_name_of_who_asked_for_less(broker: Folder) -> None:
    IndexRequest.objects.create(name="places", kind="sweep", requested_by="amina")
    with claimed("index_requests", "places"):  # so that the request is seen while it stands
        tasks.run("rebuild_index", {"index": "places"})
    asked = IndexRequest.objects.get()
    assert (asked.kind, asked.requested_by) == ("rebuild", "amina")
    tasks.run("rebuild_index", {"index": "places"})
    assert not IndexRequest.objects.exists()


def test_a_verification_logs_what_differs_and_not_what_waits(
    broker: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    Place.objects.create(name="Zamboanga")
    with caplog.at_level(logging.WARNING, "django_obc_ai.indexes"):
        tasks.run("verify_index", {"index": "places"})
        assert not caplog.records
        Place.objects.filter(name="Place 1").update(name="silently")
        tasks.run("verify_index", {"index": "places"})
        tasks.run("verify_index", {"index": "places", "repair": True})
        tasks.run("verify_index", {"index": "places"})
    facts = map(vars, caplog.records)
    assert [(each["event"], each["differ"], each["repaired"]) for each in facts] == [
        ("indexes.differ", 1, 0),
        ("indexes.differ", 0, 2),
    ]
    tasks.run("verify_index", {})  # also of an index that cannot be compared
    assert vars(caplog.records[-1])["event"] == "indexes.not_compared"
