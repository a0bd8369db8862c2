"""Statistics of the response cache: what rows of all processes say, in one query."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from django_obc_ai.models import AIOperation
from django_obc_ai.querysets import current_day
from django_obc_ai.services.cache import CacheStatistics, cache_statistics
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import Reply, override_ai

pytestmark = pytest.mark.django_db
PRICES = {"scripted": {"input_usd": "1", "output_usd": "4"}}


def row(**values: Any) -> None:
    AIOperation.objects.create(id=uuid.uuid4(), created_at=timezone.now(), success=True, **values)


def today(**arguments: Any) -> list[CacheStatistics]:
    return cache_statistics(current_day(), current_day(), **arguments)


def test_calls_make_exact_figures_by_module_and_content_type(
    django_assert_num_queries: Any,
) -> None:
    cut = Reply("cut", finish_reason="length")
    with override_ai(["A", "BB", cut, RuntimeError(), "E"], PRICES=PRICES):
        ask = TextService().generate_text
        costs = [ask("Q", module="mana").cost, ask("Q", module="mana", content_type="chat").cost]
        ask("Q", module="mana")
        ask("R", module="mana")
        ask("cut", module="policies")
        ask("failed", module="policies")
        ask("Q", module="policies", use_cache=False)
    with django_assert_num_queries(1):
        found = today()
    assert found == [
        CacheStatistics(
            module="mana", content_type="analysis", hits=1, misses=2, coalesced=0, stores=2,
            bytes=3, saved_usd=costs[0],
        ),
        CacheStatistics(
            module="mana", content_type="chat", hits=1, misses=0, coalesced=0, stores=0,
            bytes=0, saved_usd=costs[0],
        ),
        CacheStatistics(
            module="policies", content_type="analysis", hits=0, misses=2, coalesced=0, stores=0,
            bytes=0, saved_usd=Decimal(0),
        ),
    ]  # fmt: skip
    assert [each.hit_rate for each in found] == [1 / 3, 1.0, 0.0]


def test_coalesced_calls_are_neither_hits_nor_misses() -> None:
    row(stored_bytes=7)
    row(coalesced=True, saved_usd=Decimal("0.5"))
    row(cached=True, saved_usd=Decimal("0.25"))
    row()  # did not use the cache
    (whole,) = today(by=())
    assert (whole.hits, whole.misses, whole.coalesced, whole.stores) == (1, 1, 1, 1)
    assert (whole.bytes, whole.saved_usd, whole.hit_rate) == (7, Decimal("0.75"), 1 / 3)
    assert (whole.module, whole.content_type) == (None, None)


def test_only_the_days_asked_for_count_and_nothing_is_an_empty_list() -> None:
    row(stored_bytes=7)
    yesterday = current_day() - datetime.timedelta(days=1)
    assert cache_statistics(yesterday, yesterday) == []
    assert cache_statistics(yesterday, yesterday, by=()) == []
    (found,) = cache_statistics(yesterday, current_day(), by=["module"])
    assert found.content_type is None


def test_what_cannot_be_asked_is_refused() -> None:
    day = current_day()
    with pytest.raises(ValueError, match="lies before"):
        cache_statistics(day, day - datetime.timedelta(days=1))
    with pytest.raises(ValueError, match="'user_id'"):
        cache_statistics(day, day, by=["user_id"])  # type: ignore[list-item]  # what is refused
