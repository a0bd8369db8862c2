"""What somebody's calls came to."""

from __future__ import annotations

import datetime
from typing import Any

from rest_framework import exceptions, serializers
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from django_obc_ai.api.base import View
from django_obc_ai.api.fields import AskedDay, Day, Dollars, Strict, Text
from django_obc_ai.api.pages import read_query
from django_obc_ai.api.schema import described
from django_obc_ai.querysets import current_day
from django_obc_ai.services.usage import read_usage
from django_obc_ai.web.people import is_known, may

PERMISSION = "django_obc_ai.view_dashboard"
_USUAL_DAYS, _MOST_DAYS = 30, 366
_FIRST, _LAST = datetime.date(2000, 1, 1), datetime.date(2998, 12, 31)


class UsageQuery(Strict):
    """Whose usage, and when."""

    start = AskedDay(required=False, help_text="The first day; usually 29 days before the last.")
    end = AskedDay(
        required=False, help_text="The last day; usually today, or a year after the first."
    )
    scope = Text(
        required=False,
        allow_blank=True,
        max_length=100,
        trim_whitespace=False,
        help_text="One tenant in place of one's own; needs the permission to view the dashboard.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Complete the days, a year of them at most."""
        start, end, year = attrs.get("start"), attrs.get("end"), datetime.timedelta(_MOST_DAYS - 1)
        for name, day in (("start", start), ("end", end)):
            if day is not None and not _FIRST <= day <= _LAST:
                raise serializers.ValidationError({name: [f"Give a day from {_FIRST} to {_LAST}."]})
        if end is None:
            today = current_day()
            end = today if start is None else min(max(today, start), start + year)
        start = start or end - datetime.timedelta(days=_USUAL_DAYS - 1)
        if not 0 <= (end - start).days < _MOST_DAYS:
            raise serializers.ValidationError(
                {"start": [f"Give a day before the end, and {_MOST_DAYS} days at most."]}
            )
        return {**attrs, "start": start, "end": end}


class Sums(serializers.Serializer[Any]):
    """Sums of calls."""

    calls = serializers.IntegerField()
    failures = serializers.IntegerField()
    cached = serializers.IntegerField(help_text="Answered from the cache, free of charge.")
    coalesced = serializers.IntegerField(help_text="Answered by a call that asked the same.")
    tokens = serializers.IntegerField()
    cost_usd = Dollars(help_text="US dollars as text, exact to the nano-dollar.")


class DaySums(Sums):
    """Sums of one day."""

    day = Day()


class Usage(serializers.Serializer[Any]):
    """What calls came to, in days of the project's time zone."""

    scope = serializers.CharField(allow_null=True, help_text="null: one's own.")
    start = Day(source="first")
    end = Day(source="last")
    total = Sums()
    days = DaySums(many=True, help_text="Those on which there was any, in order.")


class UsageView(View):
    """Usage."""

    permission_classes = (IsAuthenticated,)

    @described("read_usage", answer=Usage, query=UsageQuery)
    def get(self, request: Request) -> Response:
        """Add up one's own calls, or those of a tenant, which needs a permission."""
        scope = request.query_params.get("scope")
        if not (is_known(request.user) if scope is None else may(request.user, PERMISSION)):
            raise exceptions.PermissionDenied
        asked = read_query(request, UsageQuery)
        whose = {"user": request.user} if scope is None else {"scope": asked["scope"]}
        return Response(Usage(read_usage(asked["start"], asked["end"], **whose)).data)
