"""One call: its row, its cost, its failures."""

from __future__ import annotations

import logging
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db import connection

from django_obc_ai import exceptions
from django_obc_ai.models import AIOperation
from django_obc_ai.services.costs import CostTracker
from django_obc_ai.services.text import GeminiService, TextService
from django_obc_ai.signals import operation_finished
from django_obc_ai.testing import Reply, override_ai
from django_obc_ai.types import Message, Source, Usage
from tests.gateway.conftest import Scripted

pytestmark = pytest.mark.django_db

USAGE = Usage(
    input_tokens=1_000, cached_tokens=400, output_tokens=50, thinking_tokens=7, tool_tokens=3
)
#: (1000 - 400 + 3) * 1 + 400 * 0.25 + (50 + 7) * 4 micro-dollars
COST = Decimal("0.000931")
SECRET = "the secret of the prompt"


def test_the_snippet_of_the_original_runs_unchanged(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted("Hello!")
    service = GeminiService(); result = service.generate_text('Hello'); print('✓ Working' if result['success'] else '✗ Failed')  # noqa: E501, E702  # fmt: skip
    assert capsys.readouterr().out == "✓ Working\n"


def test_an_answer_leaves_one_row_with_its_exact_cost(scripted: Scripted) -> None:
    scripted(Reply("Fine.", usage=USAGE))
    user = get_user_model().objects.create_user("amina")
    result = TextService().generate_text(
        "How are you?", user=user, scope="tenant", module="mana", operation_type="analysis"
    )
    assert (result.success, result.text, result.cost) == (True, "Fine.", COST)
    assert result["tokens_used"] == 1_060
    row = AIOperation.objects.get(pk=result.operation_id)
    assert (row.user, row.scope, row.module, row.operation_type) == (
        user, "tenant", "mana", "analysis",
    )  # fmt: skip
    assert (row.model_requested, row.model_used, row.provider) == (
        "scripted", "scripted", "default",
    )  # fmt: skip
    assert (
        row.input_tokens, row.cached_tokens, row.output_tokens, row.thinking_tokens,
        row.tool_tokens, row.tokens_exact,
    ) == (1_000, 400, 50, 7, 3, True)  # fmt: skip
    assert (row.cost_usd, row.cost_known) == (COST, True)
    assert (row.attempts, row.success, row.cached, row.finish_reason) == (1, True, False, "stop")
    assert CostTracker().get_daily_cost() == COST


def test_anonymous_users_are_stored_as_none(scripted: Scripted) -> None:
    scripted("A")
    TextService().generate_text("Q", user=AnonymousUser())
    assert AIOperation.objects.get().user_id is None


def test_the_model_that_answered_sets_the_price(scripted: Scripted) -> None:
    prices = {
        "scripted": {"input_usd": "1", "output_usd": "4"},
        "served": {"input_usd": "10", "output_usd": "10"},
    }
    scripted(
        Reply("A", model="models/served", usage=Usage(input_tokens=5, output_tokens=1)),
        PRICES=prices,
    )
    result = TextService().generate_text("Q")
    assert (result.model, result.cost) == ("models/served", Decimal("0.00006"))


def test_an_unknown_price_is_marked_and_never_silently_zero(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    scripted("A", PRICES={})
    result = TextService().generate_text("Q")
    row = AIOperation.objects.get()
    assert (result.success, row.cost_usd, row.cost_known) == (True, 0, False)
    assert "'scripted' has no price" in caplog.text


def test_everything_reaches_the_provider_once(scripted: Scripted) -> None:
    kit = scripted("A")
    TextService(model="bigger").generate_text(
        "Q",
        system_context="Be brief.",
        sources=[Source(text="S", title="T")],
        history=[Message(role="user", text="H")],
        max_output_tokens=9,
        temperature=0.5,
    )
    (request,) = kit.provider.requests
    assert (request.prompt, request.model, request.system) == ("Q", "bigger", "Be brief.")
    assert (request.max_output_tokens, request.temperature) == (9, 0.5)
    assert (request.sources[0].text, request.history[0].text) == ("S", "H")


FAILURES = [
    (exceptions.AuthenticationError, "authentication"),
    (exceptions.InvalidRequestError, "invalid_request"),
    (exceptions.ModelNotFoundError, "model_not_found"),
    (exceptions.RateLimitError, "rate_limited"),
    (exceptions.QuotaExhaustedError, "quota_exhausted"),
    (exceptions.TransientError, "transient"),
    (exceptions.ProviderTimeoutError, "timeout"),
    (exceptions.BadResponseError, "bad_response"),
    (exceptions.ContentBlockedError, "content_blocked"),
    (exceptions.StreamInterruptedError, "stream_interrupted"),
]


@pytest.mark.parametrize(("error", "code"), FAILURES)
def test_failures_come_back_as_results_and_rows(
    scripted: Scripted, error: type[exceptions.ProviderError], code: str
) -> None:
    scripted(error("It broke."), RETRY={"attempts": 1})
    result = TextService().generate_text("Q")
    row = AIOperation.objects.get(pk=result.operation_id)
    assert (result.success, result.error, result.text) == (False, code, "")
    assert (row.success, row.error_category, row.error_message) == (False, code, "It broke.")
    with pytest.raises(error, match=r"It broke\."):
        result.raise_for_error()


def test_a_failure_that_reports_usage_is_booked_by_it(scripted: Scripted) -> None:
    scripted(exceptions.ContentBlockedError("Blocked.", usage=USAGE))
    result = TextService().generate_text("Q")
    assert (result.cost, result.tokens_used) == (COST, 1_060)
    assert AIOperation.objects.get().cost_known is True


def test_a_failure_that_may_be_billed_is_booked_at_its_ceiling(scripted: Scripted) -> None:
    scripted(exceptions.ProviderTimeoutError("Late."), RETRY={"attempts": 1})
    TextService().generate_text("Q" * 84, max_output_tokens=100, include_context=False)
    row = AIOperation.objects.get()
    # 84 bytes + 16, and 16 for the empty system instruction, at $1; 100 tokens at $4.
    assert row.cost_usd == Decimal("0.000516")
    assert (row.cost_known, row.tokens_exact) == (False, False)


def test_a_refused_request_costs_nothing(scripted: Scripted) -> None:
    scripted(exceptions.AuthenticationError("No."))
    TextService().generate_text("Q")
    row = AIOperation.objects.get()
    assert (row.cost_usd, row.cost_known) == (0, True)


def test_a_blocked_answer_is_an_error_and_is_billed(scripted: Scripted) -> None:
    scripted(Reply("", finish_reason="blocked", usage=USAGE))
    result = TextService().generate_text("Q")
    assert (result.error, result.cost) == ("content_blocked", COST)


def test_a_foreign_exception_is_named_without_its_text(scripted: Scripted) -> None:
    scripted(KeyError(SECRET))
    result = TextService().generate_text("Q")
    assert (result.error, "KeyError" in result.error_message) == ("bad_response", True)
    assert SECRET not in result.error_message
    assert AIOperation.objects.get().attempts == 1


def test_an_interrupted_call_is_booked_and_raised(scripted: Scripted) -> None:
    scripted(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        TextService().generate_text("Q")
    row = AIOperation.objects.get()
    assert (row.success, row.error_category, row.cost_known) == (False, "transient", False)
    assert row.cost_usd > 0


def test_an_exhausted_script_fails_the_test(scripted: Scripted) -> None:
    scripted()
    with pytest.raises(AssertionError, match="holds 0 replies"):
        TextService().generate_text("Q")


def test_json_answers_are_parsed_and_checked(scripted: Scripted) -> None:
    scripted('{"a": 1}', "no JSON", "no JSON", "no JSON", RETRY={"attempts": 1})
    schema = {"type": "object"}
    assert TextService().generate_text("Q", response_schema=schema).data == {"a": 1}
    result = TextService().generate_text("other", response_schema=schema)
    assert (result.error, result.data, result.cost > 0) == ("bad_response", None, True)


def test_a_provider_that_cannot_be_built_is_a_configuration_result() -> None:
    providers = {
        "default": {"BACKEND": "django_obc_ai.backends.providers.offline.OfflineProvider"},
        "broken": {"BACKEND": "no.such.Provider"},
    }
    with override_ai(PROVIDERS=providers):
        result = TextService("broken").generate_text("Q")
        assert (result.success, result.error) == (False, "configuration")
        assert "OBC_AI['PROVIDERS']['broken']" in result.error_message
        assert AIOperation.objects.get().error_category == "configuration"
        result = TextService("brokn").generate_text("Q")
        assert "Did you mean 'broken'?" in result.error_message


def test_broken_settings_give_a_result_without_a_row() -> None:
    with override_ai(NONSENSE=1):
        result = TextService().generate_text("Q")
    assert (result.error, result.operation_id) == ("configuration", None)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_tokens": 5}, TypeError, "Did you mean 'max_output_tokens'"),
        ({"content_type": "statics"}, ValueError, "Did you mean 'static'"),
        ({"cache_ttl": -1}, ValueError, "negative"),
        ({"max_output_tokens": 0}, ValueError, "below 1"),
        ({"module": "m" * 51}, ValueError, "50 fit"),
        ({"cache_tags": "places"}, TypeError, "list of names or rows"),
        ({"prompt": 3}, TypeError, "not text"),
    ],
)
def test_mistakes_in_arguments_raise_before_anything_is_sent(
    scripted: Scripted, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    kit = scripted("A")
    with pytest.raises(error, match=message):
        TextService().generate_text(**{"prompt": "Q", **arguments})
    assert kit.provider.call_count == 0


def test_no_prompt_text_is_stored_or_logged(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    scripted("A", exceptions.TransientError("Down."), RETRY={"attempts": 1})
    TextService().generate_text(SECRET)
    result = TextService().generate_text(SECRET, system_context=SECRET)
    assert SECRET not in repr(list(AIOperation.objects.values())) + caplog.text + repr(result)
    hashes = set(AIOperation.objects.values_list("prompt_hash", flat=True))
    assert {len(each) for each in hashes} == {64}
    assert len(hashes) == 2


def test_listeners_hear_of_every_call_and_cannot_break_it(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[uuid.UUID] = []

    def listen(operation: AIOperation, **_: Any) -> None:
        heard.append(operation.pk)
        raise RuntimeError("a bad listener")

    operation_finished.connect(listen)
    try:
        scripted("A")
        result = TextService().generate_text("Q")
    finally:
        operation_finished.disconnect(listen)
    assert (result.success, heard) == (True, [result.operation_id])
    assert "A receiver of operation_finished failed" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_a_ledger_that_fails_is_logged_and_the_paid_answer_delivered(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    scripted(Reply("A", usage=USAGE), LOG={"spool": None})
    table = AIOperation._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO away")
    try:
        result = TextService().generate_text("Q")
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE away RENAME TO {table}")
    assert result.text == "A"
    assert f"AIOperation {result.operation_id} was not stored: $0.000931000" in caplog.text


def test_tokens_are_counted_by_the_provider(scripted: Scripted) -> None:
    scripted()
    assert TextService().count_tokens("one two three", include_context=False) == 3
