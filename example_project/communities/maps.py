"""Dot maps drawn from positions alone: no tiles, no outside service, no script.

Every community is a dot; together they draw the coast. A map holds what a template needs
to write it as inline SVG, in units of the SVG's own coordinate system.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDTH = 1000
_MARGIN = 30
_MIN_SPAN_DEGREES = 0.04
_MAX_DOTS = 6_000
_GRID_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
TONES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A position on earth, in degrees, with the group it is drawn in."""

    latitude: float
    longitude: float
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """The dots of one group as the data of one SVG path.

    Attributes:
        tone: Number of its colour, from 1 to `TONES`.
    """

    group: str
    tone: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GridLine:
    """A meridian or parallel: where it lies on the map, and its label."""

    at: int
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A place that is pointed out, with the number it has in the list beside the map."""

    x: int
    y: int
    number: int
    label: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """Equirectangular, true to scale at the middle latitude; good for a country."""

    west: float
    north: float
    x_scale: float
    y_scale: float
    height: int

    @classmethod
    def fit(cls, points: Sequence[Point]) -> Projection:
        """Return the projection that fills the map with the points, of which there is one."""
        south, north = _span([point.latitude for point in points])
        west, east = _span([point.longitude for point in points])
        x_scale = (WIDTH - 2 * _MARGIN) / (east - west)
        y_scale = x_scale / math.cos(math.radians((south + north) / 2))
        return cls(
            west=west,
            north=north,
            x_scale=x_scale,
            y_scale=y_scale,
            height=round((north - south) * y_scale) + 2 * _MARGIN,
        )

    def place(self, latitude: float, longitude: float) -> tuple[int, int]:
        """Return x and y of a position on the map."""
        return (
            round(_MARGIN + (longitude - self.west) * self.x_scale),
            round(_MARGIN + (self.north - latitude) * self.y_scale),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DotMap:
    """A drawn map, still without marks."""

    projection: Projection
    dot_size: int
    layers: tuple[Layer, ...]
    meridians: tuple[GridLine, ...]
    parallels: tuple[GridLine, ...]

    @property
    def width(self) -> int:
        """Return the width of the SVG's view box."""
        return WIDTH

    @property
    def height(self) -> int:
        """Return the height of the SVG's view box."""
        return self.projection.height


def draw(points: Iterable[Point]) -> DotMap | None:
    """Return the map of the points, groups in order of first appearance; None without any.

    Points that would crowd the page are merged on a coarser and coarser raster, so that a
    map of the whole country stays about as large as a map of one region.
    """
    points = list(points)
    if not points:
        return None
    projection = Projection.fit(points)
    step = 1
    while len(cells := _raster(points, projection, step)) > _MAX_DOTS:
        step += 1
    groups = list(dict.fromkeys(point.group for point in points))
    paths: dict[str, list[str]] = {group: [] for group in groups}
    for (column, row), group in cells.items():
        paths[group].append(f"M{column * step} {row * step}h0")
    spacing = math.sqrt(WIDTH * projection.height / len(cells))
    return DotMap(
        projection=projection,
        dot_size=max(step, min(14, round(spacing * 0.32))),
        layers=tuple(
            Layer(group=group, tone=number % TONES + 1, path="".join(paths[group]))
            for number, group in enumerate(groups)
        ),
        meridians=_meridians(projection),
        parallels=_parallels(projection),
    )


def _raster(
    points: Sequence[Point], projection: Projection, step: int
) -> dict[tuple[int, int], str]:
    cells: dict[tuple[int, int], str] = {}
    for point in points:
        x, y = projection.place(point.latitude, point.longitude)
        cells.setdefault((x // step, y // step), point.group)
    return cells


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    missing = max(0.0, _MIN_SPAN_DEGREES - (high - low)) / 2
    return low - missing, high + missing


def _meridians(projection: Projection) -> tuple[GridLine, ...]:
    east = projection.west + (WIDTH - 2 * _MARGIN) / projection.x_scale
    return tuple(
        GridLine(at=projection.place(0, degrees)[0], label=f"{degrees:g}°E")
        for degrees in _round_degrees(projection.west, east)
    )


def _parallels(projection: Projection) -> tuple[GridLine, ...]:
    south = projection.north - (projection.height - 2 * _MARGIN) / projection.y_scale
    return tuple(
        GridLine(at=projection.place(degrees, 0)[1], label=f"{degrees:g}°N")
        for degrees in _round_degrees(south, projection.north)
    )


def _round_degrees(low: float, high: float) -> list[float]:
    step = next((each for each in _GRID_STEPS if (high - low) / each <= 6), _GRID_STEPS[-1])
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(number * step, 2) for number in range(first, last + 1)]
