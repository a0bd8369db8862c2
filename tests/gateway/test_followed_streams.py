"""Who reads a stream that another call makes, and what becomes of it if that call is lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_obc_ai.backends.coordinators.memory import MemoryCoordinator
from django_obc_ai.exceptions import (
    CoordinatorError,
    InvalidRequestError,
    ObcAIError,
    StreamInterruptedError,
)
from django_obc_ai.models import AIOperation
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import override_ai
from django_obc_ai.types.coordination import Boarding
from tests.fakes import entry
from tests.gateway.conftest import PRICES

pytestmark = pytest.mark.django_db(transaction=True)
PART = Boarding(role="follow", leader="first", text="one ", seen=1)


class ToldCoordinator(MemoryCoordinator):
    """Says of the flight what a test has written down, in order."""

    said: list[Boarding | Exception]

    def board(self, key: str, token: str, **_: Any) -> Boarding:
        found = self.said.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


def landed(text: str) -> Boarding:
    answer = {"text": text, "finish": "stop", "model": "scripted", "cost": "0.5", "entry": None}
    return Boarding(role="landed", answer=json.dumps(answer))


@pytest.fixture
def follow(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    settings = {"PRICES": PRICES, "COORDINATORS": entry(ToldCoordinator)}
    with override_ai(["own answer"], **settings) as kit:

        def read(*said: Boarding | Exception) -> tuple[str, ObcAIError | None, int]:
            monkeypatch.setattr(ToldCoordinator, "said", list(said), raising=False)
            shown = ""
            try:
                for piece in TextService().stream_text("Q"):
                    shown += piece
            except ObcAIError as error:
                return shown, error, kit.provider.call_count
            return shown, None, kit.provider.call_count

        yield read


def test_its_text_and_then_the_rest_of_the_answer_are_passed_on(follow: Any) -> None:
    assert follow(PART, landed("one two")) == ("one two", None, 0)
    row = AIOperation.objects.get()
    assert (row.coalesced, row.success, str(row.saved_usd)) == (True, True, "0.500000000")


def test_before_any_text_a_lost_leader_is_replaced(follow: Any) -> None:
    waiting = Boarding(role="follow", leader="first")
    taken_over = Boarding(role="lead", is_takeover=True, leader="me")
    assert follow(waiting, taken_over) == ("own answer", None, 1)


@pytest.mark.parametrize(
    "then",
    [
        Boarding(role="lead", is_takeover=True, leader="me"),
        Boarding(role="follow", leader="second", text="uno "),
        Boarding(role="lost"),
        CoordinatorError("Away."),
        landed("uno dos"),
    ],
    ids=["lead", "another leader", "lost", "coordinator away", "another answer"],
)
def test_text_that_was_shown_is_not_continued_by_another_answer(follow: Any, then: Any) -> None:
    shown, error, calls = follow(PART, then)
    assert (shown, type(error), calls) == ("one ", StreamInterruptedError, 0)
    row = AIOperation.objects.get()
    assert (row.error_category, row.success, row.cost_usd) == ("stream_interrupted", False, 0)


def test_an_error_that_the_leader_shares_ends_the_stream(follow: Any) -> None:
    shared = {"error": "InvalidRequestError", "message": "No.", "retry_after": None}
    shown, error, _ = follow(PART, Boarding(role="landed", answer=json.dumps(shared)))
    assert (shown, type(error)) == ("one ", InvalidRequestError)
