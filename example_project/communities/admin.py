"""Places in the admin."""

from __future__ import annotations

from collections.abc import Sequence

from django.contrib import admin
from django.http import HttpRequest

from communities.models import Community, Municipality, Place, Province, Region


class PlaceAdmin(admin.ModelAdmin):
    """What places of every level have in common."""

    def get_readonly_fields(self, request: HttpRequest, obj: Place | None = None) -> Sequence[str]:
        """Return the code once it is given: saving another one would make a second place."""
        return ("code",) if obj else ()


@admin.register(Region)
class RegionAdmin(PlaceAdmin):
    """Regions; there are 18."""

    list_display = ("name", "code", "population")
    search_fields = ("name", "=code")


@admin.register(Province)
class ProvinceAdmin(PlaceAdmin):
    """Provinces and what stands in their place."""

    list_display = ("name", "code", "level", "region", "population")
    list_filter = ("level", "region")
    list_select_related = ("region",)
    search_fields = ("name", "=code")
    autocomplete_fields = ("region",)


@admin.register(Municipality)
class MunicipalityAdmin(PlaceAdmin):
    """Municipalities, cities and districts of Manila."""

    list_display = ("name", "code", "level", "province", "population")
    list_filter = ("level", "province__region")
    list_select_related = ("province",)
    search_fields = ("name", "=code", "province__name")
    autocomplete_fields = ("province",)


@admin.register(Community)
class CommunityAdmin(PlaceAdmin):
    """Barangays. Saving or deleting one here brings the search index up to date."""

    list_display = ("name", "code", "municipality", "province", "setting", "population")
    list_filter = ("setting", "is_town_centre", "is_position_verified", "municipality__province")
    list_select_related = ("municipality__province",)
    search_fields = ("name", "=code", "former_names", "municipality__name")
    autocomplete_fields = ("municipality",)
    list_per_page = 50

    @admin.display(ordering="municipality__province__name")
    def province(self, community: Community) -> str:
        """Return the name of the province."""
        return community.municipality.province.name
