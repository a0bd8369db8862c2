"""Change lists over tables of any length: what is read is bounded, whatever the filters.

A list counts up to `MOST` rows and has pages for so many; beyond, it says about how many there
are, and sorts only by what the table is ordered by. Days are links without a look at the rows.
"""

from __future__ import annotations

import calendar
import datetime
from typing import TYPE_CHECKING, Any

from django.contrib.admin.filters import AllValuesFieldListFilter, SimpleListFilter
from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.core.paginator import Paginator
from django.http import HttpRequest
from django.utils import formats, timezone
from django.utils.functional import cached_property
from django.utils.text import capfirst

from django_obc_ai.exceptions import ConfigurationError, ObcAIError
from django_obc_ai.querysets import BoundedQuerySet

if TYPE_CHECKING:
    BasePaginator = Paginator[Any]  # generic in the stubs only
else:
    BasePaginator = Paginator

#: Rows that are counted, sorted by any column, and reached by pages.
MOST = 10_000
#: Values that a filter offers.
MOST_VALUES = 50
_BY_TIME = ("created_at",)


class BoundedPaginator(BasePaginator):
    """Pages of the first `MOST` rows.

    Attributes:
        is_cut: Whether there are more rows than that.
        estimate: Then, about how many; None if the database cannot tell.
    """

    is_cut = False
    estimate: int | None = None

    @cached_property
    def count(self) -> int:
        """Return the number of rows, or `MOST`."""
        rows: Any = self.object_list
        if not isinstance(rows, BoundedQuerySet):  # the history of one row
            return int(rows.count())
        found = rows.count_up_to(MOST + 1)
        if found <= MOST:
            return found
        self.is_cut = True
        if not rows.query.has_filters():
            estimate = rows.estimated_count()
            self.estimate = None if estimate is None else max(estimate, found)
        return MOST

    @property
    def summary(self) -> str:
        """Return how many rows there are where they are not counted, in words."""
        if self.estimate is None:
            return f"More than {MOST:,}"
        return f"About {self.estimate:,} (estimated)"

    @property
    def most(self) -> str:
        """Return how many rows the pages show."""
        return f"{MOST:,}"


class LargeChangeList(ChangeList):
    """A change list that sorts by any column only where it is short, and links days by itself."""

    paginator: BoundedPaginator

    def get_ordering(self, request: HttpRequest, queryset: Any) -> Any:
        """Return what was asked for; a long list sorts by time alone."""
        if self.params.get(ORDER_VAR) and queryset.count_up_to(MOST + 1) > MOST:
            self.sortable_by = _BY_TIME
        return super().get_ordering(request, queryset)

    def get_ordering_field(self, field_name: Any) -> Any:
        """Return None for a column that this list does not sort by."""
        is_offered = self.sortable_by is None or field_name in self.sortable_by
        return super().get_ordering_field(field_name) if is_offered else None

    def get_results(self, request: HttpRequest) -> None:
        """Read one page."""
        super().get_results(request)
        if self.paginator.is_cut:
            self.sortable_by = _BY_TIME
            self.full_result_count = self.result_count  # the search form would call it exact

    @cached_property
    def dates(self) -> dict[str, Any]:
        """Return the links to years, months and days, as `admin/date_hierarchy.html` takes them.

        They lie between the first and the last row of the table, so that some may be empty.
        """
        rows = self.root_queryset.values_list("created_at", flat=True)
        first, last = rows.order_by("created_at").first(), rows.order_by("-created_at").first()
        if first is None or last is None:
            return {}
        bounds = _day_of(first), _day_of(last)
        chosen = [self.params.get(f"created_at__{part}") for part in ("year", "month", "day")]
        try:
            year, month, day = (None if each is None else int(each) for each in chosen)
            return self._dates(bounds, year, month, day)
        except ValueError:  # the list itself has refused them
            return {}

    def _dates(
        self,
        bounds: tuple[datetime.date, datetime.date],
        year: int | None,
        month: int | None,
        day: int | None,
    ) -> dict[str, Any]:
        first, last = bounds
        if year is None and first.year == last.year:
            year, month = first.year, (first.month if first.month == last.month else None)
        if year is None:
            years = range(first.year, last.year + 1)
            return {"choices": [{"link": self._link(each), "title": str(each)} for each in years]}
        if month is None:
            months = [datetime.date(year, each, 1) for each in range(1, 13)]
            kept = [each for each in months if first.replace(day=1) <= each <= last]
            choices = [
                {"link": self._link(year, each.month), "title": _title(each, "YEAR_MONTH_FORMAT")}
                for each in kept
            ]
            return {"back": {"link": self._link(), "title": "All dates"}, "choices": choices}
        if day is None:
            length = calendar.monthrange(year, month)[1]
            days = [datetime.date(year, month, each) for each in range(1, length + 1)]
            choices = [
                {
                    "link": self._link(year, month, each.day),
                    "title": _title(each, "MONTH_DAY_FORMAT"),
                }
                for each in days
                if first <= each <= last
            ]
            return {"back": {"link": self._link(year), "title": str(year)}, "choices": choices}
        chosen = datetime.date(year, month, day)
        title = _title(chosen, "YEAR_MONTH_FORMAT")
        return {
            "back": {"link": self._link(year, month), "title": title},
            "choices": [{"title": _title(chosen, "MONTH_DAY_FORMAT")}],
        }

    def _link(self, *parts: int) -> str:
        names = ("year", "month", "day")
        chosen = {f"created_at__{name}": part for name, part in zip(names, parts, strict=False)}
        return self.get_query_string(chosen, ["created_at__"])


def _day_of(moment: datetime.datetime) -> datetime.date:
    return (timezone.localtime(moment) if timezone.is_aware(moment) else moment).date()


def _title(day: datetime.date, form: str) -> str:
    return capfirst(formats.date_format(day, form))


class ValuesInUseFilter(AllValuesFieldListFilter):
    """A filter by the values that an index of the table begins with."""

    def __init__(self, field: Any, request: Any, params: Any, *rest: Any, **named: Any) -> None:
        """Look the values up; what is filtered by is always among them."""
        super().__init__(field, request, params, *rest, **named)
        values = {*self.values(field.name), *(self.lookup_val or [])}
        self.lookup_choices: Any = sorted(values)  # Django's own is a queryset

    def values(self, name: str) -> list[str]:
        """Return the values to choose from."""
        rows: Any = self.field.model._default_manager.all()  # of a table that is bounded
        found: list[str] = rows.values_in_use(name, most=MOST_VALUES)
        return found


class FallbackFilter(SimpleListFilter):
    """A filter by whether another provider answered than the one that was asked."""

    title = "fallback"
    parameter_name = "fell_back"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return what there is to choose from; the others are nearly all, and no list of theirs."""
        return [("yes", "Yes")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Return the rows that are meant."""
        return queryset.fallen_back() if self.value() == "yes" else queryset


class ErrorFilter(ValuesInUseFilter):
    """A filter by the codes that errors can have; only failures have one."""

    def values(self, name: str) -> list[str]:
        """Return the codes of all errors that are known, of other packages' backends too."""
        found, waiting = {ConfigurationError.code}, [ObcAIError]
        while waiting:
            error = waiting.pop()
            found.add(error.code)
            waiting += error.__subclasses__()
        return sorted(found)

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Say that it is about failures, which have an index of their own."""
        rows: Any = super().queryset(request, queryset)
        return rows.filter(success=False) if any(self.lookup_val or []) else rows
