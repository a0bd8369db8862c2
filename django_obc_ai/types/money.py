"""Money, budgets and prices; amounts are Decimal dollars or integer nano-dollars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal, TypeAlias
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRow:
    """What one model costs from one day on, in US dollars per million tokens.

    Attributes:
        model: The provider's name of the model, without a "models/" prefix.
        input_usd: Price of prompt tokens.
        output_usd: Price of the answer's tokens; 0 for models that embed.
        cached_input_usd: Price of cached prompt tokens; None means the input price.
        thinking_usd: Price of thinking tokens; None means the output price.
        audio_input_usd: Price of prompt tokens that are audio; None means the input price.
        long_prompt_tokens: A prompt of more tokens, cached ones included, costs the ``long_``
            prices, the whole request; None means that there are none.
        long_input_usd: Input price of such a request.
        long_output_usd: Output price of such a request, and its price of thinking.
        long_cached_input_usd: Cached price of such a request; None means its input price.
        batch_share: What a request in a batch costs, as a share of these prices; 1 if no
            price of batches is known.
        batch_cached_input_usd: Cached price in a batch; None means the cached price, unshared.
        effective_from: First UTC day of this price; None means always.
        source: Where the price stands.
        checked_on: When it stood there.
    """

    model: str
    input_usd: Decimal
    output_usd: Decimal
    cached_input_usd: Decimal | None = None
    thinking_usd: Decimal | None = None
    audio_input_usd: Decimal | None = None
    long_prompt_tokens: int | None = None
    long_input_usd: Decimal | None = None
    long_output_usd: Decimal | None = None
    long_cached_input_usd: Decimal | None = None
    batch_share: Decimal = Decimal(1)
    batch_cached_input_usd: Decimal | None = None
    effective_from: date | None = None
    source: str = ""
    checked_on: date | None = None


Unit: TypeAlias = Literal["usd", "tokens", "requests"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """What a call takes from budgets of each unit: nano-dollars, tokens and requests."""

    nano: int = 0
    tokens: int = 0
    requests: int = 0

    def of(self, unit: str) -> int:
        """Return the part that a budget of this unit counts."""
        return {"usd": self.nano, "tokens": self.tokens, "requests": self.requests}[unit]


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetHold:
    """One total that a reservation counts against.

    Attributes:
        key: Names scope, period and unit, for example "global:day:2026-11-22".
        limit_nano: The limit in nano-dollars (in tokens or requests for such a unit), or
            None to count without a limit.
        unit: What the total counts.
        ends_at: When the period is over, in seconds since 1970; None is never. A store may
            forget the total later.
    """

    key: str
    limit_nano: int | None = None
    unit: Unit = "usd"
    ends_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetTotals:
    """What one key has spent and holds: nano-dollars, or tokens or requests by its unit."""

    spent_nano: int = 0
    held_nano: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What settling changed.

    Attributes:
        totals: The reservation's keys as they are now.
        was_expired: The lease had ended, so the ceiling was booked; it is corrected now.
    """

    totals: Mapping[str, BudgetTotals]
    was_expired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiredHold:
    """A hold whose owner was not heard of until its lease ended; its ceiling is spent now.

    Attributes:
        reservation: Its id.
        amount: Its ceiling.
        owner: The process that made it.
        details: What the maker noted about the call.
        is_from_before_loss: It was made before the store was lost, so that a row of its
            call in the ledger is counted already.
    """

    reservation: UUID
    amount: Amount
    owner: str = ""
    details: str = ""
    is_from_before_loss: bool = False
