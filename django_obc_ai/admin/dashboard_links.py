"""Where the figures of the dashboard lead: the lists of the rows that they count."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from django_obc_ai.querysets import day_bounds

#: Which filter of the list belongs to a dimension of a breakdown.
FILTERS = {
    "module": "module",
    "operation_type": "operation_type",
    "model": "model_used",
    "user": "user__id",
    "scope": "scope",
}
#: Any: what a filter takes.
ANSWERED_ANEW: dict[str, Any] = {
    "success__exact": 1,
    "cached__exact": 0,
    "coalesced__exact": 0,
}
COALESCED: dict[str, Any] = {"coalesced__exact": 1, "success__exact": 1}
#: So many values are named in one address, of so many characters together.
_MOST_VALUES = 40
_LONGEST = 1_500


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The days and the breakdown that are shown."""

    first: datetime.date
    last: datetime.date
    by: str

    def query(self, **changes: Any) -> str:
        """Return the choice as a query string, with changes."""
        values = {"from": self.first, "to": self.last, "by": self.by, **changes}
        return urlencode(values)


class Link:
    """Addresses of filtered lists; "" for lists that the viewer may not see."""

    def __init__(self, request: HttpRequest, site: Any, choice: Choice) -> None:
        """Take who looks, the admin site (Any) and the days."""
        self._user: Any = request.user
        self._site = site.name
        self._choice = choice
        self._bounds: dict[datetime.date | None, str] = {}

    def __call__(self, *, first: datetime.date | None = None, **more: Any) -> str:
        """Return the operations of one day, by default of the chosen ones, with more filters."""
        if first not in self._bounds:
            start, end = day_bounds(first or self._choice.first, first or self._choice.last)
            self._bounds[first] = self.between(start, end)
        url = self._bounds[first]
        return f"{url}&{urlencode(more)}" if url and more else url

    def between(
        self, start: datetime.datetime | None, end: datetime.datetime | None, **more: Any
    ) -> str:
        """Return the operations that began in [start, end); None is no bound."""
        bounds = {"created_at__gte": start, "created_at__lt": end}
        values = {
            name: _stored(each).isoformat() for name, each in bounds.items() if each is not None
        }
        url = self.to("aioperation")
        return url and f"{url}?{urlencode({**values, **more})}"

    def listed(self, model: str, **filters: Any) -> str:
        """Return the list of a model's rows under some filters; moments are as `timezone.now`'s."""
        url = self.to(model)
        values = {
            name: each.isoformat() if isinstance(each, datetime.datetime) else each
            for name, each in filters.items()
        }
        return url and f"{url}?{urlencode(values)}"

    def to(self, model: str, *key: str) -> str:
        """Return the list of a model's rows, or one row by its key."""
        if not self._user.has_perm(f"django_obc_ai.view_{model}"):
            return ""
        return find_page(self._site, model, *key)


def find_page(site: str, model: str, *key: Any) -> str:
    """Return the list of a model's rows in an admin site, or one row by its key (Any kind).

    It is "" where that site, one of the project's own, does not have the model.
    """
    page = "change" if key else "changelist"
    try:
        return reverse(f"{site}:django_obc_ai_{model}_{page}", args=key)
    except NoReverseMatch:
        return ""


def _stored(moment: datetime.datetime) -> datetime.datetime:
    """Return a moment as the database holds it."""
    return moment if settings.USE_TZ or timezone.is_naive(moment) else timezone.make_naive(moment)


def filter_of(dimension: str, *values: str) -> dict[str, Any] | None:
    """Return the filters of rows with one of some values; None if no address can say it."""
    column = FILTERS[dimension]
    if dimension == "user" and "" in values:
        return {"user__isnull": 1} if len(values) == 1 else None
    if len(values) == 1:
        return {f"{column}__exact": values[0]}
    whole = ",".join(values)
    is_told = len(values) <= _MOST_VALUES and len(whole) <= _LONGEST
    if not is_told or any("," in each for each in values):
        return None
    return {f"{column}__in": whole}
