"""Conversations of the original, whose they become, and what stays behind."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db import connections
from django.test import override_settings
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from django_obc_ai.models import AIOperation, ChatMessage, Conversation
from django_obc_ai.querysets import default_zone
from django_obc_ai.services.conversations import list_conversations
from django_obc_ai.services.obcms import LeftEmbeddings, import_obcms
from tests import obcms
from tests.obcms import BEGAN, put
from tests.servers.databases import sqlite_settings

pytestmark = pytest.mark.django_db(transaction=True)
NOT_HERE = "conversations left behind: their user is not here"
NOBODYS = "operations whose user is not here: they are nobody's"
LATER = BEGAN + datetime.timedelta(hours=1)


def scope_of(user: Any) -> str:
    return "" if user is None else f"office of {user.username}"


@pytest.fixture
def original(transactional_db: None) -> Iterator[None]:
    with obcms.original_in("default"):
        yield


@pytest.fixture
def amina() -> Any:
    return get_user_model().objects.create(username="amina")


def messages() -> list[tuple[str, str]]:
    return list(ChatMessage.objects.values_list("role", "text"))


@pytest.mark.usefixtures("original")
class TestConversations:
    def test_it_is_its_users_as_it_was(self, amina: Any) -> None:
        old = obcms.conversation("Where is\n Marawi?", "In Lanao.", user_id=amina.pk, title="")
        put(old, obcms.conversation("Q", user_id=amina.pk, title="Policies " * 20))
        report = import_obcms()
        assert (report.conversations, report.messages, report.notes) == (2, 3, {})
        assert {each.pk for each in list_conversations(user=amina)} == set(
            obcms.Conversation._default_manager.values_list("pk", flat=True)
        )
        found = Conversation.objects.get(pk=old.pk)
        assert found.title == "Where is Marawi?"
        assert (found.created_at, found.updated_at) == (BEGAN, old.updated_at)
        said = [(each.role, each.text, each.created_at) for each in found.messages.all()]
        assert said == [
            ("user", "Where is\n Marawi?", BEGAN),
            ("assistant", "In Lanao.", BEGAN + datetime.timedelta(seconds=1)),
        ]
        assert Conversation.objects.exclude(pk=old.pk).get().title == ("Policies " * 20)[:80]

    def test_a_second_run_leaves_what_was_said_since_alone(self, amina: Any) -> None:
        put(obcms.conversation("Q", "A", user_id=amina.pk))
        import_obcms()
        ChatMessage.objects.create(conversation=Conversation.objects.get(), role="user", text="R")
        report = import_obcms()
        assert (report.conversations, report.known_conversations) == (0, 1)
        assert [text for _, text in messages()] == ["Q", "A", "R"]

    def test_what_is_no_message_is_counted(self, amina: Any) -> None:
        put(
            obcms.conversation(
                {"role": "system", "content": "You are helpful."},
                7,
                {"role": "user", "content": None},
                {"role": "user", "content": "  "},
                {"role": "assistant", "content": "A"},
                user_id=amina.pk,
            ),
            obcms.conversation({"role": "tool", "content": "x"}, user_id=amina.pk),
            obcms.conversation(messages="[]", user_id=amina.pk),
        )
        report = import_obcms()
        assert (report.conversations, messages()) == (1, [("assistant", "A")])
        assert report.notes == {
            "messages left behind: neither a user's nor an assistant's": 3,
            "messages left behind: without text": 2,
            "conversations whose messages are no list": 1,
            "messages without a time: they have that of the one before": 1,
            "conversations left behind: nothing was said in them": 2,
        }

    @pytest.mark.parametrize(
        ("timestamp", "at"),
        [
            (LATER.isoformat(), LATER),
            ("2025-10-07T05:00:00", LATER),  # of Manila
            ("2025-13-01T00:00:00", BEGAN),
            ("yesterday", BEGAN),
            (None, BEGAN),
            (1_759_784_400, BEGAN),
        ],
    )
    def test_times_are_those_that_were_written_down(
        self, timestamp: Any, at: datetime.datetime, amina: Any
    ) -> None:
        said = {"role": "user", "content": "Q", "timestamp": timestamp}
        put(obcms.conversation(said, user_id=amina.pk))
        report = import_obcms()
        assert ChatMessage.objects.get().created_at == at
        assert sum(report.notes.values()) == (at == BEGAN)

    def test_times_have_no_zone_where_the_project_has_none(self, amina: Any) -> None:
        with override_settings(USE_TZ=False):
            for timestamp in (LATER.isoformat(), "2025-10-07T05:00:00"):
                said = {"role": "user", "content": "Q", "timestamp": timestamp}
                put(
                    obcms.conversation(
                        said,
                        user_id=amina.pk,
                        created_at=BEGAN.replace(tzinfo=None),
                    )
                )
            import_obcms()
            times = set(ChatMessage.objects.values_list("created_at", flat=True))
        assert times == {LATER.astimezone(default_zone()).replace(tzinfo=None)}

    def test_what_is_too_old_to_be_kept_is_not_brought_back(
        self, amina: Any, settings: Any
    ) -> None:
        settings.OBC_AI = {"CHAT": {"retention_days": 30}}
        days = (29, 31)
        put(
            *(
                obcms.conversation(
                    "Q", user_id=amina.pk, updated_at=timezone.now() - datetime.timedelta(days=each)
                )
                for each in days
            )
        )
        report = import_obcms()
        assert report.conversations == 1
        assert report.notes == {"conversations left behind: older than CHAT['retention_days']": 1}
        settings.OBC_AI = {"CHAT": {"retention_days": None}}
        assert import_obcms().conversations == 1

    def test_who_is_gone_leaves_costs_and_no_words(self) -> None:
        put(obcms.conversation("Q", "A", user_id=99))
        put(obcms.operation(user_id=99), obcms.operation())
        report = import_obcms()
        assert (report.operations, report.conversations) == (2, 0)
        assert report.notes == {NOT_HERE: 1, NOBODYS: 1}
        assert not AIOperation.objects.exclude(user_id=None).exists()

    def test_rows_belong_to_the_tenant_of_their_user(self, amina: Any, settings: Any) -> None:
        settings.OBC_AI = {"SCOPE": scope_of}
        put(obcms.conversation("Q", "A", user_id=amina.pk))
        put(obcms.operation(user_id=amina.pk), obcms.operation())
        import_obcms()
        assert list_conversations(user=amina).count() == 1
        scopes = AIOperation.objects.values_list("scope", flat=True)
        assert sorted(scopes) == ["", "office of amina"]


@pytest.mark.usefixtures("original")
def test_embeddings_stay_and_are_told_by_model() -> None:
    place, user = (
        ContentType.objects.get(app_label=app, model=model).pk
        for app, model in (("testapp", "place"), ("auth", "user"))
    )
    many = [("communities", place, 3), ("people", user, 1), ("policies", 987654, 2)]
    put(
        *(
            obcms.Embedding(
                content_type_id=key, object_id=n, embedding_hash="d" * 32, index_name=index
            )
            for index, key, count in many
            for n in range(count)
        )
    )
    embedder = "sentence-transformers/all-MiniLM-L6-v2"
    found = {each.model: each for each in import_obcms().embeddings}
    assert found["testapp.place"] == LeftEmbeddings(
        model="testapp.place", old_index="communities", embedder=embedder, count=3, index="places"
    )
    assert (found["auth.user"].index, found["auth.user"].count) == ("", 1)
    assert found["content type 987654"].count == 2


@pytest.fixture(scope="module")
def old(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """A database of its own with Django's tables, on SQLite, under the alias "old"."""
    with tempfile.TemporaryDirectory() as folder:
        entries = {"default": {}, "old": sqlite_settings(Path(folder) / "old.sqlite3")}
        connections.databases["old"] = connections.configure_settings(entries)["old"]
        connection = connections["old"]
        with django_db_blocker.unblock():
            connection.creation.create_test_db(verbosity=0, autoclobber=True)
        yield "old"
        with django_db_blocker.unblock():
            connection.close()
        del connections["old"]
        del connections.databases["old"]


@pytest.mark.django_db(transaction=True, databases=["default", "old"])
class TestADatabaseOfItsOwn:
    @pytest.fixture(autouse=True)
    def _original(self, old: str, transactional_db: None) -> Iterator[None]:
        with obcms.original_in(old):
            yield

    def fill(self, user: Any) -> None:
        put(obcms.operation(user_id=user.pk), alias="old")
        put(obcms.conversation("Q", "A", user_id=user.pk), alias="old")

    def test_a_user_of_the_same_key_and_name_is_the_same(self, amina: Any) -> None:
        self.fill(amina)
        get_user_model().objects.using("old").create(pk=amina.pk, username="amina")
        report = import_obcms("old")
        assert (report.operations, report.conversations, report.notes) == (1, 1, {})
        assert AIOperation.objects.get().user_id == amina.pk

    def test_a_user_of_the_same_key_and_another_name_is_another(self, amina: Any) -> None:
        self.fill(amina)
        get_user_model().objects.using("old").create(pk=amina.pk, username="omar")
        report = import_obcms("old")
        assert report.notes == {NOT_HERE: 1, NOBODYS: 1}
        assert not Conversation.objects.exists()

    def test_nobody_is_recognised_without_names_to_compare(self, amina: Any) -> None:
        self.fill(amina)
        with connections["old"].schema_editor() as editor:
            editor.alter_db_table(get_user_model(), "auth_user", "common_user")
        try:
            report = import_obcms("old")
        finally:
            with connections["old"].schema_editor() as editor:
                editor.alter_db_table(get_user_model(), "common_user", "auth_user")
        missing = "table of users to compare with is missing in 'old': nobody is recognised"
        assert report.notes == {NOT_HERE: 1, NOBODYS: 1, missing: 1}
        assert AIOperation.objects.get().user_id is None


def test_a_key_of_another_kind_is_nobodys(amina: Any) -> None:
    from django_obc_ai.services._obcms_people import Owners

    owners = Owners("default")
    assert list(owners.find([None, "no number", amina.pk])) == [amina.pk]
    assert owners.find([str(amina.pk)])[str(amina.pk)].key == amina.pk
