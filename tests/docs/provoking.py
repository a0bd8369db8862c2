"""Meeting errors on purpose: what the ways of `provoked_calls` and `provoked_work` share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_obc_ai.exceptions import ConfigurationError, ObcAIError
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import Reply, override_ai
from django_obc_ai.types import GenerationResult, Usage
from tests.extras import is_installed

BACKENDS = "django_obc_ai.backends"
NOWHERE = "redis://127.0.0.1:1/0"
PRICES = {"scripted": {"input_usd": "1", "output_usd": "4"}}
BUDGETS = [{"scope": "global", "period": "day", "limit_usd": "0.001"}]
ONCE = {"attempts": 1, "deadline_seconds": 20}
ANSWER = Reply("A", usage=Usage(input_tokens=1, output_tokens=100))
Request = pytest.FixtureRequest
Told = BaseException | str
Way = Callable[[Request], Told]
#: Ways by the name of the error, in the order of the page's rows of that error.
WAYS: dict[str, list[Way]] = {}


def provokes(name: str) -> Callable[[Way], Way]:
    """Note a way to meet an error, or a message that is none of ours."""

    def note(way: Way) -> Way:
        WAYS.setdefault(name, []).append(way)
        return way

    return note


def needs(module: str) -> None:
    """Skip what cannot be met where a package is not installed."""
    if not is_installed(module):
        pytest.skip(f"{module} is not installed")


def raised_by(work: Callable[..., Any], *arguments: Any, **named: Any) -> BaseException:
    """Return what a function raises."""
    with pytest.raises((ObcAIError, ConfigurationError)) as caught:
        work(*arguments, **named)
    return caught.value


def failed(result: GenerationResult) -> BaseException:
    """Return the error of a result, whose text is what the result says."""
    error = raised_by(result.raise_for_error)
    assert result.error_message == str(error)
    return error


def ask(prompt: str = "Q", **arguments: Any) -> GenerationResult:
    """Make one small call."""
    given = {"max_output_tokens": 100, "include_context": False, **arguments}
    return TextService().generate_text(prompt, **given)


def scripted(*script: Any, **settings: Any) -> override_ai:
    """A provider that costs money and answers what the script says."""
    return override_ai(list(script), **{"PRICES": PRICES, "RETRY": ONCE, **settings})


def all_ways() -> Iterator[tuple[str, int]]:
    """Yield each way as the error's name and its number among that error's."""
    for name, found in WAYS.items():
        yield from ((name, number) for number in range(len(found)))
