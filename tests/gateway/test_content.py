"""Prompts and answers are kept where that is wanted, and never at a caller's cost."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from django_obc_ai.exceptions import InvalidRequestError, StreamInterruptedError
from django_obc_ai.models import AIOperation, StoredContent
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import CutStream, Reply
from django_obc_ai.types import Message, Source
from tests.gateway.conftest import Scripted, run_async
from tests.servers.fixtures import PostgresServer

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = "Whose land is it?"


@pytest.fixture
def keeping(scripted: Scripted, tmp_path: Path) -> Any:
    def enter(*script: Any, log: dict[str, Any] | None = None, **settings: Any) -> Any:
        wanted = {"store_content": True, "spool": tmp_path / "spool", **(log or {})}
        return scripted(*script, LOG=wanted, **settings)

    return enter


def ask(**arguments: Any) -> Any:
    return TextService().generate_text(SECRET, **arguments)


def test_by_default_nothing_is_stored_and_nothing_is_asked(scripted: Scripted) -> None:
    scripted("A", "A")
    ask()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        ask(use_cache=False)
    assert not StoredContent.objects.exists()
    assert not any("storedcontent" in each["sql"] for each in queries)


def test_all_texts_of_a_call_are_stored_once_they_are_redacted(keeping: Any) -> None:
    keeping("Write to juana@example.org")
    user = get_user_model().objects.create(username="amina")
    result = ask(
        user=user,
        system_context="You know 0917-123-4567",
        history=[Message(role="user", text="I am omar@example.org")],
        sources=[Source(text="Her key is sk-abcdefghijklmnopqrstuvwx", title="T")],
    )
    row = StoredContent.objects.get()
    assert (row.pk, row.user) == (result.operation_id, user)
    assert "[phone]" in row.system
    assert row.history == [{"role": "user", "text": "I am [e-mail]"}]
    assert "[key]" in row.prompt and row.prompt.endswith(SECRET)
    assert row.answer == "Write to [e-mail]"
    assert result.text == "Write to juana@example.org"
    assert row.operation.content == row and SECRET not in str(row)


def test_cached_failed_and_broken_calls_are_stored_too(keeping: Any) -> None:
    keeping("A", InvalidRequestError("no"), CutStream(["half", " an answer"]))
    ask()
    ask()
    TextService().generate_text("fail")
    with pytest.raises(StreamInterruptedError):
        list(TextService().stream_text("stream"))
    answers = StoredContent.objects.order_by("created_at").values_list("answer", flat=True)
    assert list(answers) == ["A", "A", "", "half an answer"]


def test_streams_and_async_calls_are_stored(keeping: Any) -> None:
    keeping(Reply(chunks=["one ", "two"]), "three")
    assert "".join(TextService().stream_text("a")) == "one two"
    assert run_async(TextService().agenerate_text("b")).text == "three"
    assert set(StoredContent.objects.values_list("answer", flat=True)) == {"one two", "three"}


def _refuse(*_: Any, **__: Any) -> Any:
    raise ValueError(SECRET)


def test_what_cannot_be_redacted_is_not_stored_and_the_answer_is_delivered(
    keeping: Any, caplog: pytest.LogCaptureFixture
) -> None:
    keeping("A", log={"redact_with": _refuse})
    assert ask().text == "A"
    assert AIOperation.objects.exists() and not StoredContent.objects.exists()
    assert "are not stored. ValueError at" in caplog.text and SECRET not in caplog.text


def test_what_the_database_refuses_is_forgotten(
    keeping: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    keeping("A", "B")
    with connection.schema_editor() as editor:
        editor.delete_model(StoredContent)
    try:
        assert ask().text == "A"
    finally:
        with connection.schema_editor() as editor:
            editor.create_model(StoredContent)
    assert "are not stored" in caplog.text and SECRET not in caplog.text
    assert not any(path.is_file() for path in (tmp_path / "spool").glob("*"))
    assert ask(use_cache=False).text == "B"
    assert StoredContent.objects.get().answer == "B"


def test_nothing_of_it_goes_to_the_disk_or_the_log(
    keeping: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    keeping("A long answer")
    with transaction.atomic():
        ask()
        for path in tmp_path.rglob("*.json"):
            assert SECRET not in path.read_text() and "A long answer" not in path.read_text()
    assert SECRET not in caplog.text and "A long answer" not in caplog.text


def test_on_sqlite_texts_follow_the_callers_commit_or_rollback(keeping: Any) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("SQLite's rule")
    keeping("A", "B")
    with transaction.atomic():
        ask()
        assert not StoredContent.objects.exists()
    assert StoredContent.objects.get().answer == "A"
    with pytest.raises(RuntimeError, match="rolled back"), transaction.atomic():
        ask(use_cache=False)
        raise RuntimeError("rolled back")
    assert StoredContent.objects.get().answer == "A"


@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_on_postgresql_texts_survive_the_callers_rollback(
    keeping: Any, postgres_alias: str, postgres_server: PostgresServer
) -> None:
    keeping("A", DATABASE=postgres_alias)
    with pytest.raises(RuntimeError, match="rolled back"):
        with transaction.atomic(using=postgres_alias):
            ask()
            raise RuntimeError("rolled back")
    assert StoredContent.objects.using(postgres_alias).get().answer == "A"
    assert connections[postgres_alias].vendor == "postgresql"


def test_texts_go_with_their_operation_and_their_user(keeping: Any) -> None:
    keeping("A", "B")
    user = get_user_model().objects.create(username="amina")
    ask()
    ask(user=user, use_cache=False)
    user.delete()
    assert StoredContent.objects.get().answer == "A"
    AIOperation.objects.all().delete()
    assert not StoredContent.objects.exists()
