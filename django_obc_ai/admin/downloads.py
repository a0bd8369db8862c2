"""The ledger as a CSV file of any length, made while it is sent."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone

from django_obc_ai.admin.people import users_are_near
from django_obc_ai.models import AIOperation
from django_obc_ai.querysets import AIOperationQuerySet
from django_obc_ai.safe_csv import write_parts

#: Rows that are in memory at once.
_SIZE = 2_000
_MONEY = ("cost_usd", "saved_usd")
_TIMES = ("created_at", "recorded_at")
_FIRST = ("created_at", "id")


def operations_csv(request: HttpRequest, rows: AIOperationQuerySet) -> StreamingHttpResponse:
    """Answer with operations, the newest first: every column, and the users' names if near.

    Times are ISO 8601 with their offset from UTC, amounts US dollars with nine decimals.
    """
    names = [field.attname for field in AIOperation._meta.fields if field.attname not in _FIRST]
    looked_up, header = list(names), [*_FIRST, *names]
    if users_are_near():
        looked_up.append(f"user__{get_user_model().USERNAME_FIELD}")
        header.append("user")
    parts = ([_plain(header, row) for row in part] for part in rows.in_parts(looked_up, size=_SIZE))
    text = write_parts(header, parts)
    response = StreamingHttpResponse(
        _without_blocking(text) if isinstance(request, ASGIRequest) else text,
        content_type="text/csv; charset=utf-8",
    )
    now = timezone.localtime() if timezone.is_aware(timezone.now()) else timezone.now()
    name = f"ai-operations-{now:%Y-%m-%d-%H%M}.csv"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _plain(header: list[str], row: tuple[Any, ...]) -> list[Any]:
    return [_cell(name, value) for name, value in zip(header, row, strict=True)]


def _cell(name: str, value: Any) -> Any:
    if name in _MONEY:
        return f"{value:.9f}"
    if name in _TIMES:
        moment: datetime.datetime = value
        return moment.isoformat()
    return value


async def _without_blocking(text: Iterator[str]) -> AsyncIterator[str]:
    """Yield the pieces; each is made in a thread, where the database may be asked."""
    take = sync_to_async(lambda: next(text, None))
    while (piece := await take()) is not None:
        yield piece
