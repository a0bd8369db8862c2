"""What may be asked about this app's data; django-obc-ai finds this module by its name."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from communities.models import Community, Municipality, Province, Region
from django_obc_ai.chat import ChatModel, register


class PublicPlaces(ChatModel):
    """Everything, for anybody.

    That is a decision and not a default. The geographic code is published by the statistics
    authority for everyone. With rows that belong to someone, filter the queryset by the user,
    and leave ``needs_permission`` as it is.
    """

    needs_permission = False
    field_synonyms = {
        "population": (
            "residents", "people", "inhabitants", "populous", "residente", "tao", "matao",
            "mamamayan", "naninirahan", "populasyon",
        ),
    }  # fmt: skip

    def visible_to(self, queryset: QuerySet[Any], user: Any) -> QuerySet[Any]:
        """Return all rows."""
        return queryset


@register
class RegionChat(PublicPlaces):
    """Regions."""

    model = Region
    fields = {"name": "Official name.", "code": "PSGC code.", "population": "Census of 2024."}
    synonyms = ("rehiyon",)


@register
class ProvinceChat(PublicPlaces):
    """Provinces and what stands in their place."""

    model = Province
    fields = {
        "name": "Official name.",
        "code": "PSGC code.",
        "population": "Census of 2024.",
        "level": "What kind of unit it is.",
    }
    relations = ("region",)
    synonyms = ("lalawigan", "probinsya")


@register
class MunicipalityChat(PublicPlaces):
    """Municipalities, cities and districts."""

    model = Municipality
    fields = {
        "name": "Official name.",
        "code": "PSGC code.",
        "population": "Census of 2024.",
        "level": "What kind of unit it is.",
    }
    relations = ("province",)
    synonyms = ("bayan", "munisipyo", "munisipalidad", "town")


@register
class CommunityChat(PublicPlaces):
    """Barangays."""

    model = Community
    fields = {
        "name": "Official name.",
        "former_names": "Earlier names.",
        "population": "Residents in the census of 2024.",
        "setting": "Urban or rural, as the statistics authority classes it.",
        "is_town_centre": "Whether it is part of the poblacion.",
        "code": "PSGC code.",
    }
    relations = ("municipality",)
    synonyms = ("barangay", "pamayanan", "komunidad")
    field_synonyms = {
        **PublicPlaces.field_synonyms,
        "is_town_centre": ("poblacion", "town centre", "town center", "sentro", "kabayanan"),
    }
