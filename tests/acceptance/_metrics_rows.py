"""The rows of the ledger: some of years ago, and what all of them come to."""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from django.db import connection
from django.utils import timezone

from django_obc_ai.models import AIOperation

Scrape = dict[tuple[str, ...], Decimal]


def earlier(count: int, chance: random.Random) -> Iterator[Any]:
    """Operations of the two years before, as if they had been made then."""
    now = timezone.now()
    for _ in range(count):
        at = now - datetime.timedelta(minutes=chance.randrange(30, 2 * 365 * 24 * 60))
        cached = chance.random() < 0.3
        success = cached or chance.random() < 0.9
        yield AIOperation(
            created_at=at,
            recorded_at=at + datetime.timedelta(seconds=5),
            module=chance.choice(["mana", "general"]),
            model_used=chance.choice(["gemini-2.5-flash", "gemini-2.5-pro", ""]),
            provider="default",
            success=success,
            error_category="" if success else chance.choice(["timeout", "rate_limited"]),
            cached=cached,
            cost_usd=0 if cached else Decimal(chance.randrange(10**9)).scaleb(-9),
            saved_usd=Decimal(chance.randrange(10**9)).scaleb(-9) if cached else 0,
            input_tokens=400 + chance.randrange(4_000),
            cached_tokens=chance.randrange(400),
            output_tokens=chance.randrange(2_000),
            response_time_ms=chance.randrange(1, 60_000),
            prompt_hash="",
        )


def by_the_rows() -> Scrape:
    """What the rows come to, added up by PostgreSQL."""
    found: Scrape = {}

    def add(name: str, sql: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            for *labels, value in cursor.fetchall():
                found[name, *labels] = Decimal(value)

    table = "django_obc_ai_aioperation"
    add(
        "obc_ai_operations_total",
        "SELECT CASE WHEN NOT success THEN 'failed' WHEN cached THEN 'cached' WHEN"
        " coalesced THEN 'coalesced' ELSE 'answered' END,"
        f" count(*) FROM {table} GROUP BY 1",
    )
    add(
        "obc_ai_failures_total",
        f"SELECT error_category, count(*) FROM {table} WHERE NOT success GROUP BY 1",
    )
    for kind, column in (
        ("input", "input_tokens - cached_tokens - audio_tokens"),
        ("cached_input", "cached_tokens"),
        ("audio_input", "audio_tokens"),
        ("output", "output_tokens"),
        ("thinking", "thinking_tokens"),
        ("tool", "tool_tokens"),
    ):
        add("obc_ai_tokens_total", f"SELECT '{kind}', sum({column}) FROM {table}")
    add("obc_ai_cost_nano", f"SELECT sum(cost_usd) FROM {table}")
    for kind, column in (("cache", "cached"), ("coalesced", "coalesced")):
        saved = f"sum(CASE WHEN {column} THEN saved_usd ELSE 0 END)"
        add("obc_ai_saved_nano", f"SELECT '{kind}', {saved} FROM {table}")
    add("obc_ai_waits_total", f"SELECT sum((waited_ms > 0)::int) FROM {table}")
    add("obc_ai_wait_seconds_total", f"SELECT sum(waited_ms) / 1000.0 FROM {table}")
    add("obc_ai_fallbacks_total", f"SELECT sum((fallback_from <> '')::int) FROM {table}")
    for dimension, column in (("module", "module"), ("model", "model_used")):
        label = f"CASE {column} WHEN '' THEN '(none)' ELSE {column} END"
        for name, value in (
            ("operations_total", "count(*)"),
            ("failures_total", "sum((NOT success)::int)"),
            ("cached_total", "sum(cached::int)"),
            ("coalesced_total", "sum((coalesced AND success)::int)"),
            ("cost_nano", "sum(cost_usd)"),
        ):
            add(f"obc_ai_{dimension}_{name}", f"SELECT {label}, {value} FROM {table} GROUP BY 1")
    timed = f"{table} WHERE success AND NOT cached AND NOT coalesced"
    add("obc_ai_response_seconds_count", f"SELECT count(*) FROM {timed}")
    add("obc_ai_response_seconds_sum", f"SELECT sum(response_time_ms) / 1000.0 FROM {timed}")
    return found


def differences(scraped: Scrape) -> list[str]:
    """Name every figure of a scrape that is not that of the rows."""
    found = []
    rows = by_the_rows()
    for (name, *labels), wanted in rows.items():
        told = scraped.get((name, *labels), Decimal(0))
        if name.endswith("_nano"):
            kept = name.removesuffix("nano") + ("dollars_total" if "saved" in name else "dollars")
            told = round(scraped[kept, *labels] * 10**9)
        if told != wanted:
            found.append(f"{name}{labels}: {told} is not {wanted}")
    bounds = [key for key in scraped if key[0] == "obc_ai_response_seconds_bucket"]
    with connection.cursor() as cursor:
        for key in bounds:
            most = 10**12 if key[1] == "+Inf" else int(Decimal(key[1]) * 1000)
            cursor.execute(
                "SELECT count(*) FROM django_obc_ai_aioperation"
                " WHERE success AND NOT cached AND NOT coalesced AND response_time_ms <= %s",
                [most],
            )
            (wanted,) = cursor.fetchone()
            if scraped[key] != wanted:
                found.append(f"{key}: {scraped[key]} is not {wanted}")
    told_names = {key[0] for key in scraped}
    if len(bounds) < 20 or not {"obc_ai_cost_dollars", "obc_ai_budget_spent"} <= told_names:
        found.append("Metrics are missing.")
    return found
