"""A ledger around a day of the past, and what its dashboard shows."""

from __future__ import annotations

import csv
import datetime
import io
import math
import random
import zoneinfo
from collections import defaultdict
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_obc_ai.models import AIOperation
from tests.dashboard_page import Page, read_page

NAME = "admin:django_obc_ai_dashboard"
DAY = datetime.timedelta(days=1)


class Ledger:
    """Rows around a day of the past, that day's dashboard, and a clock."""

    def __init__(self, middle: datetime.date, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.zone = zoneinfo.ZoneInfo(zone)
        self.chance = random.Random(f"{middle} {zone}")
        self.now = datetime.datetime.combine(
            middle + 3 * DAY, datetime.time(10, 7), tzinfo=datetime.UTC
        )
        monkeypatch.setattr(timezone, "now", lambda: self.now)
        self.first, self.last = middle - 2 * DAY, middle + 3 * DAY
        self.users = [
            get_user_model().objects.create(username=name) for name in ("amina", "=bai", "c,d")
        ]
        viewer = get_user_model().objects.create_superuser("viewer")
        self.client = Client()
        self.client.force_login(viewer)

    def operation(self, began: datetime.datetime, **values: Any) -> AIOperation:
        chance = self.chance
        kind = chance.choice(["paid", "paid", "paid", "streamed", "cached", "coalesced", "failed"])
        cached, success = kind == "cached", kind != "failed"
        # An error may be shared, too.
        coalesced = kind == "coalesced" or (not success and chance.random() < 0.3)
        is_free = cached or coalesced
        user = chance.choice([*self.users, None])
        given = {
            "created_at": began,
            "recorded_at": began + datetime.timedelta(seconds=2),
            "module": chance.choice(["mana", "general", "", "a,b", *"cdefgh"]),
            "operation_type": chance.choice(["chat", "search"]),
            "model_used": chance.choice(["one", "two", ""]),
            "scope": chance.choice(["", "north"]),
            "user_id": user and user.pk,
            "provider": "default",
            "success": success,
            "error_category": "" if success else chance.choice(["timeout", "authentication"]),
            "cached": cached,
            "coalesced": coalesced,
            "waited_ms": chance.choice([0, 0, chance.randrange(1, 9_000)]) if not cached else 0,
            "fallback_from": chance.choice(["", "", "", "dear"]) if not is_free else "",
            "cost_usd": 0 if is_free else Decimal(chance.randrange(2 * 10**9)).scaleb(-9),
            "cost_known": chance.random() < 0.9,
            "saved_usd": Decimal(chance.randrange(10**9)).scaleb(-9) if is_free and success else 0,
            "input_tokens": 900 + chance.randrange(5_000),
            "cached_tokens": chance.randrange(400),
            "audio_tokens": chance.choice([0, 0, 300]),
            "output_tokens": chance.randrange(900),
            "thinking_tokens": chance.randrange(900),
            "tool_tokens": chance.choice([0, 40]),
            "response_time_ms": round(math.exp(chance.uniform(3, 10))),
            "first_chunk_ms": chance.randrange(1, 3_000) if kind == "streamed" else None,
            "prompt_hash": chance.choice("abcdef") * 64,
        }
        return AIOperation(**{**given, **values})

    def fill(self, count: int) -> None:
        """Write rows of the days shown, of those before, and at the very seams."""
        span = int((self.last - self.first + 7 * DAY).total_seconds())
        moments = [
            self.now - datetime.timedelta(seconds=self.chance.randrange(span)) for _ in range(count)
        ]
        for number in range(-6, 7):
            midnight = datetime.datetime.combine(
                self.first + number * DAY, datetime.time(), tzinfo=self.zone
            ).astimezone(datetime.UTC)
            moments += [midnight, midnight - datetime.timedelta(microseconds=1)]
        past = [moment for moment in moments if moment <= self.now]
        AIOperation.objects.bulk_create([self.operation(moment) for moment in past])

    def come_late(self) -> None:
        """Let rows be recorded, and prices be corrected, after the days were added up."""
        self.now += datetime.timedelta(minutes=7)
        began = [self.now - datetime.timedelta(hours=self.chance.randrange(150)) for _ in range(9)]
        late = [self.operation(each, recorded_at=self.now) for each in began]
        AIOperation.objects.bulk_create(late)
        some = AIOperation.objects.filter(cached=False, coalesced=False).order_by("pk")[:7]
        keys = [row.pk for row in some]
        correct = {"cost_usd": Decimal("0.123456789"), "recorded_at": self.now}
        AIOperation.objects.filter(pk__in=keys).update(**correct)

    def days(self) -> dict[datetime.date, list[AIOperation]]:
        """All rows by the day that the clock on the wall showed."""
        found: dict[datetime.date, list[AIOperation]] = defaultdict(list)
        for row in AIOperation.objects.all():
            found[row.created_at.astimezone(self.zone).date()].append(row)
        return found

    def rows(self, first: datetime.date, last: datetime.date) -> list[AIOperation]:
        return [row for day, rows in self.days().items() if first <= day <= last for row in rows]

    def ask(self, **query: Any) -> Page:
        days = {"from": self.first, "to": self.last, **query}
        return read_page(self.client.get(reverse(NAME), days).content.decode())

    def download(self, table: str, **query: Any) -> list[dict[str, str]]:
        days = {"from": self.first, "to": self.last, **query}
        response = self.client.get(reverse(f"{NAME}_csv", args=[table]), days)
        return list(csv.DictReader(io.StringIO(response.content.decode())))
