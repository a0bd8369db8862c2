"""Asking ahead what people are going to ask, so that the cache has the answers by then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.module_loading import import_string

from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.logs import events
from django_obc_ai.services._claims import claimed
from django_obc_ai.services.text import TextService

#: Errors that the next prompt would meet, too: nothing more is asked.
_END = frozenset(
    {
        "budget_exceeded", "rate_limited", "quota_exhausted", "queued", "queue_full",
        "provider_paused", "authentication", "configuration",
    }
)  # fmt: skip
_HINT = "Give the dotted path of a function without arguments that yields dictionaries."


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmReport:
    """What was asked ahead.

    Attributes:
        answered: Prompts that a provider has answered.
        cached: Prompts whose answer was there already.
        failed: Prompts that failed.
        left: Prompts that were not asked, since a budget, a limit or the like is used up.
        reason: The category of that error, "" if nothing is left.
        is_elsewhere: Whether another process is at it; nothing was asked then.
    """

    answered: int = 0
    cached: int = 0
    failed: int = 0
    left: int = 0
    reason: str = ""
    is_elsewhere: bool = False


def warm_cache() -> WarmReport:
    """Ask what ``OBC_AI["CACHE"]["warm"]`` names, one prompt after the other.

    Each is a dictionary of `TextService.generate_text`'s arguments; ``provider`` and ``model`` may
    stand in it, too. What is in the cache costs nothing. The first prompt that a budget, a limit
    or a paused provider refuses is the last one that is asked.

    Raises:
        ConfigurationError: The setting names nothing that can be called.
        TypeError: A dictionary does not fit.
        Exception: Whatever the project's function raises.
    """
    with claimed("warm_cache") as is_mine:
        return _ask_all() if is_mine else WarmReport(is_elsewhere=True)


def _ask_all() -> WarmReport:
    counts: Counter[str] = Counter()
    left, reason = 0, ""
    for given in load_prompts(get_settings().cache.warm)():
        if reason:
            left += 1
            continue
        arguments = dict(given)
        provider, model = arguments.pop("provider", "default"), arguments.pop("model", None)
        result = TextService(provider, model=model).generate_text(**arguments)
        if result.error in _END:
            left, reason = 1, result.error
            continue
        counts["failed" if result.error else "cached" if result.cached else "answered"] += 1
    report = WarmReport(
        answered=counts["answered"],
        cached=counts["cached"],
        failed=counts["failed"],
        left=left,
        reason=reason,
    )
    if report != WarmReport():
        events.CACHE_WARMED.log(
            answered=report.answered,
            cached=report.cached,
            failed=report.failed,
            left=report.left,
            reason=report.reason,
        )
    return report


def load_prompts(found: Any) -> Callable[[], Iterable[Mapping[str, Any]]]:
    """Return the function that ``OBC_AI["CACHE"]["warm"]`` names; one that yields nothing for None.

    Raises:
        ConfigurationError: The setting names nothing that can be called.
    """
    if found is None:
        return tuple
    if isinstance(found, str):
        try:
            found = import_string(found)
        except ImportError as error:
            raise ConfigurationError(
                f"OBC_AI['CACHE']['warm'] cannot be imported: {error}.", hint=_HINT, check_id="E003"
            ) from error
    if not callable(found):
        raise ConfigurationError(
            f"OBC_AI['CACHE']['warm'] names {type(found).__name__}, which cannot be called.",
            hint=_HINT,
        )
    function: Callable[[], Iterable[Mapping[str, Any]]] = found
    return function
