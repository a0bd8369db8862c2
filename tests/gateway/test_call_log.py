"""The line that each call leaves in the log, with the id of the request that it was made for."""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, transaction

from django_obc_ai.exceptions import AuthenticationError, RateLimitError
from django_obc_ai.logs import bound
from django_obc_ai.models import AIOperation
from django_obc_ai.services.ledger import drain_spool
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import override_ai
from tests.gateway.conftest import ANSWER, COST, SECRET, Scripted, SpoolOf, run_async

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "django_obc_ai")


def calls(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(each) for each in caplog.records if each.name == "django_obc_ai.calls"]


def ask(**options: Any) -> Any:
    options = {"use_cache": False, "include_context": False, **options}
    return TextService().generate_text(SECRET, **options)


def test_a_call_that_was_paid_says_what_it_took(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    scripted(ANSWER)
    user = get_user_model().objects.create(username="amina")
    with bound("request-1"):
        result = ask(user=user, operation_type="assessment", module="mana")
    (call,) = calls(caplog)
    row = AIOperation.objects.get()
    assert (call["event"], call["levelname"]) == ("calls.finished", "INFO")
    assert call["correlation_id"] == "request-1"
    assert call["operation_id"] == row.pk == result.operation_id
    assert (call["operation_type"], call["ai_module"]) == ("assessment", "mana")
    assert (call["provider"], call["model"]) == ("default", "scripted")
    assert (call["input_tokens"], call["output_tokens"]) == (131, 200)
    assert (call["cost_usd"], call["cost_known"]) == (COST, True)
    assert (call["attempts"], call["cached"], call["outcome"]) == (1, False, "success")
    assert call["response_time_ms"] == row.response_time_ms
    assert call["message"].startswith(
        "assessment, scripted: success, 131 tokens in, 200 out, $0.000931000, "
    )
    for secret in (SECRET, "amina", result.text + " "):
        assert secret not in repr(call)


def test_an_answer_of_the_cache_is_for_those_who_want_all(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    scripted(ANSWER)
    for _ in range(2):
        ask(use_cache=True)
    found = [(each["event"], each["levelname"], each["cached"]) for each in calls(caplog)]
    assert found == [("calls.finished", "INFO", False), ("calls.cached", "DEBUG", True)]
    assert calls(caplog)[1]["cost_usd"] == 0


def test_failures_are_told_once_in_a_while_by_what_they_are(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    refused = AuthenticationError("The key was refused.")
    scripted(refused, refused, refused, RateLimitError("Too many."), RETRY={"attempts": 1})
    for _ in range(4):
        ask()
    assert [(each["levelname"], each["outcome"]) for each in calls(caplog)] == [
        ("WARNING", "authentication"),
        ("WARNING", "rate_limited"),
    ]
    assert AIOperation.objects.count() == 4


def test_a_refusal_names_the_budget(scripted: Scripted, caplog: pytest.LogCaptureFixture) -> None:
    scripted(ANSWER, BUDGETS=[{"scope": "global", "period": "total", "limit_usd": "0.0000001"}])
    result = ask(module="mana")
    (told,) = [vars(each) for each in caplog.records if each.name == "django_obc_ai.budget"]
    assert (told["event"], told["levelname"]) == ("budget.refused", "WARNING")
    assert (told["key"], told["ai_module"]) == ("global:total:always", "mana")
    assert told["operation_id"] == result.operation_id
    assert [each["outcome"] for each in calls(caplog)] == ["budget_exceeded"]


def test_streams_and_async_calls_are_told_in_their_own_context(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    scripted(ANSWER, ANSWER, ANSWER)
    with bound("request-1"):
        list(TextService().stream_text(SECRET, use_cache=False))
    with bound("request-2"):
        stream = TextService().stream_text(SECRET, use_cache=False)
        next(iter(stream))
        stream.close()

    async def main() -> None:
        with bound("request-3"):
            await TextService().agenerate_text(SECRET, use_cache=False)

    run_async(main())
    found = [(each["correlation_id"], each["outcome"]) for each in calls(caplog)]
    assert found == [
        ("request-1", "success"),
        ("request-2", "stream_interrupted"),
        ("request-3", "success"),
    ]


def test_a_row_that_waits_on_disk_is_told_once_by_its_caller(
    spooled: SpoolOf, caplog: pytest.LogCaptureFixture
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("elsewhere a writer of its own stores the row at once")
    spooled()
    with bound("request-1"), transaction.atomic():
        ask()
    assert AIOperation.objects.count() == 1 and drain_spool().stored == 0
    assert [each["correlation_id"] for each in calls(caplog)] == ["request-1"]
    assert calls(caplog)[0]["cost_usd"] == Decimal("0.000931")


def test_nobody_pays_for_lines_that_nobody_reads(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    scripted(ANSWER)
    with caplog.at_level(logging.WARNING, "django_obc_ai.calls"):
        ask()
    assert calls(caplog) == []


def test_logging_that_fails_costs_no_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A factory of the project's that sets an attribute of ours makes every record an error."""

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = logging.LogRecord(*args, **kwargs)
        record.__dict__["event"] = "mine"
        return record

    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(factory)
    try:
        with override_ai():
            assert TextService().generate_text("Q", use_cache=False).success
    finally:
        logging.setLogRecordFactory(before)
    assert "cannot log calls.finished: KeyError" in capsys.readouterr().err
    assert AIOperation.objects.count() == 1
