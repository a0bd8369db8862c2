"""What tokens cost, by model, day and kind."""

from __future__ import annotations

import datetime
import logging
from decimal import Decimal
from typing import Any

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from django_obc_ai.backends.providers.offline import OfflineProvider
from django_obc_ai.gateway.price_table import PRICE_TABLE
from django_obc_ai.gateway.prices import (
    bounding_price,
    ceiling_of,
    cost_of,
    find_price,
    members_of,
)
from django_obc_ai.models import AIOperation
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import Reply
from django_obc_ai.types import GenerationRequest, PriceRow, Usage
from tests.gateway.conftest import Scripted

NOW = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)
ROW = PriceRow(
    model="m",
    input_usd=Decimal(1),
    output_usd=Decimal(10),
    cached_input_usd=Decimal("0.1"),
    thinking_usd=Decimal(20),
    audio_input_usd=Decimal(5),
    long_prompt_tokens=1_000,
    long_input_usd=Decimal(2),
    long_output_usd=Decimal(15),
    long_cached_input_usd=Decimal("0.2"),
    batch_share=Decimal("0.5"),
    batch_cached_input_usd=Decimal("0.05"),
)


def nano(usage: Usage, row: PriceRow = ROW, **more: Any) -> int:
    return int(cost_of(row, usage, **more).scaleb(9))


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input_tokens": 100}, 100_000),
        ({"input_tokens": 100, "cached_tokens": 40}, 64_000),
        ({"input_tokens": 100, "cached_tokens": 40, "audio_tokens": 10}, 104_000),
        ({"output_tokens": 3}, 30_000),
        ({"thinking_tokens": 3}, 60_000),
        ({"tool_tokens": 7}, 7_000),
        ({"input_tokens": 1_000, "output_tokens": 1}, 1_010_000),
        ({"input_tokens": 1_001, "output_tokens": 1}, 2_017_000),
        ({"input_tokens": 1_001, "cached_tokens": 1_001, "thinking_tokens": 1}, 215_200),
    ],
)
def test_each_kind_of_token_has_its_price(usage: dict[str, int], expected: int) -> None:
    assert nano(Usage(**usage)) == expected


def test_a_batch_costs_its_share_and_cached_tokens_their_own_price() -> None:
    usage = Usage(input_tokens=100, cached_tokens=40, output_tokens=2, thinking_tokens=1)
    assert nano(usage, is_batch=True) == 60 * 500 + 40 * 50 + 2 * 5_000 + 10_000


def test_prices_that_are_not_given_follow_the_others() -> None:
    row = PriceRow(model="m", input_usd=Decimal(1), output_usd=Decimal(10))
    usage = Usage(input_tokens=10, cached_tokens=4, audio_tokens=3, thinking_tokens=2)
    assert nano(usage, row) == nano(usage, row, is_batch=True) == 30_000


def test_half_a_nano_dollar_is_rounded_to_even_once() -> None:
    row = PriceRow(model="m", input_usd=Decimal("0.0005"), output_usd=Decimal("0.0005"))
    assert [nano(Usage(input_tokens=n), row) for n in (1, 3)] == [0, 2]
    assert nano(Usage(input_tokens=1, output_tokens=2), row) == 2


# --- Which price ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "day", "before", "after"),
    [
        ("gemini-4-argon", (2026, 12, 1), "10", "20"),
        ("gemini-3.6-flash", (2027, 1, 1), "3.75", "7.50"),
        ("gemini-3.7-flash", (2027, 1, 1), "3.75", "7.50"),
        ("gemini-3.8-flash", (2027, 1, 1), "3.75", "7.50"),
    ],
)
def test_a_price_changes_at_midnight_utc(
    model: str, day: tuple[int, int, int], before: str, after: str
) -> None:
    midnight = datetime.datetime(*day, tzinfo=datetime.UTC)
    manila = datetime.timezone(datetime.timedelta(hours=8))
    for at, expected in (
        (midnight - datetime.timedelta(seconds=1), before),
        (midnight, after),
        ((midnight - datetime.timedelta(seconds=1)).astimezone(manila), before),
        (midnight.astimezone(manila), after),
    ):
        row = find_price(model, at)
        assert row is not None and row.output_usd == Decimal(expected)


@pytest.mark.parametrize("row", PRICE_TABLE, ids=lambda row: f"{row.model} {row.effective_from}")
def test_every_model_of_the_table_is_found(row: PriceRow) -> None:
    day = row.effective_from or datetime.date(2026, 1, 1)
    at = datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC)
    for name in (row.model, f"models/{row.model}", f"{row.model}-002"):
        assert find_price(name, at) == row


@pytest.mark.parametrize("model", ["", "gpt-9", "gemini-2.5-flash-image", "gemini-9-flash"])
def test_nothing_is_guessed(model: str) -> None:
    assert find_price(model, NOW) is None
    assert bounding_price(model, NOW) is None


def test_prices_of_the_settings_replace_a_model_from_their_day_on() -> None:
    day = datetime.datetime(2026, 12, 24, tzinfo=datetime.UTC)
    later = {"input_usd": "9", "output_usd": "9", "effective_from": "2026-12-24"}
    before = {
        at: find_price("gemini-4-argon", at) for at in (NOW, day - datetime.timedelta(seconds=1))
    }
    with override_settings(OBC_AI={"PRICES": {"models/gemini-4-argon": later}}):
        for at, row in before.items():  # the table's, a change of its own included
            for name in ("gemini-4-argon", "models/gemini-4-argon-001"):
                assert row is not None and find_price(name, at) == row
        for at in (day, day + datetime.timedelta(days=400)):
            row = find_price("gemini-4-argon", at)
            assert row is not None and row.input_usd == 9
        assert find_price("gemini-2.5-flash", NOW) is not None


def test_a_price_that_has_begun_hides_the_table_for_ever() -> None:
    own = {"input_usd": "9", "output_usd": "9", "effective_from": "2026-11-01"}
    with override_settings(OBC_AI={"PRICES": {"gemini-4-argon": own}}):
        changed = datetime.datetime(2026, 12, 2, tzinfo=datetime.UTC)  # in the table
        row = find_price("gemini-4-argon", changed)
        assert row is not None and row.input_usd == 9


def test_a_numbered_version_may_have_a_price_of_its_own() -> None:
    own = {"input_usd": "9", "output_usd": "9"}
    with override_settings(OBC_AI={"PRICES": {"gemini-2.5-flash-001": own}}):
        row = find_price("gemini-2.5-flash-001", NOW)
        assert row is not None and row.input_usd == 9


@pytest.mark.parametrize(
    ("alias", "includes", "excludes"),
    [
        ("gemini-flash-latest", "gemini-3-flash-preview", "gemini-2.5-flash-lite"),
        ("gemini-flash-lite-latest", "gemini-3.1-flash-lite", "gemini-2.5-flash"),
        ("gemini-pro-latest", "gemini-3.1-pro-preview", "gemini-4-argon"),
        ("gemini-latest", "gemini-4-argon", "gemini-embedding-001"),
    ],
)
def test_an_alias_is_bounded_by_its_family(alias: str, includes: str, excludes: str) -> None:
    members = members_of(alias)
    assert includes in members and excludes not in members
    bound = bounding_price(alias, NOW)
    assert bound is not None and find_price(alias, NOW) is None
    usages = [
        Usage(**{kind: 1_000, "input_tokens": tokens})
        for kind in ("cached_tokens", "audio_tokens", "output_tokens", "thinking_tokens")
        for tokens in (1_000, 300_000)
    ]
    rows = [find_price(each, NOW) for each in members]
    for usage in usages:
        costs = [cost_of(row, usage) for row in rows if row is not None]
        assert cost_of(bound, usage) >= max(costs)


amounts = st.decimals(0, 100, places=4)
optional = st.none() | amounts
rows_ = st.builds(
    PriceRow,
    model=st.just("m"),
    input_usd=amounts,
    output_usd=amounts,
    cached_input_usd=optional,
    thinking_usd=optional,
    audio_input_usd=optional,
    long_prompt_tokens=st.just(50),
    long_input_usd=amounts,
    long_output_usd=amounts,
    long_cached_input_usd=optional,
)


@given(row=rows_, data=st.data())
def test_no_cost_passes_its_ceiling(row: PriceRow, data: st.DataObject) -> None:
    provider = OfflineProvider()
    request = GenerationRequest(prompt="x" * data.draw(st.integers(1, 80)), max_output_tokens=30)
    prompt = data.draw(st.integers(0, provider.bound_tokens(request)))
    cached = data.draw(st.integers(0, prompt))
    answer = data.draw(st.integers(0, 30))
    usage = Usage(
        input_tokens=prompt,
        cached_tokens=cached,
        audio_tokens=data.draw(st.integers(0, prompt - cached)),
        output_tokens=answer,
        thinking_tokens=data.draw(st.integers(0, 30 - answer)),
    )
    assert cost_of(row, usage) <= ceiling_of(provider, request, row)


# --- In the books ---------------------------------------------------------------------


@pytest.mark.django_db
def test_an_alias_costs_what_answered(scripted: Scripted) -> None:
    usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
    budget = {"scope": "global", "period": "day", "limit_usd": "100"}
    scripted(Reply("A", usage=usage, model="gemini-3.1-flash-lite"), BUDGETS=[budget])
    TextService(model="gemini-flash-latest").generate_text("Q", max_output_tokens=10)
    row = AIOperation.objects.get()
    assert (row.cost_usd, row.cost_known) == (Decimal("1.75"), True)


@pytest.mark.django_db
def test_an_answer_of_a_model_without_a_price_is_booked_dearly_and_marked(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    usage = Usage(input_tokens=1_000_000)
    scripted(
        Reply("A", usage=usage, model="gemini-9-flash"),
        Reply("B", usage=usage, model="unheard-of"),
    )
    with caplog.at_level(logging.WARNING, "django_obc_ai.gateway"):
        for prompt in ("Q", "R"):
            TextService(model="gemini-flash-latest").generate_text(prompt)
    dearest = Decimal("1.50")  # gemini-3.5-flash
    assert [(row.cost_usd, row.cost_known) for row in AIOperation.objects.all()] == [
        (dearest, False),
        (dearest, False),
    ]
    assert "'gemini-9-flash' has no price" in caplog.text
