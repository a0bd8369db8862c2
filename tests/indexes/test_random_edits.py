"""Any sequence of edits: index == queryset, and searches see what they should."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from django_obc_ai.models import DirtyRow
from django_obc_ai.services.changes import IndexedQuerySet
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.services.search import SimilaritySearchService
from django_obc_ai.testing import override_ai
from tests.testapp.models import Place, Tag

NAMES = st.sampled_from(["river", "river market", "coast", "deleted river", ""])
CHOICES = st.integers(min_value=0, max_value=9)


class _UndoneError(Exception):
    pass


class Edits(RuleBasedStateMachine):
    """The model is the table itself, read by `visible` below."""

    def __init__(self) -> None:
        super().__init__()
        Place.objects.all().delete()
        Tag.objects.all().delete()
        IndexingService().index("places")

    def some(self, choice: int) -> Any:
        pks = list(Place.objects.order_by("pk").values_list("pk", flat=True))
        return IndexedQuerySet(Place).filter(pk__in=pks[choice % 3 :: 3])

    @rule(name=NAMES, is_hidden=st.booleans())
    def create(self, name: str, is_hidden: bool) -> None:
        Place.objects.create(name=name, is_hidden=is_hidden)

    @rule(names=st.lists(NAMES, max_size=4))
    def create_many(self, names: list[str]) -> None:
        IndexedQuerySet(Place).bulk_create([Place(name=name) for name in names])

    @rule(choice=CHOICES, name=NAMES, is_hidden=st.booleans())
    def save(self, choice: int, name: str, is_hidden: bool) -> None:
        for place in self.some(choice):
            place.name, place.is_hidden = name, is_hidden
            place.save()

    @rule(choice=CHOICES)
    def delete(self, choice: int) -> None:
        self.some(choice).delete()

    @rule(choice=CHOICES, name=NAMES, is_undone=st.booleans())
    def update(self, choice: int, name: str, is_undone: bool) -> None:
        try:
            with transaction.atomic():
                self.some(choice).update(name=name)
                if is_undone:
                    raise _UndoneError
        except _UndoneError:
            pass

    @rule(choice=CHOICES)
    def tag(self, choice: int) -> None:
        tag, is_new = Tag.objects.get_or_create(name="upland")
        tag.places.set(self.some(choice)) if is_new or choice % 2 else tag.places.clear()

    @rule(is_rebuilt=st.booleans())
    def index(self, is_rebuilt: bool) -> None:
        IndexingService().index("places", rebuild=is_rebuilt)

    @invariant()
    def index_equals_queryset(self) -> None:
        report = IndexingService().verify("places")
        assert report.is_equal, report
        assert not DirtyRow.objects.exists()

    @invariant()
    def searches_return_visible_rows_alone(self) -> None:
        found = SimilaritySearchService().search("places", "river", user=None, k=100, threshold=-1)
        visible = Place.objects.filter(is_hidden=False).exclude(name__startswith="deleted ")
        assert {each.object.pk for each in found} <= set(visible.values_list("pk", flat=True))

    @invariant()
    def searches_by_words_return_the_rows_that_hold_them(self) -> None:
        service = SimilaritySearchService()
        for word in ("river", "market", "upland"):
            found = service.search("places", word, user=None, k=100, mode="lexical")
            rows = Place.objects.filter(is_hidden=False).exclude(name__startswith="deleted ")
            named = rows.filter(name__contains=word) | rows.filter(tags__name=word)
            assert {each.object.pk for each in found} == {each.pk for each in named}


@pytest.mark.django_db(transaction=True)
def test_any_sequence_of_edits_leaves_index_and_queryset_equal() -> None:
    with override_ai():
        run_state_machine_as_test(
            Edits,
            settings=settings(
                max_examples=12,
                stateful_step_count=15,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
