"""What a provider, a cache, a database or a caller may do wrong without a cent being lost."""

from __future__ import annotations

import asyncio
import decimal
import threading
from decimal import Decimal
from typing import Any

import pytest
from django.core.cache import caches
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection, transaction
from django.test import TestCase, override_settings

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.exceptions import BadResponseError
from django_obc_ai.gateway import cache
from django_obc_ai.models import AIOperation
from django_obc_ai.services.cache import invalidate
from django_obc_ai.services.costs import CostTracker
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import Reply, override_ai
from django_obc_ai.types import GenerationRequest, ProviderResponse, StreamChunk, Usage
from tests.gateway.conftest import PRICES, Scripted, run_async
from tests.gateway.test_budget import ask, budget, total

pytestmark = pytest.mark.django_db(transaction=True)
CEILING = Decimal("0.000433")


class SoftTimeLimitExceeded(Exception):
    """Stands in for the exception by which Celery stops a task."""


def test_a_blocking_call_inside_an_event_loop_sends_nothing(scripted: Scripted) -> None:
    kit = scripted("A")

    async def main() -> None:
        with pytest.raises(SynchronousOnlyOperation, match=r"agenerate_text\(\)"):
            TextService().generate_text("Q", cache_tags=())
        with pytest.raises(SynchronousOnlyOperation, match=r"astream_text\(\)"):
            TextService().stream_text("Q")

    run_async(main())
    assert kit.provider.call_count == 0


def test_implausible_counts_never_lower_a_total(scripted: Scripted) -> None:
    bad = Usage(input_tokens=0, cached_tokens=1_000_000, output_tokens=-5)
    scripted(Reply("A", usage=bad), BUDGETS=budget("5"))
    assert ask().cost == Decimal("0.25")
    row = AIOperation.objects.get()
    assert (row.input_tokens, row.cached_tokens, row.output_tokens) == (1_000_000, 1_000_000, 0)
    assert row.tokens_exact is False
    assert total() == (250_000_000, 0)


def test_names_longer_than_their_column_do_not_lose_the_row(scripted: Scripted) -> None:
    scripted(Reply("A", model="m" * 300))
    result = ask()
    assert result.model == "m" * 300
    assert AIOperation.objects.get(pk=result.operation_id).model_used == "m" * 100


def test_an_answer_without_a_count_is_booked_at_its_ceiling(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = scripted(BUDGETS=budget("0.001"))
    chunks = [StreamChunk(text="A"), StreamChunk(text="B", finish_reason="stop")]
    monkeypatch.setattr(kit.provider, "stream", lambda _: iter(chunks))
    monkeypatch.setattr(kit.provider, "generate", lambda _: ProviderResponse(text="A"))
    options = {"include_context": False, "use_cache": False, "max_output_tokens": 100}
    assert list(TextService().stream_text("Q", **options)) == ["A", "B"]
    assert ask().success
    assert ask().error == "budget_exceeded"
    booked = AIOperation.objects.filter(success=True)
    assert [(row.cost_usd, row.cost_known, row.tokens_exact) for row in booked] == [
        (CEILING, False, False),
        (CEILING, False, False),
    ]
    assert total() == (866_000, 0)


@pytest.mark.parametrize("stage", ["open", "abort"])
def test_a_cancelled_call_leaves_no_hold_behind(scripted: Scripted, stage: str) -> None:
    """The caller is cancelled while a step of the books runs in its thread."""
    kit = scripted(Reply("A", delay_seconds=30), BUDGETS=budget("1"))
    store = cost_stores["default"]
    name = "reserve" if stage == "open" else "settle"
    original, started, go_on = getattr(store, name), threading.Event(), threading.Event()

    def slow(*arguments: Any, **named: Any) -> Any:
        started.set()
        go_on.wait(10)
        return original(*arguments, **named)

    setattr(store, name, slow)

    async def main() -> None:
        call = TextService().agenerate_text("Q", max_output_tokens=100, include_context=False)
        task = asyncio.create_task(call)
        while not (started.is_set() if stage == "open" else kit.provider.call_count):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.sleep(0.05)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_async(main())
    sent = stage == "abort"
    assert total() == (433_000 if sent else 0, 0)
    row = AIOperation.objects.get()
    assert (row.success, row.cost_usd) == (False, CEILING if sent else 0)
    assert kit.provider.call_count == int(sent)


def test_a_task_that_celery_stops_is_booked_and_stopped(scripted: Scripted) -> None:
    scripted(SoftTimeLimitExceeded())
    with pytest.raises(SoftTimeLimitExceeded):
        ask()
    row = AIOperation.objects.get()
    assert (row.error_category, row.cost_usd) == ("transient", CEILING)


def test_a_json_answer_that_was_cut_is_no_success(scripted: Scripted, waits: list[float]) -> None:
    kit = scripted(Reply('{"a": ', finish_reason="length"))
    result = ask(response_schema={"type": "object"})
    assert (result.error, kit.provider.call_count, waits) == ("bad_response", 1, [])
    with pytest.raises(BadResponseError, match="'length'"):
        result.raise_for_error()


def test_a_tag_dropped_inside_a_transaction_is_dropped_again_at_its_commit(
    scripted: Scripted,
) -> None:
    scripted("old", "new")
    with transaction.atomic():
        invalidate(tags=["places"])
        TextService().generate_text("Q", cache_tags=["places"])  # another reader: the old rows
    assert TextService().generate_text("Q", cache_tags=["places"]).text == "new"


def test_an_entry_of_another_form_is_a_miss(scripted: Scripted) -> None:
    scripted("A", "B")
    TextService().generate_text("Q")
    from django_obc_ai.conf import get_settings

    store = caches[get_settings().cache.alias]
    for key in list(store._cache):  # type: ignore[attr-defined]  # of the memory cache
        store.set(key.split(":", 2)[2], {"unknown": 1})
    assert TextService().generate_text("Q").text == "B"


def test_a_reader_accepts_nothing_older_than_its_own_time_to_live(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted("A", "B")
    TextService().generate_text("Q", content_type="static")
    now = cache.time.time()
    monkeypatch.setattr("django_obc_ai.gateway.cache.time.time", lambda: now + 4_000)
    assert TextService().generate_text("Q", content_type="static").text == "A"
    assert TextService().generate_text("Q", content_type="chat").text == "B"


def test_a_cache_alias_that_does_not_exist_is_a_configuration_result() -> None:
    with override_ai(CACHE={"alias": "nowhere"}):
        result = TextService().generate_text("Q")
    assert (result.error, "'nowhere'" in result.error_message) == ("configuration", True)


def test_a_narrow_decimal_context_of_the_thread_changes_no_cost(scripted: Scripted) -> None:
    scripted(Reply("A", usage=Usage(input_tokens=123_456_789)))
    with decimal.localcontext(decimal.Context(prec=4)):
        assert ask().cost == Decimal("123.456789")
    assert CostTracker().get_daily_cost() == Decimal("123.456789")


def test_a_user_that_is_none_is_refused(scripted: Scripted) -> None:
    with pytest.raises(TypeError, match="type int; give a user or None"):
        TextService().generate_text("Q", user=5)


def test_a_soft_budget_counts_what_only_the_answer_prices(scripted: Scripted) -> None:
    prices = {"served": PRICES["scripted"]}
    reply = Reply("A", model="served", usage=Usage(output_tokens=1_000))
    scripted(reply, BUDGETS=budget("1", enforce=False), PRICES=prices)
    assert ask().cost == Decimal("0.004")
    assert total() == (4_000_000, 0)


def test_a_connection_that_died_meanwhile_loses_neither_row_nor_hold(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider thinks so long that the database has hung up."""
    monkeypatch.setattr("django_obc_ai.models.connections._sleep", lambda _: None)

    def answer(request: GenerationRequest) -> Reply:
        if connection.vendor == "postgresql":
            connection.connection.close()
        return Reply("A", usage=Usage(input_tokens=1, output_tokens=1))

    store = {
        "default": {"BACKEND": "django_obc_ai.backends.cost_stores.database.DatabaseCostStore"}
    }
    scripted(answer, BUDGETS=budget("1"), COST_STORES=store)
    assert ask().success
    assert AIOperation.objects.get().cost_usd == Decimal("0.000005")
    assert total() == (5_000, 0)


def test_costs_work_without_time_zones(scripted: Scripted) -> None:
    scripted(Reply("A", usage=Usage(input_tokens=1, output_tokens=1)))
    with override_settings(USE_TZ=False):  # inside: what is undone last must be begun first
        assert ask().success
        assert CostTracker().get_daily_cost() == Decimal("0.000005")
        today = CostTracker().get_cost_breakdown
        import datetime

        day = datetime.datetime.now().date()  # noqa: DTZ005 - local time is what is tested
        (row,) = today(day - datetime.timedelta(days=1), day + datetime.timedelta(days=1), "day")
        assert row["cost"] == Decimal("0.000005")


def test_override_ai_decorates_coroutines() -> None:
    @override_ai(["A"])
    async def work() -> str:
        return (await TextService().agenerate_text("Q")).text

    assert run_async(work()) == "A"


@override_ai(["A"])
class DecoratedTests(TestCase):
    """A decorated TestCase stays one."""

    def test_the_script_answers(self) -> None:
        self.assertEqual(TextService().generate_text("Q").text, "A")


def test_a_stream_whose_last_piece_has_no_count_is_booked_by_its_floor(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = scripted()
    chunks = [
        StreamChunk(text="A", usage=Usage(input_tokens=10, output_tokens=1)),
        StreamChunk(text="B", finish_reason="stop"),
    ]
    monkeypatch.setattr(kit.provider, "stream", lambda _: iter(chunks))
    assert list(TextService().stream_text("Q")) == ["A", "B"]
    row = AIOperation.objects.get()
    assert (row.success, row.tokens_exact, row.total_tokens) == (True, False, 11)
    assert row.cost_usd == Decimal("0.000014")


def test_an_answer_that_cannot_be_cached_is_delivered(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted("A")

    def fail() -> Any:
        raise RuntimeError("no cache today")

    monkeypatch.setattr(cache, "key_of", lambda *_: fail())
    assert TextService().generate_text("Q", use_cache=True).text == "A"
    assert AIOperation.objects.get().success


def test_a_cancellation_is_kept_though_the_step_that_it_met_failed(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted("A")
    started, go_on = threading.Event(), threading.Event()

    def broken(*_: Any) -> Any:
        started.set()
        go_on.wait(10)
        raise RuntimeError("a programming error")

    monkeypatch.setattr("django_obc_ai.gateway.book.CallBook.prepare", broken)

    async def main() -> None:
        task = asyncio.create_task(TextService().agenerate_text("Q"))
        while not started.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0.05)
        go_on.set()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert isinstance(caught.value.__cause__, RuntimeError)

    run_async(main())
