"""The search index of this app; django-obc-ai finds this module by its name."""

from __future__ import annotations

from typing import Any

from communities.models import Community, CommunityQuerySet
from django_obc_ai.indexes import VectorIndex, register


@register
class CommunityIndex(VectorIndex):
    """Every barangay, by its own names and those of the places it lies in."""

    name = "communities"
    model = Community
    fields = ("name", "former_names", "municipality__name", "municipality__province__name")
    filter_fields = ("municipality__province",)
    #: Places are asked for in two languages, and their names are in one: words of the question
    #: that happen to stand in a name would outrank what it means.
    search_mode = "vector"

    def get_queryset(self) -> CommunityQuerySet:
        """Return all communities, with the places whose names are indexed."""
        return Community.objects.with_places()

    def visible_to(self, queryset: CommunityQuerySet, user: Any) -> CommunityQuerySet:
        """Return the rows that a user may find: all of them, for anybody.

        That is a decision and not a default. The geographic code is published by the
        statistics authority for everyone. With rows that belong to someone, filter the
        queryset by the user here; every search passes through this method.
        """
        return queryset
