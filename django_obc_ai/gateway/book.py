"""The books of a call: what each attempt held, used and cost."""

from __future__ import annotations

import datetime
import json
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from django_obc_ai.backends.providers import BaseProvider, providers
from django_obc_ai.exceptions import (
    AbandonedCallError,
    BadResponseError,
    BudgetExceededError,
    ConfigurationError,
    ContentBlockedError,
    ObcAIError,
    TransientError,
)
from django_obc_ai.gateway import budget, cache, content, ledger, pauses, prices, retry, shrink
from django_obc_ai.gateway.foreign import translate_foreign
from django_obc_ai.gateway.trace import CallTrace
from django_obc_ai.logs import events
from django_obc_ai.types import (
    Amount,
    CallInfo,
    CallOutcome,
    GenerationRequest,
    PriceRow,
    ProviderResponse,
    Usage,
    nano_from_usd,
)
from django_obc_ai.types.money import EXACT

#: Exceptions that stop the caller itself, by name, since their packages are optional.
_INTERRUPTIONS = frozenset({"SoftTimeLimitExceeded"})  # of Celery


class CallBook:
    """The books of one call over all its attempts.

    An attempt is `open`, then exactly one of `accept` and `abort`; `finish` writes the
    row. Nothing is held in the database between these steps.
    """

    #: What OpenTelemetry's conventions call it.
    operation: ClassVar[str] = "chat"
    #: Whether prompt and answer are texts that ``OBC_AI["LOG"]["store_content"]`` is about.
    keeps_content: ClassVar[bool] = True

    def __init__(self, request: GenerationRequest, info: CallInfo) -> None:
        """Start the clock; nothing is looked up yet."""
        self.request = request
        self.info = info
        self.outcome: CallOutcome | None = None
        self.may_wait = True
        self.trace = CallTrace(self.operation, info)
        # One time for the budgets' periods and for the row, which must never lie apart.
        self._began = datetime.datetime.now(datetime.UTC)
        self._started_at = self._began if settings.USE_TZ else timezone.make_naive(self._began)
        self._clock = time.perf_counter()
        self._attempts = 0
        self._hold = budget.NOTHING_HELD
        self._owed: tuple[Decimal, int] | None = None
        self._usage = Usage()
        self._cost = Decimal(0)
        self._is_cost_known = True
        self._model_used = ""
        self._saved = Decimal(0)
        self._first_chunk: float | None = None
        self._announced: Path | None = None
        self._entry: UUID | None = None
        self._stored_bytes: int | None = None

    def prepare(self) -> BaseProvider | None:
        """Return the provider to ask, or None if the call has ended: cached or misconfigured."""
        try:
            self.may_wait = self.info.may_retry and not retry.is_in_transaction()
            provider = providers[self.info.provider]
            self.request = replace(
                self.request,
                model=self.request.model or provider.model,
                max_output_tokens=provider.bound_output_tokens(self.request),
            )
            self._begin_trace(provider)
            stored = cache.get(self.request, self.info)
        except ConfigurationError as error:
            self.finish(error=error)
            return None
        if stored is not None:
            self._saved, self._entry = stored.cost_usd, stored.entry
            self._model_used = stored.response.model
            self.finish(stored.response, cached=True)
            return None
        self._stored_bytes = 0 if cache.is_used(self.info) else None
        return provider

    def _begin_trace(self, provider: BaseProvider) -> None:
        self.trace.begin(self.request, provider)

    def open(self, provider: BaseProvider) -> None:
        """Hold the ceiling of one attempt; raise if an operator or a budget refuses it."""
        self._provider = provider
        self._pay()  # what the attempt before has cost
        self._hold = budget.NOTHING_HELD
        pauses.refuse_if_paused(self.info.provider)
        self._at = datetime.datetime.now(datetime.UTC)  # one time for ceiling and cost
        price = prices.bounding_price(self.request.model, self._at)
        try:
            self._hold = budget.reserve(self._attempt(self.request, price))
        except BudgetExceededError as error:
            fitting = self._fitted(price, error)
            if fitting is None:
                raise
            self._hold = budget.reserve(self._attempt(fitting, price))
            self.request = fitting
        self._attempts += 1
        if not provider.is_free:
            self._announced = ledger.announce(self.request, self.info, self._presumed())

    def _attempt(self, request: GenerationRequest, price: PriceRow | None) -> budget.Attempt:
        ceiling: Decimal | None = Decimal(0)
        if not self._provider.is_free:
            ceiling = None if price is None else self.ceiling_of(request, price)
        return budget.Attempt(
            ceiling_usd=ceiling,
            tokens=self.most_tokens_of(request),
            model=request.model,
            info=self.info,
            at=self._began,
            before=Amount(
                nano=nano_from_usd(self._cost),
                tokens=self._usage.total_tokens,
                requests=self._attempts,
            ),
        )

    def _presumed(self) -> CallOutcome:
        """Return how the call is to be booked if this process dies before it ends."""
        cost = EXACT.add(self._cost, self._hold.ceiling_usd)
        usage = self._usage + Usage(is_exact=False)
        return self._outcome(cost, usage=usage, error=AbandonedCallError())

    def ceiling_of(self, request: GenerationRequest, price: PriceRow) -> Decimal:
        """Return what one attempt can cost at most, in US dollars."""
        return prices.ceiling_of(self._provider, request, price)

    def most_tokens_of(self, request: GenerationRequest) -> int:
        """Return how many tokens one attempt can take at most, prompt and answer."""
        return self._provider.bound_tokens(request) + self._provider.bound_output_tokens(request)

    def _fitted(
        self, price: PriceRow | None, refusal: BudgetExceededError
    ) -> GenerationRequest | None:
        """Return a request with a shorter answer that fits into the budget, or None."""
        return shrink.fitted(self._provider, self.request, price, refusal)

    def take_back(self) -> None:
        """Close an attempt that was opened and never sent."""
        self._hold.release()

    def accept(self, response: ProviderResponse) -> ProviderResponse:
        """Settle an attempt by what the provider counted, and check its answer.

        An answer without any count was billed nevertheless: its ceiling is booked. So it is
        where the counts leave out the prompt or the text.

        Raises:
            ContentBlockedError: The answer is marked as blocked.
            BadResponseError: The answer is empty, or JSON was asked for and this is none.
        """
        self._model_used = response.model or self.request.model
        if response.usage is None:
            self._presume()
        else:
            self._settle(response.usage, self._model_used, response.text)
        if response.finish_reason == "blocked":
            raise ContentBlockedError("The provider blocked the answer. Rephrase the request.")
        if not response.text.strip():
            raise _empty(response)
        if self.request.response_schema is not None:
            try:
                json.loads(response.text)
            except ValueError:
                failure = BadResponseError(
                    "The provider was asked for JSON and answered something else, or was cut"
                    f" (finish reason {response.finish_reason!r})."
                )
                failure.retryable = response.finish_reason == "stop"
                raise failure from None
        return response

    def abort(self, error: BaseException, seen: Usage | None = None) -> BaseException:
        """Settle a failed attempt and return the error to raise in its place.

        What the provider reported is booked; without a report, a request that may have
        been billed is booked at its ceiling, and one that surely was not, at 0.
        """
        usage = getattr(error, "usage", None) or seen
        if usage is not None:
            named = getattr(error, "model", "") or self._model_used
            self._settle(usage, named or self.request.model, self._text_so_far())
        elif getattr(error, "is_possibly_billed", True):
            self._presume()
        else:
            self._hold.settle(Decimal(0))
        if isinstance(error, (ObcAIError, ConfigurationError)) or not isinstance(error, Exception):
            return error
        if isinstance(error, AssertionError) or type(error).__name__ in _INTERRUPTIONS:
            return error
        return translate_foreign(error)

    def _text_so_far(self) -> str:
        """Return what is known of a failed attempt's answer."""
        return ""

    def _presume(self) -> None:
        """Book an attempt whose tokens nobody reported at its ceiling; a free one at 0."""
        self._owe(self._hold.ceiling_usd, self._hold.tokens)
        self._cost = EXACT.add(self._cost, self._hold.ceiling_usd)
        self._is_cost_known = self._is_cost_known and self._provider.is_free
        self._usage += Usage(is_exact=False)

    def _settle(self, usage: Usage, model: str, text: str = "") -> None:
        usage = usage.made_plausible()
        is_whole = usage.is_whole_for(text)
        self._usage += usage if is_whole else replace(usage, is_exact=False)
        self._model_used = model
        cost = Decimal(0)
        if not self._provider.is_free:
            price = prices.find_price(model, self._at)
            if price is None:
                price = prices.bounding_price(model, self._at) or prices.bounding_price(
                    self.request.model, self._at
                )
                self._is_cost_known = False
                events.GATEWAY_UNPRICED.log(about=model, model=model)
            if price is not None:
                cost = prices.cost_of(price, usage)
            if not is_whole:  # a part of the bill was not counted
                cost = max(cost, self._hold.ceiling_usd)
                self._is_cost_known = False
        self._cost = EXACT.add(self._cost, cost)
        self._owe(cost, usage.total_tokens)

    def _owe(self, cost: Decimal, tokens: int) -> None:
        """Settle with the row, which is written first: what dies in between is not lost."""
        self._owed = (cost, tokens)

    def _pay(self) -> None:
        owed, self._owed = self._owed, None
        if owed is not None:
            self._hold.settle(*owed)

    def finish(
        self,
        response: ProviderResponse | None = None,
        *,
        error: BaseException | None = None,
        cached: bool = False,
    ) -> CallOutcome:
        """Store the answer in the cache, write the ledger row and return the outcome."""
        if error is not None and not isinstance(error, (ObcAIError, ConfigurationError)):
            error = TransientError(f"The call was interrupted by {type(error).__name__}.")
        if response is not None and error is None and not cached:
            stored = cache.put(self.request, self.info, response, cost_usd=self._cost)
            if stored is not None:
                self._entry, self._stored_bytes = stored.entry, stored.stored_bytes
        self.outcome = self._outcome(
            self._cost,
            text="" if response is None else response.text,
            finish_reason="" if response is None else response.finish_reason,
            usage=self._usage,
            is_cost_known=self._is_cost_known,
            cached=cached,
            error=error,
        )
        if isinstance(error, BudgetExceededError):
            events.BUDGET_REFUSED.log(
                about=error.key,
                key=error.key,
                operation_id=self.info.operation_id,
                operation_type=self.info.operation_type,
                ai_module=self.info.module,
            )
        try:
            is_stored = ledger.record(
                self.request, self.info, self.outcome, announced=self._announced
            )
        finally:
            self._pay()
            self.trace.end(self.request, self.outcome)
        if self.keeps_content:
            answer = self.outcome.text or self._text_so_far()
            content.keep(self.request, self.info, answer, is_recorded=is_stored)
        return self.outcome

    def _outcome(
        self, cost_usd: Decimal, *, is_cost_known: bool = False, **values: Any
    ) -> CallOutcome:
        return CallOutcome(
            model_requested=self.request.model,
            model_used=self._model_used,
            cost_usd=cost_usd,
            is_cost_known=is_cost_known,
            attempts=self._attempts,
            started_at=self._started_at,
            response_time_seconds=time.perf_counter() - self._clock,
            first_chunk_seconds=self._first_chunk,
            saved_usd=self._saved,
            cache_entry=self._entry,
            stored_bytes=self._stored_bytes,
            **values,  # further fields of CallOutcome
        )


def _empty(response: ProviderResponse) -> BadResponseError:
    if response.finish_reason == "length":
        message = (
            "The provider used up max_output_tokens before it wrote anything, probably on"
            " thinking. Raise that limit, or lower the thinking budget."
        )
    else:
        message = (
            "The provider finished without writing anything (finish reason"
            f" {response.finish_reason!r})."
        )
    error = BadResponseError(message)
    error.retryable = response.finish_reason == "stop"
    return error
