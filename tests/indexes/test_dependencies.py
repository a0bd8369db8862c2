"""Related rows, bulk writes, and saves that a kill cannot tear."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, models, transaction
from django.db.models import Q

from django_obc_ai import receivers
from django_obc_ai.indexes import VectorIndex, get_index, register
from django_obc_ai.indexes.dependencies import resolve
from django_obc_ai.indexes.registry import unregister
from django_obc_ai.models import DirtyRow
from django_obc_ai.services.changes import IndexedQuerySet, marking
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.testing import override_ai
from tests.testapp.models import Child, Place, Tag

pytestmark = pytest.mark.django_db(transaction=True)


class Owned(VectorIndex):
    name = "owned"
    model = Place
    dependencies = ("owner__groups", "tags")

    def get_text(self, instance: Any) -> str:
        owner = instance.owner
        groups = " ".join(g.name for g in owner.groups.order_by("pk")) if owner else ""
        tags = " ".join(tag.name for tag in instance.tags.order_by("pk"))
        return f"{instance.name} {owner.username if owner else ''} {groups} {tags}"

    def visible_to(self, queryset: models.QuerySet[Any], user: Any) -> models.QuerySet[Any]:
        return queryset


class Users(VectorIndex):
    """A reverse relation: the text of a user lists the places."""

    name = "users"
    model = get_user_model()
    dependencies: ClassVar[Any] = ["places"]

    def get_text(self, instance: Any) -> str:
        return " ".join([instance.username, *(p.name for p in instance.places.order_by("pk"))])

    def visible_to(self, queryset: models.QuerySet[Any], user: Any) -> models.QuerySet[Any]:
        return queryset


@pytest.fixture(autouse=True)
def _indexes() -> Iterator[None]:
    with override_ai():
        for declared in (Owned, Users):
            register(declared)
            receivers.connect(get_index(declared.name))
        IndexingService().index("owned")
        IndexingService().index("users")
        yield
        for declared in (Owned, Users):
            receivers.disconnect(get_index(declared.name))
            unregister(declared.name)


def assert_equal() -> None:
    for name in ("owned", "users"):
        report = IndexingService().verify(name)
        assert report.is_equal, report
        assert not report.waiting


def test_a_renamed_related_row_reindexes_what_depends_on_it() -> None:
    user = get_user_model().objects.create(username="amina")
    Place.objects.create(name="Parang", owner=user)
    user.username = "norhata"
    user.save()
    assert_equal()


def test_a_row_at_the_end_of_a_longer_path_counts_and_so_do_relations_on_the_way() -> None:
    from django.contrib.auth.models import Group

    user = get_user_model().objects.create(username="amina")
    Place.objects.create(name="Parang", owner=user)
    group = Group.objects.create(name="elders")
    user.groups.add(group)
    assert_equal()
    group.name = "leaders"
    group.save()
    assert_equal()
    group.user_set.remove(user)
    assert_equal()
    group.user_set.add(user)
    group.user_set.clear()
    assert_equal()
    user.groups.add(group)
    group.delete()
    assert_equal()


def test_deleting_a_related_row_or_a_tag_counts() -> None:
    user = get_user_model().objects.create(username="amina")
    place = Place.objects.create(name="Parang", owner=user)
    tag = Tag.objects.create(name="coastal")
    place.tags.add(tag)
    tag.name = "inland"
    tag.save()
    assert_equal()
    tag.delete()
    assert_equal()
    user.delete()
    assert_equal()


def test_a_row_that_moves_between_two_objects_counts_for_both() -> None:
    first = get_user_model().objects.create(username="amina")
    second = get_user_model().objects.create(username="norhata")
    place = Place.objects.create(name="Parang", owner=first)
    place.owner = second
    place.save()
    assert_equal()
    Child.objects.create(name="Child", owner=first).delete()
    assert_equal()


def test_a_related_row_of_thousands_is_marked_in_few_queries(
    django_assert_max_num_queries: Any,
) -> None:
    user = get_user_model().objects.create(username="amina")
    Place.objects.bulk_create([Place(name=f"P {n}", owner=user) for n in range(3_000)])
    user.username = "norhata"
    with pytest.raises(RuntimeError), transaction.atomic():
        with django_assert_max_num_queries(16):
            user.save()
        assert DirtyRow.objects.filter(index_name="owned").count() == 3_000
        raise RuntimeError
    assert not DirtyRow.objects.exists()


def test_bulk_writes_of_an_indexed_queryset_mark_their_rows() -> None:
    rows = IndexedQuerySet(Place)
    made = rows.bulk_create([Place(name=f"Bulk {n}") for n in range(600)])
    assert_equal()
    assert rows.filter(name__startswith="Bulk 1").update(name="Other") == 111
    assert_equal()
    for place in made[:5]:
        place.name = "changed"
    rows.bulk_update(made[:5], ["name"])
    assert_equal()
    rows.bulk_create([Place(pk=made[0].pk, name="x"), Place(name="y")], ignore_conflicts=True)
    assert_equal()


def test_marking_covers_rows_that_leave_and_that_enter_a_queryset() -> None:
    Place.objects.create(name="Jolo")
    with marking(Place.objects.filter(Q(name="Jolo") | Q(name="Patikul"))):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE testapp_place SET name = 'Patikul'")
    assert_equal()


def test_bad_paths_are_named() -> None:
    for path in ("name", "owner__nothing", "owner__username"):
        with pytest.raises(ValueError, match="is no relation of"):
            resolve(Place, path)


_KILLED = """
import os, signal, django
django.setup()
from django.db.models.signals import post_save
from tests.testapp.models import Place
def die(**_):
    os.kill(os.getpid(), signal.SIGKILL)
# First in line: after Django's write of the row, before our receiver.
post_save.connect(die, sender=Place)
post_save.receivers.insert(0, post_save.receivers.pop())
post_save.sender_receivers_cache.clear()
Place.objects.create(name="Torn")
"""


def test_a_kill_between_the_row_and_its_outbox_row_loses_both() -> None:
    if connection.vendor == "sqlite" and connection.is_in_memory_db():
        pytest.skip("needs a database that two processes can open")
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        check=False,
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL
    assert not Place.objects.filter(name="Torn").exists()
    assert_equal()
