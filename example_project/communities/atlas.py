"""The maps of the site's pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.core.cache import cache
from django.db.models import F

from communities.maps import DotMap, Mark, Point, draw
from communities.models import Community, CommunityQuerySet

_CACHE_SECONDS = 600


def draw_all() -> DotMap | None:
    """Return the map of all communities, grouped by the code of their province."""
    count = Community.objects.count()
    # The count in the key makes a load visible at once in every process.
    drawn: DotMap | None = cache.get_or_set(
        f"communities.atlas.{count}",
        lambda: draw(_points(Community.objects.all(), group="municipality__province_id")),
        _CACHE_SECONDS,
    )
    return drawn


def draw_provinces_of(communities: Iterable[Community]) -> DotMap | None:
    """Return the map of their provinces, grouped by the code of the municipality."""
    codes = {each.municipality.province_id for each in communities if each.is_position_verified}
    around = Community.objects.filter(municipality__province__in=codes)
    return draw(_points(around, group="municipality_id"))


def mark(drawn: DotMap | None, communities: Iterable[Community]) -> Sequence[Mark]:
    """Return a mark, numbered from 1, for each community that has its place on the map.

    The last comes first: SVG paints in document order, so the best result lies on top.
    """
    marks = []
    for number, community in enumerate(communities, start=1):
        if drawn is not None and community.is_position_verified:
            x, y = drawn.projection.place(community.latitude, community.longitude)
            url = community.get_absolute_url()
            marks.append(Mark(x=x, y=y, number=number, label=str(community), url=url))
    return marks[::-1]


def _points(communities: CommunityQuerySet, *, group: str) -> list[Point]:
    rows = communities.on_map().order_by("municipality__province__name", "code")
    return [
        Point(latitude=latitude, longitude=longitude, group=name)
        for latitude, longitude, name in rows.values_list("latitude", "longitude", F(group))
    ]
