"""Where this project could spend less, computed from its own operations.

Each suggestion says what it would have saved over the days looked at, in dollars, and how that
was computed. Figures of different kinds may count the same money: "hit_rate" is the sum of
"repeated_prompts" and "ttl" of its module.
"""

from __future__ import annotations

import datetime
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple

from django.utils import timezone

from django_obc_ai.conf import get_settings
from django_obc_ai.gateway import prices
from django_obc_ai.models import AIOperation
from django_obc_ai.querysets import AIOperationQuerySet, current_day
from django_obc_ai.types import Usage

Kind = Literal["hit_rate", "repeated_prompts", "ttl", "long_contexts", "unused_thinking"]
HIT_RATE = 0.8  # what the original system promised
_LEAST_CALLS = 20  # of fewer calls nothing is concluded
_LONG = 4  # times the median
_LONG_TOKENS = 4_000
_SHORT_ANSWER = 4  # thinking that is this many times the answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """One way to spend less.

    Attributes:
        kind: What it is about.
        subject: The module, content type or operation type.
        message: What was found, and what to do.
        saves_usd: What it would have saved over the days looked at.
        how: How that was computed.
    """

    kind: Kind
    subject: str
    message: str
    saves_usd: Decimal
    how: str


class _Repeat(NamedTuple):
    """A prompt that was paid for again."""

    module: str
    content_type: str
    gap_seconds: float
    cost_usd: Decimal


def suggest_savings(days: int = 30, *, today: datetime.date | None = None) -> list[Suggestion]:
    """Return what would have cost less over the last days, the largest saving first.

    Prompts are compared by their keyed hash; none is read. Suggestions that would save nothing
    are left out.

    Args:
        days: How many days, today included.
        today: The day it is; the project's today by default.
    """
    today = today or current_day()
    rows = AIOperation.objects.between(today - datetime.timedelta(days=days - 1), today)
    repeats = [
        _Repeat(each.module, each.content_type, gap, each.cost_usd)
        for each, gap in rows.paid_again()
    ]
    paid = list(rows.paid().filter(tokens_exact=True).order_by().iterator(chunk_size=2000))
    found = [
        *_hit_rates(rows, repeats),
        *_repeated(repeats),
        *_ttls(repeats),
        *_long_contexts(paid),
        *_thinking(paid),
    ]
    return sorted((each for each in found if each.saves_usd > 0), key=lambda s: -s.saves_usd)


def _hit_rates(rows: AIOperationQuerySet, repeats: Iterable[_Repeat]) -> Iterator[Suggestion]:
    lost: dict[str, list[Decimal]] = defaultdict(list)
    for repeat in repeats:
        lost[repeat.module].append(repeat.cost_usd)
    for row in rows.filter(success=True).breakdown("module"):
        module, calls, hits = row["key"], row["operations"] - row["coalesced"], row["cached"]
        again = lost[module]
        if calls < _LEAST_CALLS or hits / calls >= HIT_RATE or not again:
            continue
        reachable = (hits + len(again)) / calls
        yield Suggestion(
            kind="hit_rate",
            subject=module,
            message=(
                f"{hits / calls:.0%} of {module}'s answers come from the cache; the aim is"
                f" {HIT_RATE:.0%}. Its prompts repeat often enough for {reachable:.0%}."
            ),
            saves_usd=sum(again, Decimal(0)),
            how=f"cost of {len(again)} answers whose prompt had been paid for before",
        )


def _repeated(repeats: Iterable[_Repeat]) -> Iterator[Suggestion]:
    """Repeats within the time that an answer is kept: the cache should have had them."""
    missed: dict[str, list[Decimal]] = defaultdict(list)
    for repeat in repeats:
        if repeat.gap_seconds <= _ttl_of(repeat):
            missed[repeat.module].append(repeat.cost_usd)
    for module, costs in missed.items():
        yield Suggestion(
            kind="repeated_prompts",
            subject=module,
            message=(
                f"{module} paid for {len(costs)} answers that should still have been cached."
                " Look for use_cache=False, tags dropped too often, a cache that workers do not"
                " share, or one that is too small."
            ),
            saves_usd=sum(costs, Decimal(0)),
            how=f"cost of {len(costs)} repeats within the time to live of their content type",
        )


def _ttls(repeats: Iterable[_Repeat]) -> Iterator[Suggestion]:
    """Repeats after an answer had expired: a longer time would have caught them."""
    late: dict[str, list[_Repeat]] = defaultdict(list)
    for repeat in repeats:
        if repeat.gap_seconds > _ttl_of(repeat):
            late[repeat.content_type or "analysis"].append(repeat)
    for content_type, found in late.items():
        gaps = sorted(repeat.gap_seconds for repeat in found)
        enough = gaps[min(len(gaps) - 1, int(0.9 * len(gaps)))]
        caught = [repeat.cost_usd for repeat in found if repeat.gap_seconds <= enough]
        now = _ttl_of(found[0])
        yield Suggestion(
            kind="ttl",
            subject=content_type,
            message=(
                f"Answers of type {content_type!r} are kept for {now:,} s; {len(found)} prompts"
                f" came again later. Nine of ten came within {enough:,.0f} s: if such answers"
                " stay true for so long, raise OBC_AI['CACHE']['ttl_seconds']."
            ),
            saves_usd=sum(caught, Decimal(0)),
            how=f"cost of {len(caught)} repeats later than {now:,} s and within {enough:,.0f} s",
        )


def _ttl_of(repeat: _Repeat) -> int:
    known = get_settings().cache.ttl_seconds
    return known.get(repeat.content_type, known["analysis"])


def _long_contexts(paid: Iterable[AIOperation]) -> Iterator[Suggestion]:
    groups: dict[tuple[str, str], list[AIOperation]] = defaultdict(list)
    for row in paid:
        groups[row.module, row.operation_type].append(row)
    for (module, operation_type), found in groups.items():
        median = statistics.median(row.input_tokens for row in found)
        limit = max(int(_LONG * median), _LONG_TOKENS)
        long = [row for row in found if row.input_tokens > limit]
        if len(found) < _LEAST_CALLS or not long:
            continue
        yield Suggestion(
            kind="long_contexts",
            subject=f"{module}/{operation_type}",
            message=(
                f"{len(long)} of {len(found)} prompts of {module}/{operation_type} are longer"
                f" than {limit:,} tokens; half have at most {median:,.0f}. Send fewer or shorter"
                " sources."
            ),
            saves_usd=_cost((row, Usage(input_tokens=row.input_tokens - limit)) for row in long),
            how=f"input price of what is above {limit:,} tokens ({_LONG} times the median)",
        )


def _thinking(paid: Iterable[AIOperation]) -> Iterator[Suggestion]:
    groups: dict[str, list[AIOperation]] = defaultdict(list)
    for row in paid:
        groups[row.operation_type].append(row)
    for operation_type, found in groups.items():
        thought = sum(row.thinking_tokens for row in found)
        answered = sum(row.output_tokens for row in found)
        if len(found) < _LEAST_CALLS or thought <= _SHORT_ANSWER * answered:
            continue
        yield Suggestion(
            kind="unused_thinking",
            subject=operation_type,
            message=(
                f"Answers to {operation_type!r} took {thought:,} tokens of thinking for"
                f" {answered:,} tokens of text. Compare answers with a thinking_budget of 0."
            ),
            saves_usd=_cost((row, Usage(thinking_tokens=row.thinking_tokens)) for row in found),
            how=f"thinking price of {thought:,} tokens, all of which would have to be needless",
        )


def _cost(parts: Iterable[tuple[AIOperation, Usage]]) -> Decimal:
    """Return what parts of operations cost at the prices of their days; no price, no saving."""
    total = Decimal(0)
    for row, usage in parts:
        at = row.created_at if row.created_at.tzinfo else timezone.make_aware(row.created_at)
        price = prices.find_price(row.model_used, at)
        if price is not None:
            total += prices.cost_of(price, usage)
    return total
