"""Indexes of the test models: hidden rows, and every kind of primary key."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet

from django_obc_ai.indexes import VectorIndex, register
from tests.testapp.models import CompositeThing, Place, Slugged, UUIDThing


@register
class PlaceIndex(VectorIndex):
    """Hidden places are seen by their owner only."""

    name = "places"
    model = Place
    filter_fields = ("province", "owner__username")

    def get_text(self, instance: Place) -> str:
        if instance.name == "unreadable":
            raise RuntimeError("this text cannot be computed")
        tags = " ".join(sorted(tag.name for tag in instance.tags.all()))
        return f"{instance.name}, {instance.province} {tags}".strip(", ")

    def get_queryset(self) -> QuerySet[Place]:
        return Place.objects.exclude(name__startswith="deleted ")

    def visible_to(self, queryset: QuerySet[Place], user: Any) -> QuerySet[Place]:
        own = Q(owner_id=user.pk) if user is not None and user.pk else Q(pk__in=[])
        return queryset.filter(Q(is_hidden=False) | own)


class _Public(VectorIndex):
    def visible_to(self, queryset: QuerySet[Any], user: Any) -> QuerySet[Any]:
        return queryset


@register
class UUIDIndex(_Public):
    name = "uuids"
    model = UUIDThing
    fields = ("title",)


@register
class SluggedIndex(_Public):
    name = "slugs"
    model = Slugged
    fields = ("slug", "title")


@register
class CompositeIndex(_Public):
    name = "composites"
    model = CompositeThing
    fields = ("title",)
