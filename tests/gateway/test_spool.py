"""What the database could not take waits on disk: once, whole, and for its own database."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, connections, transaction

from django_obc_ai.gateway import ledger, spool
from django_obc_ai.models import AIOperation
from django_obc_ai.services.health import check_health
from django_obc_ai.services.text import TextService
from django_obc_ai.signals import operation_finished
from django_obc_ai.testing import Reply
from tests.gateway.conftest import ANSWER, COST, SECRET, SpoolOf, ask, pks
from tests.servers.postgres import PostgresServer

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "postgres"]),
    pytest.mark.usefixtures("postgres_alias"),
]
ROOT = Path(__file__).parents[2]


def waiting(count: int = 1, alias: str = "default", **values: Any) -> list[uuid.UUID]:
    """Spool operations as the ledger does."""
    made = [
        AIOperation(**{"provider": "p", "success": True, "cost_usd": COST, **values})
        for _ in range(count)
    ]
    assert all(spool.write(each, alias) for each in made)
    return [each.pk for each in made]


@contextmanager
def unreachable(server: PostgresServer) -> Iterator[None]:
    """Take the server's socket away and end its connections, as if it were down."""
    socket = Path(server.host) / ".s.PGSQL.5432"
    away = socket.with_suffix(".away")
    with connections["postgres"].cursor() as cursor:
        socket.rename(away)
        try:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        except OperationalError:
            pass
    try:
        yield
    finally:
        away.rename(socket)


def test_a_database_that_is_down_costs_no_row(
    spooled: SpoolOf, postgres_server: PostgresServer
) -> None:
    spooled(DATABASE="postgres")
    asked = [ask()]
    with unreachable(postgres_server):
        asked += [ask(), ask()]
        assert len(spool.find("postgres")) == 2
        with pytest.raises(CommandError, match="2 still wait, 0 were set aside"):
            call_command("ai_drain_spool")
    asked.append(ask())  # the next call takes them up
    assert spool.find(None) == []
    assert pks() == {each.operation_id for each in asked}
    assert AIOperation.objects.total_cost() == COST * 4


def test_a_database_that_goes_down_during_the_call_costs_no_row(
    spooled: SpoolOf, postgres_server: PostgresServer
) -> None:
    down = unreachable(postgres_server)

    def answer(_: Any) -> Reply:
        down.__enter__()
        return ANSWER

    spooled(answer, DATABASE="postgres")
    try:
        with pytest.raises(OperationalError), transaction.atomic(using="postgres"):
            asked = ask()
            AIOperation.objects.using("postgres").count()  # the caller's own connection is gone
    finally:
        down.__exit__(None, None, None)
    assert len(spool.find("postgres")) == 1
    call_command("ai_drain_spool", verbosity=0)
    assert pks() == {asked.operation_id}


def test_a_server_that_crashes_and_recovers_costs_no_row(spooled: SpoolOf) -> None:
    """SIGKILL of one backend makes PostgreSQL end all of them and recover from its log."""
    with connections["postgres"].cursor() as cursor:
        cursor.execute("CHECKPOINT")  # or what all tests before wrote is recovered, too

    def answer(_: Any) -> Reply:
        with connections["postgres"].cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            os.kill(cursor.fetchone()[0], 9)
        return ANSWER

    spooled(answer, ANSWER, DATABASE="postgres")
    asked = {ask().operation_id}
    give_up = time.monotonic() + 30
    while ledger.drain("postgres").left and time.monotonic() < give_up:
        connections["postgres"].close()
        time.sleep(0.05)
    asked.add(ask().operation_id)
    assert pks() == asked
    assert AIOperation.objects.total_cost() == COST * 2


def test_a_busy_sqlite_costs_no_row(spooled: SpoolOf, monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("SQLite's one lock")
    spooled()

    def write_for_long() -> None:
        try:
            with transaction.atomic():
                AIOperation.objects.create(provider="p", success=True)
                connection_is_busy.append(ask_in_thread())
        finally:
            connections.close_all()

    def ask_in_thread() -> Any:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(_ask_with_little_patience).result()

    connection_is_busy: list[Any] = []
    with ThreadPoolExecutor(1) as pool:
        pool.submit(write_for_long).result()
    (asked,) = connection_is_busy
    assert len(spool.find("default")) == 1
    assert ledger.drain("default").stored == 1
    assert asked.operation_id in pks()


def _ask_with_little_patience() -> Any:
    try:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 50")
        return ask()
    finally:
        connections.close_all()


def test_a_spooled_row_is_the_row(spooled: SpoolOf) -> None:
    spooled()
    values = {
        "operation_type": "chat", "module": "mana", "user_id": 7, "scope": "s",
        "content_type": "static", "model_requested": "a", "model_used": "b", "input_tokens": 9,
        "cached_tokens": 2, "output_tokens": 3, "thinking_tokens": 4, "tool_tokens": 5,
        "audio_tokens": 6, "tokens_exact": False, "cost_known": False, "response_time_ms": 8,
        "attempts": 2, "success": False, "error_category": "timeout", "error_message": "Slow “é”.",
        "finish_reason": "other", "prompt_hash": "f" * 64,
    }  # fmt: skip
    made = AIOperation(provider="p", cost_usd=Decimal("1.000000001"), **values)
    assert spool.write(made, "default")
    assert ledger.drain("default") == ledger.DrainReport(stored=1)
    found = AIOperation.objects.get()
    for field in AIOperation._meta.concrete_fields:
        if field.name != "recorded_at":  # which is when the row was written
            assert getattr(found, field.attname) == getattr(made, field.attname), field.name


def test_no_prompt_and_no_answer_is_on_disk(spooled: SpoolOf, folder: Path) -> None:
    spooled(Reply("Nobody's.", usage=ANSWER.usage), DATABASE="default")
    with transaction.atomic():
        TextService().generate_text(SECRET, use_cache=False)
        text = "".join(path.read_text() for path in folder.glob("*.json"))
    assert SECRET not in text and "Nobody's" not in text
    if connection.vendor == "sqlite":
        assert '"cost_usd": "0.000931000"' in text
        assert folder.stat().st_mode & 0o777 == 0o700


def test_draining_twice_and_at_once_stores_once(spooled: SpoolOf) -> None:
    spooled()
    made = waiting(40)
    heard: list[Any] = []

    def listen(operation: AIOperation, **_: Any) -> None:
        heard.append(operation.pk)

    def work(_: int) -> ledger.DrainReport:
        try:
            return ledger.drain("default")
        finally:
            connections.close_all()

    operation_finished.connect(listen)
    try:
        with ThreadPoolExecutor(4) as pool:
            reports = list(pool.map(work, range(4)))
        assert ledger.drain("default") == ledger.DrainReport()
    finally:
        operation_finished.disconnect(listen)
    assert sum(report.stored for report in reports) == 40
    assert sorted(heard) == sorted(made)
    assert pks() == set(made)
    assert AIOperation.objects.total_cost() == COST * 40


def test_a_row_that_was_stored_before_its_file_was_removed_is_known(spooled: SpoolOf) -> None:
    spooled()
    (pk,) = waiting()
    AIOperation.objects.create(id=pk, provider="p", success=True, cost_usd=COST)
    assert ledger.drain("default") == ledger.DrainReport(known=1)
    assert spool.find(None) == []


def test_torn_and_broken_files_hold_up_nobody(spooled: SpoolOf, folder: Path) -> None:
    spooled()
    made = waiting(2)
    mark = spool.mark_of("default")
    whole = json.loads(spool.find("default")[0].read_text())
    (folder / ".half.tmp").write_text('{"values": {"id"')  # killed before the rename
    (folder / f"{mark}-0.json").write_text('{"values": {"id"')
    (folder / f"{mark}-1.json").write_text("[]")
    newer = uuid.uuid4()
    whole["values"] |= {"id": str(newer), "of_a_newer_release": 1}
    (folder / f"{mark}-{newer}.json").write_text(json.dumps(whole))
    assert ledger.drain("default") == ledger.DrainReport(stored=3, refused=2)
    assert pks() == {*made, newer}
    assert sorted(path.name for path in folder.glob("*.broken")) == [
        f"{mark}-0.broken",
        f"{mark}-1.broken",
    ]
    (item,) = [each for each in check_health(may_ping=False).items if each.name == "spool"]
    assert (item.status, item.message[:26]) == ("error", "2 operations were set asid")


def test_a_row_that_the_database_refuses_for_good_is_kept_aside(
    spooled: SpoolOf, folder: Path
) -> None:
    spooled()
    (refused,) = waiting(cost_usd=Decimal(-1))
    (made,) = waiting()
    with pytest.raises(CommandError, match="0 still wait, 1 were set aside"):
        call_command("ai_drain_spool", verbosity=0)
    assert pks() == {made}
    assert [path.name for path in folder.iterdir()] == [
        f"{spool.mark_of('default')}-{refused}.refused"
    ]


def test_rows_of_another_database_wait_until_they_are_asked_for(spooled: SpoolOf) -> None:
    spooled()
    (elsewhere,) = waiting(alias="postgres")
    asked = ask()
    assert ledger.drain("default") == ledger.DrainReport()
    assert pks() == {asked.operation_id}
    (item,) = [each for each in check_health(may_ping=False).items if each.name == "spool"]
    assert item.message == "0 operations wait for the database. 1 wait for another one."
    assert "--all" in item.hint
    call_command("ai_drain_spool", all=True, verbosity=0)
    assert pks() == {asked.operation_id, elsewhere}


def test_a_spool_that_cannot_be_written_is_reported_and_the_row_logged(
    spooled: SpoolOf, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("a file where the folder should be")
    spooled()
    table = AIOperation._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO away")
    try:
        asked = ask()
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE away RENAME TO {table}")
    assert f"AIOperation {asked.operation_id} was not stored: $0.000931000" in caplog.text
    (item,) = [each for each in check_health(may_ping=False).items if each.name == "spool"]
    assert (item.status, item.message) == (
        "error",
        f"Operations cannot wait on disk: {folder} is no folder.",
    )
