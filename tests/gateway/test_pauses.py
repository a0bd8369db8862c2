"""A paused provider is not asked: nothing is sent, held or billed, in any process."""

from __future__ import annotations

import datetime
import json
import pickle
import subprocess
import sys
import time
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings
from django.utils import timezone

from django_obc_ai.exceptions import ProviderPausedError, RateLimitError
from django_obc_ai.gateway import pauses
from django_obc_ai.models import AIOperation, CostReservation, ProviderPause
from django_obc_ai.services.pauses import pause_provider, paused_providers, resume_provider
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import Reply
from django_obc_ai.types import Usage
from tests.backends.test_database_cost_store import _databases
from tests.gateway.conftest import Scripted, run_async
from tests.subprocesses import ROOT

pytestmark = pytest.mark.django_db(transaction=True)
ANSWER = Reply("A", usage=Usage(input_tokens=10, output_tokens=3))
BUDGETS = [{"scope": "global", "period": "total", "limit_usd": "1"}]
STORE = "django_obc_ai.backends.cost_stores.database.DatabaseCostStore"
BOOKED: dict[str, Any] = {"BUDGETS": BUDGETS, "COST_STORES": {"default": {"BACKEND": STORE}}}


def test_nothing_is_sent_held_or_billed(scripted: Scripted) -> None:
    kit = scripted(ANSWER, **BOOKED)
    pause_provider("default", reason="a bill that nobody understands")
    result = TextService().generate_text("Q")
    assert (result.success, result.error, result.cost) == (False, "provider_paused", Decimal(0))
    assert kit.provider.call_count == 0
    assert not CostReservation.objects.exists()
    row = AIOperation.objects.get()
    assert (row.error_category, row.attempts, row.cost_usd) == ("provider_paused", 0, 0)
    with pytest.raises(ProviderPausedError):
        result.raise_for_error()


def test_streams_and_async_calls_are_refused_too(scripted: Scripted) -> None:
    kit = scripted(ANSWER, ANSWER, ANSWER)
    pause_provider("default", reason="x")
    with pytest.raises(ProviderPausedError):
        list(TextService().stream_text("Q"))
    assert run_async(TextService().agenerate_text("Q")).error == "provider_paused"

    async def read() -> list[str]:
        return [each async for each in TextService().astream_text("Q")]

    with pytest.raises(ProviderPausedError):
        run_async(read())
    assert kit.provider.call_count == 0
    assert AIOperation.objects.filter(error_category="provider_paused").count() == 3


def test_cached_answers_are_still_served(scripted: Scripted) -> None:
    kit = scripted(ANSWER)
    assert TextService().generate_text("Q", scope="s").success
    pause_provider("default", reason="x")
    again = TextService().generate_text("Q", scope="s")
    assert (again.text, again.cached, kit.provider.call_count) == ("A", True, 1)


def test_a_call_under_way_makes_no_further_attempt(scripted: Scripted, waits: list[float]) -> None:
    def busy(_: Any) -> Reply:
        pause_provider("default", reason="x")
        raise RateLimitError("Busy.")

    kit = scripted(busy, ANSWER)
    assert TextService().generate_text("Q").error == "provider_paused"
    assert (kit.provider.call_count, AIOperation.objects.get().attempts) == (1, 1)


def test_the_others_are_asked_and_a_resumed_one_is_asked_again(scripted: Scripted) -> None:
    scripted(*[ANSWER] * 3)
    offline = {"BACKEND": "django_obc_ai.backends.providers.offline.OfflineProvider"}
    with override_settings(OBC_AI={"PROVIDERS": {"default": offline, "other": offline}}):
        pause_provider("other", reason="x")
        assert TextService().generate_text("Q").success
        assert TextService("other").generate_text("Q").error == "provider_paused"
        assert resume_provider("other") is True
        assert TextService("other").generate_text("Q").success
        assert resume_provider("other") is False


def test_a_pause_ends_by_itself(scripted: Scripted) -> None:
    scripted(ANSWER)
    until = timezone.now() + datetime.timedelta(hours=1)
    pause_provider("default", reason="x", until=until)
    result = TextService().generate_text("Q")
    assert f"until {until:%Y-%m-%d %H:%M} UTC" in (result.error_message or "")
    assert list(paused_providers()) == ["default"]
    ProviderPause.objects.update(until=timezone.now())
    pauses.forget()
    assert TextService().generate_text("Q").success
    assert paused_providers() == {}


def test_the_error_says_what_to_do_and_not_why_or_who(scripted: Scripted) -> None:
    scripted(ANSWER)
    pause_provider("default", reason="Amina saw Omar's prompts")
    result = TextService().generate_text("Q")
    with pytest.raises(ProviderPausedError) as caught:
        result.raise_for_error()
    error = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - its own
    assert (error.alias, error.until, error.retryable) == ("default", None, False)
    assert "OBC_AI['PROVIDERS']['default']" in str(error)
    assert "AI providers in the admin" in str(error)
    assert "Amina" not in str(error)


def test_what_was_rolled_back_pauses_nobody(scripted: Scripted) -> None:
    scripted(ANSWER)
    with transaction.atomic():
        pause_provider("default", reason="x")
        assert TextService().generate_text("Q", use_cache=False).error == "provider_paused"
        transaction.set_rollback(True)
    assert TextService().generate_text("Q").success


@pytest.mark.parametrize(
    ("alias", "values"),
    [
        ("defualt", {"reason": "x"}),
        ("default", {"reason": " "}),
        ("default", {"reason": "x" * 301}),
        ("default", {"reason": "x", "until": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)}),
    ],
)
def test_a_pause_that_makes_no_sense_is_refused(alias: str, values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"default|reason|ended"):
        pause_provider(alias, **values)
    assert not ProviderPause.objects.exists()


def test_rows_are_read_once_in_a_while(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(*[ANSWER] * 5)
    now = [100.0]
    read: list[float] = []
    real = pauses._rows
    monkeypatch.setattr(pauses, "_clock", lambda: now[0])
    monkeypatch.setattr(pauses, "_rows", lambda: (read.append(now[0]), real())[1])
    pauses.forget()
    for at in (100.0, 100.5, 100.7, 100.9):
        now[0] = at
        assert TextService().generate_text("Q", use_cache=False).success
    assert read == [100.0, 100.9]


@pytest.mark.parametrize("alias", ["default", "postgres"])
@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_every_process_stops_within_a_second(alias: str, postgres_alias: str) -> None:
    given = {"DATABASES": _databases(alias), "OBC_AI": {"DATABASE": alias}}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.gateway.pause_in_process", json.dumps(given)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        with override_settings(OBC_AI={"DATABASE": alias}):
            pause_provider("default", reason="x")
        paused_at = time.time()
        for process in processes:
            last, code = json.loads(process.communicate(timeout=60)[0])
            assert code == "provider_paused"
            # Not a matter of speed: a call that begins later than that reads the rows anew.
            assert last <= paused_at + 1
    finally:
        for process in processes:
            process.kill()
            process.communicate()
