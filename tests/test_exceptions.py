"""The hierarchy of errors: one code each, plain values, unharmed by pickling."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_obc_ai import exceptions
from django_obc_ai.exceptions import (
    BudgetExceededError,
    ConfigurationError,
    MissingDependencyError,
    ObcAIError,
    ProviderError,
    RateLimitError,
    SearchError,
    TransientError,
)
from django_obc_ai.types import Usage

CLASSES = [
    each
    for _, each in inspect.getmembers(exceptions, inspect.isclass)
    if each.__module__ == exceptions.__name__
]
RUN_TIME = [each for each in CLASSES if issubclass(each, ObcAIError)]
CONFIGURATION = [each for each in CLASSES if issubclass(each, ConfigurationError)]
#: What ``GenerationResult.error`` may be.
CODES = {
    "authentication",
    "invalid_request",
    "model_not_found",
    "provider_paused",
    "rate_limited",
    "quota_exhausted",
    "transient",
    "timeout",
    "bad_response",
    "content_blocked",
    "stream_interrupted",
    "abandoned",
    "dangerous_query",
    "budget_exceeded",
    "configuration",
    "queued",
    "queue_full",
    "deadline",
    "cancelled",
}


def _again(error: Exception) -> Any:
    return pickle.loads(pickle.dumps(error))  # noqa: S301 - pickled here


def test_every_class_is_a_run_time_or_a_configuration_error() -> None:
    assert set(CLASSES) == {*RUN_TIME, *CONFIGURATION}
    assert len(RUN_TIME) > 15
    assert set(CONFIGURATION) == {ConfigurationError, MissingDependencyError}


def test_the_codes_are_the_documented_ones() -> None:
    assert {each.code for each in CLASSES} == CODES


@pytest.mark.parametrize("each", CONFIGURATION)
def test_no_handler_of_run_time_errors_hides_a_configuration_error(each: type) -> None:
    assert issubclass(each, ImproperlyConfigured)
    assert not issubclass(each, ObcAIError)


def test_only_what_may_pass_by_itself_is_retryable() -> None:
    assert {each.__name__ for each in RUN_TIME if each.retryable} == {
        "RateLimitError",
        "TransientError",
        "ProviderTimeoutError",
        "BadResponseError",
        "CostStoreError",
        "CostStoreLostError",
        "CoordinatorError",
        "SharedCallError",
        "TaskRunnerError",
        "JobsFullError",
    }


def test_what_may_have_been_billed_says_so() -> None:
    assert {each.__name__ for each in RUN_TIME if each.is_possibly_billed} == {
        "TransientError",
        "ProviderTimeoutError",
        "BadResponseError",
        "ContentBlockedError",
        "StreamInterruptedError",
        "AbandonedCallError",
    }


def test_budget_and_search_errors_are_no_provider_errors() -> None:
    assert not issubclass(BudgetExceededError, ProviderError)
    assert not issubclass(SearchError, ProviderError)
    assert issubclass(exceptions.QuotaExhaustedError, RateLimitError)


@pytest.mark.parametrize("each", RUN_TIME)
def test_a_run_time_error_survives_pickling_with_its_facts(each: type[ObcAIError]) -> None:
    error = each(
        "it failed",
        retry_after_seconds=2.5,
        usage=Usage(input_tokens=3, is_exact=False),
        is_possibly_billed=not each.is_possibly_billed,
    )
    error.retryable = not each.retryable
    for other in (_again(error), _again(_again(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is each
        assert str(other) == "it failed"
        assert other.__dict__ == error.__dict__
        assert other.code == each.code
        assert other.retryable is not each.retryable
        assert other.is_possibly_billed is not each.is_possibly_billed


@pytest.mark.parametrize("each", RUN_TIME)
def test_a_run_time_error_without_words_says_what_it_is(each: type[ObcAIError]) -> None:
    error = each()
    assert str(error) == inspect.getdoc(each).splitlines()[0]  # type: ignore[union-attr]
    assert (error.retry_after_seconds, error.usage) == (None, None)
    assert error.is_possibly_billed is each.is_possibly_billed
    assert str(_again(error)) == str(error)


@pytest.mark.parametrize("each", CONFIGURATION)
def test_a_configuration_error_survives_pickling(each: type[ConfigurationError]) -> None:
    error = _again(each("OBC_AI is wrong.", hint="Correct it.", check_id="E004"))
    assert type(error) is each
    assert (error.message, error.hint, error.check_id) == (
        "OBC_AI is wrong.",
        "Correct it.",
        "E004",
    )
    assert str(error) == "OBC_AI is wrong. Correct it."
    assert error.code == "configuration"


def test_a_configuration_error_without_a_hint_is_its_message() -> None:
    error = ConfigurationError("OBC_AI is wrong.")
    assert (str(error), error.check_id) == ("OBC_AI is wrong.", "E002")


def test_an_instance_may_differ_from_its_class_and_leaves_it_alone() -> None:
    TransientError("refused before it was sent", is_possibly_billed=False)
    assert TransientError.is_possibly_billed
