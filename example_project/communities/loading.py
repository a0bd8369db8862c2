"""Bringing the tables into line with the place data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import models, transaction

from communities.models import Place
from communities.psgc_source import PlaceData

_BATCH_SIZE = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedTable:
    """What loading did to one table."""

    label: str
    total: int
    created: int
    updated: int

    @property
    def unchanged(self) -> int:
        """Return how many rows were right already."""
        return self.total - self.created - self.updated


@transaction.atomic
def load_places(data: PlaceData) -> list[LoadedTable]:
    """Create or update every place in one transaction; write only what differs.

    Rows that the data do not hold are left alone. Bulk writes send no signals, so the
    search index learns of the changes at the next ``ai_index communities``.
    """
    return [_load_table(places) for places in data]


def _load_table(places: Sequence[Place]) -> LoadedTable:
    model: Any = type(places[0])  # Any: one of four models, chosen by the data
    # attname: "region_id" and not "region", whose access would fetch the region
    names = [field.attname for field in model._meta.concrete_fields]
    stored = {row[0]: row for row in model.objects.values_list(*names)}
    missing = [place for place in places if place.pk not in stored]
    changed = [
        place for place in places if place.pk in stored and stored[place.pk] != _row(place, names)
    ]
    model.objects.bulk_create(
        [*missing, *changed],
        batch_size=_BATCH_SIZE,
        update_conflicts=True,
        unique_fields=["code"],
        update_fields=[f.name for f in model._meta.concrete_fields if not f.primary_key],
    )
    return LoadedTable(
        label=str(
            model._meta.verbose_name if len(places) == 1 else model._meta.verbose_name_plural
        ),
        total=len(places),
        created=len(missing),
        updated=len(changed),
    )


def _row(place: models.Model, names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(getattr(place, name) for name in names)
