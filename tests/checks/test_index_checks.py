"""One test for each system check of the declared indexes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core import checks
from django.db import connection, models
from django.db.models import QuerySet
from django.test import override_settings
from django.test.utils import isolate_apps

from django_obc_ai.backends.embedders.hashing import HashingEmbedder
from django_obc_ai.indexes import VectorIndex, get_index, register
from django_obc_ai.indexes.registry import unregister
from django_obc_ai.models import IndexState
from django_obc_ai.testing import index_now
from tests.checks.test_checks import assert_only, found, ours
from tests.fakes import TinyEmbedder, entry
from tests.testapp.ai_indexes import PlaceIndex
from tests.testapp.models import Place


class Sound(VectorIndex):
    name = "sound"
    model = Place
    fields = ("name", "owner__username")
    filter_fields = ("pk", "province", "tags__name", "owner")

    def visible_to(self, queryset: QuerySet[Any], user: Any) -> QuerySet[Any]:
        return queryset


@contextmanager
def declared(**attributes: Any) -> Iterator[None]:
    """Register an index that differs from a sound one."""
    register(type("Changed", (Sound,), attributes))
    try:
        yield
    finally:
        unregister("sound")


def faults(**attributes: Any) -> list[checks.CheckMessage]:
    with declared(**attributes):
        return found()


def test_a_sound_index_is_silent() -> None:
    assert faults() == []
    assert faults(dependencies=("owner", "tags", "owner__groups", "child")) == []


@pytest.mark.parametrize(
    "paths", [("nothing",), ("owner__nothing",), ("owner__username",), "owner"]
)
def test_E016_dependencies_that_are_no_relations(paths: Any) -> None:  # noqa: N802
    (message,) = faults(dependencies=paths)
    assert_only("E016", [message], "The index 'sound' (")


def test_E009_no_visible_to() -> None:  # noqa: N802
    (message,) = faults(visible_to=VectorIndex.visible_to)
    assert_only("E009", [message], "The index 'sound' (")
    assert "does not define visible_to(self, queryset, user)." in message.msg
    assert message.hint is not None
    assert "'return queryset' makes all rows public" in message.hint


def test_a_class_between_may_define_visible_to() -> None:
    class Middle(PlaceIndex):
        pass

    assert faults(visible_to=Middle.visible_to) == []


def test_E011_neither_fields_nor_text() -> None:  # noqa: N802
    assert_only("E011", faults(fields=()), "has neither fields nor get_text().")
    assert faults(fields=(), get_text=lambda self, instance: instance.name) == []


@isolate_apps("tests.testapp")
def test_a_key_longer_than_the_index_can_hold_is_e011() -> None:
    class Long(models.Model):
        key = models.CharField(max_length=256, primary_key=True)

        class Meta:
            app_label = "testapp"

    messages = faults(model=Long, fields=("key",), filter_fields=())
    assert_only("E011", messages, "the primary key of testapp.Long may be longer than 255")


@pytest.mark.parametrize("attribute", ["fields", "filter_fields"])
@pytest.mark.parametrize(
    ("path", "text", "nearest"),
    [
        ("nam", "'nam' names 'nam', which testapp.Place lacks.", "'name'"),
        ("owner__user_name", "names 'user_name', which auth.User lacks.", "'username'"),
        ("owners__username", "names 'owners', which testapp.Place lacks.", "'owner'"),
    ],
)
def test_a_path_that_leads_nowhere_is_e011(
    attribute: str, path: str, text: str, nearest: str
) -> None:
    (message,) = faults(**{attribute: ("name", path)})
    assert_only("E011", [message], text)
    assert f", {attribute}: " in message.msg
    assert message.hint is not None and f"Did you mean {nearest}?" in message.hint


def test_a_path_through_the_primary_key_is_fine() -> None:
    assert faults(fields=("pk", "owner__pk"), filter_fields=("owner__pk",)) == []


def test_properties_can_be_indexed_but_not_filtered_by() -> None:
    assert faults(fields=("owner__is_anonymous", "owner__get_full_name")) == []
    assert_only("E011", faults(filter_fields=("owner__is_anonymous",)), "names 'is_anonymous'")


@pytest.mark.parametrize("path", ["tags", "tags__name", "owner__places__name"])
def test_a_field_with_many_values_has_no_text_of_its_own(path: str) -> None:
    messages = faults(fields=("name", path))
    assert_only("E011", messages, "has many values")
    assert faults(filter_fields=(path,)) == []


@pytest.mark.parametrize(
    ("attribute", "setting"), [("embedder", "EMBEDDERS"), ("vector_store", "VECTOR_STORES")]
)
def test_an_alias_that_settings_lack_is_e011(attribute: str, setting: str) -> None:
    (message,) = faults(**{attribute: "defaults"})
    assert_only("E011", [message], f"names the {attribute} 'defaults', which OBC_AI['{setting}']")
    assert message.hint is not None and "Did you mean 'default'?" in message.hint


def test_aliases_are_not_looked_up_in_broken_settings() -> None:
    with declared(embedder="other"):
        assert_only("E002", found(RETRY=3))


def database_messages(**obc_ai: Any) -> list[checks.CheckMessage]:
    with override_settings(OBC_AI=obc_ai):
        return ours(checks.run_checks(tags=["database"], databases=["default"]))


@pytest.mark.django_db
def test_W004_index_with_changed_embedder() -> None:  # noqa: N802
    assert database_messages() == []
    Place.objects.create(name="Poblacion")
    index_now("places", "slugs")
    assert database_messages() == []
    messages = database_messages(EMBEDDERS=entry(TinyEmbedder))
    assert_only("W004", messages, "The index 'places' was built with another embedder or text")
    assert len(messages) == 2
    assert messages[0].hint is not None
    assert "Run: manage.py ai_index places See" in messages[0].hint
    wider = entry(HashingEmbedder, dimension=2_048)
    assert_only("W004", database_messages(EMBEDDERS=wider))


@pytest.mark.django_db
def test_a_changed_text_template_is_w004_too(monkeypatch: pytest.MonkeyPatch) -> None:
    index_now("places")
    monkeypatch.setattr(PlaceIndex, "text_version", "2")
    assert_only("W004", database_messages(), "The index 'places'")


@pytest.mark.django_db
def test_the_database_is_left_alone_unless_it_is_asked_for() -> None:
    index_now("places")
    with override_settings(OBC_AI={"EMBEDDERS": entry(TinyEmbedder)}):
        assert ours(checks.run_checks()) == []
        assert ours(checks.run_checks(tags=["database"], databases=[])) == []


@pytest.mark.django_db
def test_an_embedder_that_cannot_be_built_is_reported_by_the_database_check() -> None:
    index_now("places")
    assert_only("E003", database_messages(EMBEDDERS=entry("no.such.Embedder")))


@pytest.mark.django_db(transaction=True)
def test_a_database_without_tables_has_no_index_to_report() -> None:
    table = IndexState._meta.db_table
    with connection.schema_editor() as editor:
        editor.alter_db_table(IndexState, table, "hidden_state")
    try:
        assert database_messages(EMBEDDERS=entry(TinyEmbedder)) == []
    finally:
        with connection.schema_editor() as editor:
            editor.alter_db_table(IndexState, "hidden_state", table)


def test_the_registered_indexes_are_left_as_they_were() -> None:
    assert get_index("places").model is Place
