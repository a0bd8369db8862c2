"""What the attempts of one call used and cost, and what is held and owed for the last of them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from django_obc_ai.backends.redis_link import ScriptedBackend, Step
from django_obc_ai.gateway import budget, prices
from django_obc_ai.gateway.budget import Hold
from django_obc_ai.logs import events
from django_obc_ai.types import Amount, Usage, nano_from_usd
from django_obc_ai.types.nano import EXACT

_NO_USAGE = Usage()


class Bill:
    """The sums of a call, and the hold of its present attempt.

    Attributes:
        usage: Tokens of all attempts.
        cost_usd: Of all attempts; an upper bound where ``is_cost_known`` is False.
        is_cost_known: Whether it rests on counts and on the price of the model that answered.
        model_used: That answered last.
        last_tokens: Of the present attempt, as far as they are known.
        is_open: Whether there is an attempt of which nobody has said what it cost.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.usage = _NO_USAGE
        self.cost_usd = Decimal(0)
        self.is_cost_known = True
        self.model_used = ""
        self.last_tokens = 0
        self._hold = budget.NOTHING_HELD
        self._owed: tuple[Decimal, int] | None = None
        self.is_open = False

    def begin(self, hold: Hold, *, at: datetime.datetime, is_free: bool, model: str) -> None:
        """Note the hold of an attempt.

        Args:
            hold: Of its ceiling.
            at: When it was held: one time for ceiling and cost.
            is_free: Whether its provider is.
            model: That is asked for.
        """
        self._hold, self._at, self.is_open = hold, at, True
        self._is_free, self._model = is_free, model

    @property
    def ceiling_usd(self) -> Decimal:
        """Return what is held."""
        return self._hold.ceiling_usd

    def amount(self, attempts: int) -> Amount:
        """Return what so many attempts came to."""
        return Amount(
            nano=nano_from_usd(self.cost_usd), tokens=self.usage.total_tokens, requests=attempts
        )

    def presume(self, most_tokens: int) -> None:
        """Book an attempt whose tokens nobody reported at its ceiling; a free one at 0."""
        self._owe(self._hold.ceiling_usd, self._hold.tokens)
        self.last_tokens = most_tokens
        self.cost_usd = EXACT.add(self.cost_usd, self._hold.ceiling_usd)
        self.is_cost_known = self.is_cost_known and self._is_free
        self.usage += Usage(is_exact=False)

    def count(self, usage: Usage, model: str, text: str = "") -> None:
        """Book an attempt by what its provider counted, at the price of the model that answered.

        Where the counts leave out the prompt or the text, its ceiling is booked at least.
        """
        usage = usage.made_plausible()
        is_whole = usage.is_whole_for(text)
        usage = usage if is_whole else replace(usage, is_exact=False)
        self.usage = usage if self.usage is _NO_USAGE else self.usage + usage
        self.model_used = model
        cost = Decimal(0) if self._is_free else self._price(usage, model)
        if not (is_whole or self._is_free):  # a part of the bill was not counted
            cost = max(cost, self._hold.ceiling_usd)
            self.is_cost_known = False
        self.cost_usd = EXACT.add(self.cost_usd, cost)
        self.last_tokens = usage.total_tokens
        self._owe(cost, usage.total_tokens)

    def _price(self, usage: Usage, model: str) -> Decimal:
        price = prices.find_price(model, self._at)
        if price is None:
            bounding = prices.bounding_price
            price = bounding(model, self._at) or bounding(self._model, self._at)
            self.is_cost_known = False
            events.GATEWAY_UNPRICED.log(about=model, model=model)
        return Decimal(0) if price is None else prices.cost_of(price, usage)

    def _owe(self, cost: Decimal, tokens: int) -> None:
        """Settle with the row, which is written first: what dies in between is not lost."""
        self._owed, self.is_open = (cost, tokens), False

    def begin_next(self) -> Hold | None:
        """Begin an attempt for which nothing is held yet; return the last one's, if it owes."""
        hold, self._hold = self._hold, budget.NOTHING_HELD
        return None if self._owed is None else hold

    @property
    def is_owing(self) -> bool:
        """Return whether an attempt is over and not settled."""
        return self._owed is not None

    @property
    def is_traced(self) -> bool:
        """Whether others find what is held if this process dies."""
        return self._hold.is_trace

    @property
    def carrier(self) -> ScriptedBackend | None:
        """See `Hold.carrier`; None where nothing is owed."""
        return None if self._owed is None else self._hold.carrier

    def pay(self, hold: Hold | None = None, along: Sequence[Step[Any]] = ()) -> None:
        """Settle what the last attempt owes.

        Args:
            hold: Of an attempt before the present one.
            along: See `Hold.settle`.
        """
        owed, self._owed = self._owed, None
        if owed is not None:
            (hold or self._hold).settle(*owed, along=along)

    def settle_nothing(self) -> None:
        """Settle an attempt that surely was not billed."""
        self.is_open = False
        self._hold.settle(Decimal(0))

    def release(self) -> None:
        """Give back what is held for an attempt that was not sent."""
        self.is_open = False
        self._hold.release()
