"""Which providers are asked in place of one that fails, and what is left of it in the row."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from django.dispatch import Signal

from django_obc_ai.backends.coordinators.memory import MemoryCoordinator
from django_obc_ai.backends.providers import providers
from django_obc_ai.exceptions import (
    AuthenticationError,
    ContentBlockedError,
    InvalidRequestError,
    ObcAIError,
    ProviderTimeoutError,
    QuotaExhaustedError,
    RateLimitError,
    TransientError,
)
from django_obc_ai.models import AIOperation, ProviderPause
from django_obc_ai.services.text import TextService
from django_obc_ai.signals import call_fell_back, call_retried
from django_obc_ai.testing import Reply, ScriptedProvider, override_ai
from django_obc_ai.types import Usage
from tests.gateway.conftest import PRICES, run_async

pytestmark = pytest.mark.django_db
DOWN = TransientError("Down.", is_possibly_billed=False)
SCRIPTED = "django_obc_ai.testing.provider.ScriptedProvider"
Chain = Any  # of scripts, by alias


def scripted(*script: Any, **options: Any) -> dict[str, Any]:
    return {"BACKEND": SCRIPTED, "OPTIONS": {"script": list(script), **options}}


@pytest.fixture
def chain(waits: list[float]) -> Iterator[Any]:
    with ExitStack() as stack:

        def enter(*scripts: Sequence[Any], **settings: Any) -> list[ScriptedProvider]:
            aliases = ["default", "second", "third"][: len(scripts)]
            families = {
                alias: scripted(*script, model=f"m-{alias}")
                for alias, script in zip(aliases, scripts, strict=True)
            }
            prices = {f"m-{alias}": PRICES["scripted"] for alias in aliases}
            merged = {"FALLBACKS": {"default": aliases[1:]}, "PRICES": prices, **settings}
            stack.enter_context(override_ai(PROVIDERS=families, **merged))
            return [providers[alias] for alias in aliases]  # type: ignore[misc]  # scripted ones

        yield enter


def heard(signal: Signal, stack: ExitStack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def note(**facts: Any) -> None:
        found.append(facts)

    signal.connect(note)
    stack.callback(signal.disconnect, note)
    return found


def test_the_next_alias_answers_and_the_row_names_both(chain: Chain) -> None:
    first, second = chain([DOWN] * 9, ["B"])
    with ExitStack() as stack:
        fell, retried = heard(call_fell_back, stack), heard(call_retried, stack)
        result = TextService().generate_text("Q")
    row = AIOperation.objects.get()
    assert (result.text, result.model) == ("B", "m-second")
    assert (row.provider, row.fallback_from, row.attempts) == ("second", "default", 3)
    assert (first.call_count, second.call_count) == (2, 1)  # one attempt is kept for each
    assert [(each["from_alias"], each["to_alias"]) for each in fell] == [("default", "second")]
    assert [each["attempt"] for each in retried] == [1]
    assert second.requests[0].model == "m-second"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", ["awaited", "streamed", "both"])
def test_every_way_of_calling_falls_back(chain: Chain, way: str) -> None:
    chain([DOWN] * 9, ["B"])
    service = TextService()

    async def stream() -> str:
        return "".join([piece async for piece in service.astream_text("Q")])

    if way == "awaited":
        assert run_async(service.agenerate_text("Q")).text == "B"
    elif way == "streamed":
        assert "".join(service.stream_text("Q")) == "B"
    else:
        assert run_async(stream()) == "B"
    assert AIOperation.objects.get().fallback_from == "default"


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("Bad key."),
        QuotaExhaustedError("Used up."),
        RateLimitError("Busy."),
        ProviderTimeoutError("Late.", is_possibly_billed=False),
    ],
)
def test_what_another_provider_may_do_better_is_asked_of_it(
    chain: Chain, error: ObcAIError
) -> None:
    chain([error] * 3, ["B"])
    assert TextService().generate_text("Q").text == "B"


@pytest.mark.parametrize(
    "first",
    [
        InvalidRequestError("No."),
        ContentBlockedError("No."),
        Reply("", finish_reason="blocked"),
        Reply("", usage=Usage(input_tokens=9, thinking_tokens=9), finish_reason="length"),
    ],
)
def test_what_would_repeat_is_asked_of_nobody_else(chain: Chain, first: Any) -> None:
    _, second = chain([first], ["B"])
    assert not TextService().generate_text("Q").success
    assert second.call_count == 0
    assert AIOperation.objects.get().fallback_from == ""


def test_a_spent_budget_has_no_fallback(chain: Chain) -> None:
    budget = {"scope": "global", "period": "day", "limit_usd": "0"}
    first, second = chain(["A"], ["B"], BUDGETS=[budget])
    assert TextService().generate_text("Q").error == "budget_exceeded"
    assert (first.call_count, second.call_count) == (0, 0)


def test_one_budget_of_attempts_holds_for_the_whole_chain(chain: Chain) -> None:
    kits = chain([DOWN] * 9, [DOWN] * 9, [DOWN] * 9, RETRY={"attempts": 4})
    assert TextService().generate_text("Q").error == "transient"
    assert [kit.call_count for kit in kits] == [2, 1, 1]
    assert AIOperation.objects.get().attempts == 4


def test_a_chain_longer_than_the_attempts_ends_with_them(chain: Chain) -> None:
    kits = chain([DOWN], [DOWN], ["C"], RETRY={"attempts": 2})
    assert TextService().generate_text("Q").error == "transient"
    assert [kit.call_count for kit in kits] == [1, 1, 0]


def test_a_provider_that_nothing_is_sent_to_costs_no_attempt(chain: Chain) -> None:
    first, _ = chain(["A"], ["B"], RETRY={"attempts": 1})
    ProviderPause.objects.create(alias="default", paused_by="x", reason="y")
    assert TextService().generate_text("Q").text == "B"
    assert first.call_count == 0
    assert AIOperation.objects.get().attempts == 1


class Clock:
    """What the gates of a test see, moved by hand and by each wait."""

    def __init__(self, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
        self._waits, self._began, self._passed = waits, time.time(), 0.0
        monkeypatch.setattr(MemoryCoordinator, "clock", staticmethod(self.now))

    def now(self) -> float:
        return self._began + self._passed + sum(self._waits)

    def pass_(self, seconds: float) -> None:
        self._passed += seconds


@pytest.fixture
def clock(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(waits, monkeypatch)


def full(*aliases: str, when_exceeded: str = "wait") -> dict[str, Any]:
    """Limits of one request a minute."""
    return {each: {"per_minute": 1, "when_exceeded": when_exceeded} for each in aliases}


@pytest.mark.parametrize("passed", [0.0, 1.0, 59.0])
def test_a_full_window_goes_to_the_next_alias_without_waiting(
    chain: Chain, clock: Clock, waits: list[float], passed: float
) -> None:
    """Though a wait would end in time: nobody waits while another has room."""
    chain(["A", "A"], ["B"], RATE_LIMITS=full("default"))
    assert TextService().generate_text("Q0").text == "A"
    clock.pass_(passed)
    assert TextService().generate_text("Q1").text == "B"
    assert waits == []
    assert AIOperation.objects.latest("created_at").fallback_from == "default"


def test_where_all_are_full_the_one_with_room_first_is_waited_for(
    chain: Chain, clock: Clock, waits: list[float]
) -> None:
    first, second = chain(["A", "C"], ["B"], RATE_LIMITS=full("default", "second"))
    assert TextService().generate_text("Q0").text == "A"
    clock.pass_(40)
    assert TextService().generate_text("Q1").text == "B"
    with ExitStack() as stack:
        fell = heard(call_fell_back, stack)
        result = TextService(model="asked").generate_text("Q2")
    assert (result.text, waits) == ("C", [pytest.approx(20, abs=0.01)])
    assert [request.model for request in first.requests] == ["m-default", "asked"]
    assert second.call_count == 1
    row = AIOperation.objects.get(pk=result.operation_id)
    assert (row.provider, row.fallback_from, row.attempts) == ("default", "", 1)
    assert [(each["from_alias"], each["to_alias"]) for each in fell] == [
        ("default", "second"),
        ("second", "default"),
    ]


def test_the_last_alias_is_waited_for_if_it_has_room_first(
    chain: Chain, clock: Clock, waits: list[float]
) -> None:
    chain(["A", "C"], ["B", "D"], RATE_LIMITS=full("default", "second"))
    ProviderPause.objects.create(alias="default", paused_by="x", reason="y")
    assert TextService().generate_text("Q0").text == "B"
    ProviderPause.objects.all().delete()
    clock.pass_(40)
    assert TextService().generate_text("Q1").text == "A"
    assert TextService().generate_text("Q2").text == "D"
    assert waits == [pytest.approx(20, abs=0.01)]


@pytest.mark.parametrize("how", ["paused", "down", "without the option"])
def test_a_limit_is_waited_for_if_no_other_can_answer(
    chain: Chain, clock: Clock, waits: list[float], how: str
) -> None:
    options = {"k": 1} if how == "without the option" else {}
    chain(["A", "C"], [DOWN] * 9, RATE_LIMITS=full("default"), RETRY={"attempts": 2})
    if how == "paused":
        ProviderPause.objects.create(alias="second", paused_by="x", reason="y")
    providers["default"].generation_options = frozenset({"k"})
    assert TextService().generate_text("Q0", **options).text == "A"
    clock.pass_(50)
    assert TextService().generate_text("Q1", **options).text == "C"
    assert waits == [pytest.approx(10, abs=0.01)]


def test_a_second_time_nobody_is_asked_who_shall_refuse(
    chain: Chain, clock: Clock, waits: list[float]
) -> None:
    limits = full("default", "second", when_exceeded="refuse")
    kits = chain(["A"], ["B"], RATE_LIMITS=limits)
    texts = [TextService().generate_text(f"Q{n}").text for n in range(2)]
    with ExitStack() as stack:
        fell = heard(call_fell_back, stack)
        result = TextService().generate_text("Q2")
    assert (texts, result.error, waits) == (["A", "B"], "rate_limited", [])
    assert [kit.call_count for kit in kits] == [1, 1]
    assert [each["to_alias"] for each in fell] == ["second"]
    assert "['RATE_LIMITS']['second']" in str(result.exception)


def test_answers_of_another_alias_are_not_taken_for_the_first_ones(chain: Chain) -> None:
    first, second = chain([DOWN, DOWN, "A"], ["B"])
    assert TextService().generate_text("Q").text == "B"
    assert TextService().generate_text("Q").text == "A"  # the first is back, and is asked
    assert TextService().generate_text("Q").cached
    assert (first.call_count, second.call_count) == (3, 1)


def test_while_the_first_is_away_the_others_answer_serves_from_the_cache(chain: Chain) -> None:
    _, second = chain([DOWN] * 4, ["B"], BREAKER={"failures": 2})
    assert TextService().generate_text("Q").text == "B"
    result = TextService().generate_text("Q")
    assert (result.text, result.cached, second.call_count) == ("B", True, 1)


def test_what_the_first_one_cost_stays_in_the_row_though_the_other_answers_from_the_cache(
    chain: Chain,
) -> None:
    cut = TransientError("Cut.", usage=Usage(input_tokens=10))
    chain([DOWN, DOWN, cut, cut], ["B"], RETRY={"attempts": 3})
    assert TextService().generate_text("Q").text == "B"
    result = TextService("default").generate_text("Q")  # its attempts are billed
    row = AIOperation.objects.get(pk=result.operation_id)
    assert (result.text, row.provider, row.fallback_from) == ("B", "second", "default")
    assert row.cost_usd > 0
    assert (row.cached, row.success) == (False, True)


def test_an_alias_that_lacks_an_option_is_passed_over(chain: Chain) -> None:
    families = {
        "default": {
            "BACKEND": SCRIPTED,
            "OPTIONS": {"script": [DOWN], "generation_options": ["k"]},
        },
        "second": {"BACKEND": SCRIPTED, "OPTIONS": {"script": ["B"]}},
        "third": {"BACKEND": SCRIPTED, "OPTIONS": {"script": ["C"], "generation_options": ["k"]}},
    }
    settings = {"FALLBACKS": {"default": ["second", "third"]}, "PRICES": PRICES}
    with override_ai(PROVIDERS=families, RETRY={"attempts": 2}, **settings):
        assert TextService().generate_text("Q", k=1).text == "C"
