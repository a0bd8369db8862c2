"""The ledger outlives its caller: rollbacks, raising views, savepoints, tests of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import connection, connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, TestCase, override_settings
from django.urls import path

from django_obc_ai.conf import get_settings
from django_obc_ai.gateway import ledger, spool
from django_obc_ai.models import AIOperation
from django_obc_ai.models.writer import close_writers
from django_obc_ai.services.text import TextService
from django_obc_ai.signals import operation_finished
from django_obc_ai.testing import Reply, override_ai
from django_obc_ai.types import Usage
from tests.gateway.conftest import PRICES, Scripted, run_async

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "postgres"]),
    pytest.mark.usefixtures("postgres_alias"),
]
COST = Decimal("0.000931")
ANSWER = Reply("A", usage=Usage(input_tokens=131, output_tokens=200))


@pytest.fixture(params=["default", "postgres"])
def alias(request: pytest.FixtureRequest) -> Iterator[str]:
    """The ledger's database: a SQLite file in WAL mode, and PostgreSQL."""
    yield request.param
    close_writers()
    assert spool.find(None) == []


@pytest.fixture
def answers(scripted: Scripted, alias: str, tmp_path: Path) -> override_ai:
    log = {"spool": tmp_path / "spool"}
    return scripted(*[ANSWER] * 40, DATABASE=alias, LOG=log)


def ask(**options: Any) -> Any:
    result = TextService().generate_text("Q", use_cache=False, **options)
    assert result.success and result.cost == COST
    return result


def rows(alias: str) -> set[Any]:
    """What is in the database after everything has been taken up, read by its own connection."""
    ledger.drain(alias)
    return set(AIOperation.objects.using(alias).values_list("pk", flat=True))


class Planned(Exception):
    """What rolls the caller back."""


@pytest.mark.usefixtures("answers")
class TestRollbacks:
    def test_a_rollback_leaves_the_row(self, alias: str) -> None:
        with pytest.raises(Planned), transaction.atomic(using=alias):
            Group.objects.using(alias).create(name="gone")
            asked = ask()
            raise Planned
        assert rows(alias) == {asked.operation_id}
        assert not Group.objects.using(alias).exists()

    def test_the_row_is_on_disk_before_the_answer_is_handed_over(self, alias: str) -> None:
        with transaction.atomic(using=alias):
            asked = ask()
            if connections[alias].vendor == "sqlite":
                (file,) = spool.find(alias)
                assert file.name.endswith(f"{asked.operation_id}.json")
            else:
                with ThreadPoolExecutor(1) as pool:  # a connection that sees what is committed
                    assert pool.submit(_seen_from_outside, alias).result() == 1

    def test_a_commit_leaves_one_row(self, alias: str) -> None:
        with transaction.atomic(using=alias):
            Group.objects.using(alias).create(name="stays")
            asked = ask()
        # Taken up by the commit itself: nobody called drain.
        assert AIOperation.objects.get().pk == asked.operation_id
        assert Group.objects.using(alias).count() == 1

    def test_a_savepoint_that_is_rolled_back_leaves_the_row(self, alias: str) -> None:
        with transaction.atomic(using=alias):
            with pytest.raises(Planned), transaction.atomic(using=alias):
                asked = ask()
                raise Planned
            Group.objects.using(alias).create(name="stays")
        assert rows(alias) == {asked.operation_id}

    def test_nested_blocks_leave_all_rows(self, alias: str) -> None:
        asked = [ask()]
        with pytest.raises(Planned), transaction.atomic(using=alias):
            asked.append(ask())
            with transaction.atomic(using=alias):
                asked.append(ask())
            raise Planned
        assert rows(alias) == {each.operation_id for each in asked}

    def test_autocommit_switched_off_leaves_the_row(self, alias: str) -> None:
        transaction.set_autocommit(False, using=alias)
        try:
            Group.objects.using(alias).create(name="gone")
            asked = ask()
            transaction.rollback(using=alias)
        finally:
            transaction.set_autocommit(True, using=alias)
        assert rows(alias) == {asked.operation_id}
        assert not Group.objects.using(alias).exists()

    def test_a_transaction_that_is_broken_already_leaves_the_row(self, alias: str) -> None:
        with transaction.atomic(using=alias):
            transaction.set_rollback(True, using=alias)
            asked = ask()
        assert rows(alias) == {asked.operation_id}

    def test_the_next_call_takes_up_what_a_rollback_left_in_the_spool(self, alias: str) -> None:
        with pytest.raises(Planned), transaction.atomic(using=alias):
            first = ask()
            raise Planned
        second = ask()
        assert set(AIOperation.objects.values_list("pk", flat=True)) == {
            first.operation_id,
            second.operation_id,
        }

    def test_a_call_does_not_break_a_caller_that_has_only_read_so_far(
        self, alias: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """On SQLite a commit of ours would make the caller's snapshot too old to write."""
        if connections[alias].vendor == "sqlite":
            monkeypatch.setattr(connections[alias], "transaction_mode", "DEFERRED")
        with transaction.atomic(using=alias):
            assert not Group.objects.using(alias).exists()
            ask()
            Group.objects.using(alias).create(name="stays")
        assert Group.objects.using(alias).count() == 1
        assert len(rows(alias)) == 1

    def test_callers_of_coroutines_are_served_alike(self, alias: str) -> None:
        def begin() -> transaction.Atomic:
            block = transaction.atomic(using=alias)
            block.__enter__()
            return block

        async def main() -> Any:
            block = await sync_to_async(begin)()
            result = await TextService().agenerate_text("Q", use_cache=False)
            await sync_to_async(transaction.set_rollback)(True, using=alias)
            await sync_to_async(block.__exit__)(None, None, None)
            return result

        asked = run_async(main())
        assert rows(alias) == {asked.operation_id}

    def test_a_stream_inside_a_transaction_leaves_its_row(self, alias: str) -> None:
        with transaction.atomic(using=alias):
            stream = TextService().stream_text("Q", use_cache=False)
            assert "".join(stream) == "A"
            transaction.set_rollback(True, using=alias)
        assert rows(alias) == {stream.result.operation_id}

    def test_listeners_hear_of_each_row_once(self, alias: str) -> None:
        heard: list[Any] = []

        def listen(operation: AIOperation, **_: Any) -> None:
            assert AIOperation.objects.filter(pk=operation.pk).exists()
            heard.append(operation.pk)

        operation_finished.connect(listen)
        try:
            with transaction.atomic(using=alias):
                first = ask()
            second = ask()
            assert ledger.drain(alias) == ledger.DrainReport()
        finally:
            operation_finished.disconnect(listen)
        assert heard == [first.operation_id, second.operation_id]

    def test_threads_share_the_writer_and_lose_nothing(self, alias: str) -> None:
        gate = threading.Barrier(8)

        def work(_: int) -> Any:
            gate.wait(20)
            try:
                with transaction.atomic(using=alias):
                    result = ask()
                    transaction.set_rollback(True, using=alias)
                return result.operation_id
            finally:
                connections.close_all()

        with ThreadPoolExecutor(8) as pool:
            asked = list(pool.map(work, range(8)))
        assert rows(alias) == set(asked)
        assert AIOperation.objects.total_cost() == COST * 8


def _seen_from_outside(alias: str) -> int:
    try:
        return AIOperation.objects.using(alias).count()
    finally:
        connections.close_all()


def raising_view(request: HttpRequest) -> HttpResponse:
    Group.objects.using(get_settings().database).create(name="gone")
    ask()
    raise Planned


def calm_view(request: HttpRequest) -> HttpResponse:
    Group.objects.using(get_settings().database).create(name="stays")
    return HttpResponse(ask().text)


urlpatterns = [path("raising", raising_view), path("calm", calm_view)]


@pytest.mark.parametrize(("page", "groups"), [("raising", 0), ("calm", 1)])
@pytest.mark.usefixtures("answers")
@override_settings(ROOT_URLCONF=__name__)
def test_a_view_under_atomic_requests_leaves_its_row_whatever_it_does(
    alias: str, page: str, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections[alias].settings_dict, "ATOMIC_REQUESTS", True)
    monkeypatch.setitem(connections.settings[alias], "ATOMIC_REQUESTS", True)
    response = Client(raise_request_exception=False).get(f"/{page}")
    response.close()
    assert response.status_code == (200 if groups else 500)
    # The end of the request is enough: nobody called drain.
    assert AIOperation.objects.get().cost_usd == COST
    assert Group.objects.using(alias).count() == groups


@pytest.mark.usefixtures("answers")
def test_no_transaction_and_no_lock_is_held_while_the_provider_answers(
    scripted: Scripted, alias: str, tmp_path: Path
) -> None:
    found: list[Any] = []

    def answer(_: Any) -> Reply:
        found.append(connections[alias].in_atomic_block)
        with ThreadPoolExecutor(1) as pool:
            found.append(pool.submit(_locks_of_others, alias).result())
        return ANSWER

    scripted(answer, answer, DATABASE=alias, LOG={"spool": tmp_path / "spool"})
    with transaction.atomic(using=alias):
        transaction.set_rollback(True, using=alias)
    ask()
    ask()
    assert found == [False, 0, False, 0]


def _locks_of_others(alias: str) -> int:
    """Row and table locks, and open transactions, of any other connection."""
    try:
        with connections[alias].cursor() as cursor:
            if connections[alias].vendor == "sqlite":
                cursor.execute("BEGIN IMMEDIATE")  # fails at once if anybody writes
                cursor.execute("ROLLBACK")
                return 0
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND"
                " pid <> pg_backend_pid() AND (state LIKE 'idle in%%' OR xact_start IS NOT NULL)"
            )
            return int(cursor.fetchone()[0])
    finally:
        connections.close_all()


def test_a_ledger_of_its_own_is_written_by_the_callers_thread(
    scripted: Scripted, tmp_path: Path
) -> None:
    scripted(ANSWER, DATABASE="postgres", LOG={"spool": tmp_path / "spool"})
    with pytest.raises(Planned), transaction.atomic(using="default"):
        asked = ask()
        assert AIOperation.objects.using("postgres").get().pk == asked.operation_id
        raise Planned
    assert AIOperation.objects.using("postgres").get().pk == asked.operation_id
    assert not list((tmp_path / "spool").glob("**/*.json"))


class InsideATestCase(TestCase):
    """A host project's test sees the rows that it made, and leaves none behind."""

    databases = {"default", "postgres"}

    def test_rows_are_seen_at_once_and_rolled_back_with_the_test(self) -> None:
        for name in sorted(self.databases):
            with (
                self.subTest(name),
                override_ai([ANSWER] * 3, DATABASE=name, PRICES=PRICES),
            ):
                asked = [ask()]
                with transaction.atomic(using=name):
                    asked.append(ask())
                    seen = AIOperation.objects.values_list("pk", flat=True)
                    self.assertEqual(set(seen), {each.operation_id for each in asked})
                self.assertEqual(spool.find(None), [])

    @classmethod
    def tearDownClass(cls) -> None:
        super().tearDownClass()
        for name in cls.databases:
            assert not AIOperation.objects.using(name).exists()


def test_a_project_without_a_spool_is_told_that_a_rollback_takes_the_row(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite needs the spool for this")
    scripted(ANSWER, LOG={"spool": None})
    with transaction.atomic():
        asked = ask()
        assert AIOperation.objects.get().pk == asked.operation_id
        transaction.set_rollback(True)
    assert not AIOperation.objects.exists()
    assert f"a rollback will take AIOperation {asked.operation_id}" in caplog.text
