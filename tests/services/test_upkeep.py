"""Purges by the settings, and answers that are asked ahead."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.utils import timezone

from django_obc_ai.exceptions import ConfigurationError, ContentBlockedError
from django_obc_ai.models import AIOperation, Conversation, StoredContent, TaskState
from django_obc_ai.services import tasks
from django_obc_ai.services._claims import claimed
from django_obc_ai.services.text import TextService
from django_obc_ai.services.warming import WarmReport, warm_cache
from django_obc_ai.testing import override_ai

pytestmark = pytest.mark.django_db(transaction=True)
NO_FUNCTION = "text"


@pytest.fixture(autouse=True)
def _empty_cache() -> None:
    caches["default"].clear()


@pytest.fixture
def _old() -> None:
    at = timezone.now() - datetime.timedelta(days=100)
    row = AIOperation.objects.create(provider="default", success=True, created_at=at)
    AIOperation.objects.update(recorded_at=at)
    StoredContent.objects.create(operation=row, prompt="Q", answer="A", created_at=at)
    Conversation.objects.create()
    Conversation.objects.update(updated_at=at - datetime.timedelta(days=300))
    TaskState.objects.create(name="send_cost_report", key="2020-01-01", finished_at=at)


def purge(**settings: Any) -> tuple[int, int, int]:
    with override_ai(**settings):
        tasks.run("purge_operations", {})
    return (
        AIOperation.objects.count(),
        StoredContent.objects.count(),
        Conversation.objects.count(),
    )


@pytest.mark.usefixtures("_old")
def test_operations_are_kept_unless_the_settings_say_for_how_long() -> None:
    assert purge(LOG={"content_days": None}, CHAT={"retention_days": None}) == (1, 1, 1)
    assert purge() == (1, 0, 0)
    assert purge(LOG={"operation_days": 101}) == (1, 0, 0)
    assert purge(LOG={"operation_days": 99}) == (0, 0, 0)


@pytest.mark.usefixtures("_old")
def test_the_command_takes_its_age_from_the_setting() -> None:
    with override_ai(), pytest.raises(CommandError, match="operation_days"):
        call_command("purge_operations")
    with override_ai(LOG={"operation_days": 99}):
        call_command("purge_operations", stdout=StringIO())
    assert not AIOperation.objects.exists()


@pytest.mark.usefixtures("_old")
def test_what_was_done_once_is_forgotten_after_a_year() -> None:
    purge()
    assert TaskState.objects.filter(key="2020-01-01").exists()
    TaskState.objects.update(finished_at=timezone.now() - datetime.timedelta(days=401))
    purge()
    assert not TaskState.objects.exclude(key="").exists()
    assert TaskState.objects.filter(name="purge_operations", key="").exists()


def prompts() -> Iterator[dict[str, Any]]:
    for number in range(3):
        yield {"prompt": f"Question {number}", "module": "mana", "content_type": "static"}


def warm(*script: Any, **settings: Any) -> WarmReport:
    with override_ai(list(script), CACHE={"warm": prompts}, **settings):
        return warm_cache()


def test_answers_are_there_before_people_ask() -> None:
    with override_ai(["A", "B", "C"], CACHE={"warm": f"{__name__}.prompts"}):
        assert warm_cache() == WarmReport(answered=3)
        assert warm_cache() == WarmReport(cached=3)
        found = TextService().generate_text("Question 1", module="chat", content_type="static")
        assert (found.text, found.cached, found.cost) == ("B", True, 0)


def test_without_the_setting_nothing_is_asked() -> None:
    with override_ai(["A"]):
        assert warm_cache() == WarmReport()
    assert not AIOperation.objects.exists()


def test_warming_ends_where_a_budget_ends(caplog: pytest.LogCaptureFixture) -> None:
    budgets = [{"scope": "global", "period": "day", "limit_requests": 1}]
    with caplog.at_level(logging.INFO, "django_obc_ai.cache"):
        report = warm("A", "B", "C", BUDGETS=budgets)
    assert report == WarmReport(answered=1, left=2, reason="budget_exceeded")
    assert "1 prompts were answered ahead" in caplog.text
    assert AIOperation.objects.count() == 2


def test_warming_ends_where_the_rate_limits_refuse() -> None:
    limits = {"default": {"per_minute": 2, "when_exceeded": "refuse"}}
    report = warm("A", "B", "C", RATE_LIMITS=limits)
    assert report == WarmReport(answered=2, left=1, reason="rate_limited")


def test_a_prompt_that_fails_does_not_end_it() -> None:
    report = warm("A", ContentBlockedError("blocked"), "C")
    assert report == WarmReport(answered=2, failed=1)


def test_one_process_warms_at_a_time() -> None:
    with claimed("warm_cache"):
        assert warm("A", "B", "C") == WarmReport(is_elsewhere=True)
        out = StringIO()
        call_command("warm_cache", stdout=out)
        assert out.getvalue() == "Another process is at it.\n"


def test_the_command_says_what_was_left() -> None:
    out = StringIO()
    budgets = [{"scope": "global", "period": "day", "limit_requests": 1}]
    with override_ai(["A", "B", "C"], CACHE={"warm": prompts}, BUDGETS=budgets):
        with pytest.raises(CommandError, match="2 were not asked: budget_exceeded") as caught:
            call_command("warm_cache", stdout=out)
        assert caught.value.returncode == 1
    assert out.getvalue() == "1 answered, 0 in the cache already, 0 failed.\n"


@pytest.mark.parametrize("name", ["nothing.here", f"{__name__}.NO_FUNCTION"])
def test_a_setting_that_names_no_function_says_so(name: str) -> None:
    with override_ai(CACHE={"warm": name}), pytest.raises(ConfigurationError, match="warm"):
        warm_cache()
