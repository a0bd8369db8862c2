"""``import_obcms``: what it says, and what it refuses."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection

from django_obc_ai.models import AIOperation
from tests import obcms
from tests.obcms import put

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def original(transactional_db: None) -> Iterator[None]:
    with obcms.original_in("default"):
        yield


def run(*arguments: str) -> list[str]:
    out = io.StringIO()
    call_command("import_obcms", *arguments, stdout=out)
    return out.getvalue().splitlines()


@pytest.mark.usefixtures("original")
def test_it_says_what_came_and_what_did_not() -> None:
    user = get_user_model().objects.create(username="amina")
    put(obcms.operation(), obcms.operation(user_id=99), obcms.operation(cached=True))
    put(obcms.conversation("Q", "A", user_id=user.pk))
    key = ContentType.objects.get(app_label="auth", model="user").pk
    put(obcms.Embedding(content_type_id=key, object_id=1, embedding_hash="", index_name="people"))
    rest = [
        "1 operations whose user is not here: they are nobody's",
        (
            "1 embeddings of auth.user left behind"
            " (people, sentence-transformers/all-MiniLM-L6-v2); declare an index over it"
        ),
    ]
    cost = "at $0.002468, with $0.001234 saved by the cache"
    assert run("--dry-run") == [
        f"operations: 3 would be imported {cost}; 0 were there",
        "conversations: 1 would be imported with 2 messages; 0 were there",
        *rest,
    ]
    assert not AIOperation.objects.exists()
    assert run() == [
        f"operations: 3 imported {cost}; 0 were there",
        "conversations: 1 imported with 2 messages; 0 were there",
        *rest,
    ]
    assert run()[:2] == [
        "operations: 0 imported at $0, with $0 saved by the cache; 3 were there",
        "conversations: 0 imported with 0 messages; 1 were there",
    ]


@pytest.mark.usefixtures("original")
def test_it_names_the_index_that_embeds_again() -> None:
    key = ContentType.objects.get(app_label="testapp", model="place").pk
    put(obcms.Embedding(content_type_id=key, object_id=1, embedding_hash="", index_name="x"))
    assert run()[-1].endswith("; run: ai_index places")


def test_an_unknown_alias_is_an_error() -> None:
    with pytest.raises(CommandError, match=r"no alias 'defaults'\. Did you mean 'default'\?"):
        run("--database", "defaults")


def test_tables_that_are_not_there_are_an_error() -> None:
    with pytest.raises(CommandError, match="'default' has no table ai_assistant_aioperation"):
        run()


@pytest.mark.usefixtures("original")
def test_columns_that_are_not_there_are_an_error() -> None:
    field: Any = obcms.Operation._meta.get_field("cached")
    with connection.schema_editor() as editor:
        editor.remove_field(obcms.Operation, field)
    with pytest.raises(CommandError, match=r"_aioperation in the .* has no column cached"):
        run()


@pytest.mark.usefixtures("original")
def test_a_database_that_fails_is_told_and_the_next_run_goes_on() -> None:
    put(*(obcms.operation() for _ in range(700)))

    def fail(execute: Any, sql: str, *rest: Any) -> Any:
        if "ai_assistant_aioperation" in sql and " > " in sql:  # the second batch
            raise OperationalError("The server went away.")
        return execute(sql, *rest)

    with (
        connection.execute_wrapper(fail),
        pytest.raises(CommandError, match=r"The server went away\. What is imported stays"),
    ):
        run()
    assert AIOperation.objects.count() == 500
    assert run()[0].startswith("operations: 200 imported")
