"""The books of a call: what each attempt held, used and cost."""

from __future__ import annotations

import datetime
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from django_obc_ai.backends.providers import providers
from django_obc_ai.exceptions import (
    AbandonedCallError,
    BudgetExceededError,
    ConfigurationError,
    ObcAIError,
    TransientError,
)
from django_obc_ai.gateway import (
    budget,
    cache,
    content,
    ledger,
    pauses,
    prices,
    ratelimit,
    retry,
    shrink,
)
from django_obc_ai.gateway.answers import check_answer
from django_obc_ai.gateway.bill import Bill
from django_obc_ai.gateway.foreign import translate_foreign
from django_obc_ai.gateway.ratelimit import Permit
from django_obc_ai.gateway.singleflight import Flight, Landing, flight_for
from django_obc_ai.gateway.trace import CallTrace
from django_obc_ai.logs import events
from django_obc_ai.types import (
    CallInfo,
    CallOutcome,
    GenerationRequest,
    PriceRow,
    ProviderResponse,
    Usage,
)
from django_obc_ai.types.coordination import Verdict
from django_obc_ai.types.money import EXACT

#: Exceptions that stop the caller itself, by name, since their packages are optional.
_INTERRUPTIONS = frozenset({"SoftTimeLimitExceeded"})  # of Celery


class CallBook:
    """The books of one call over all its attempts, at one provider or at several.

    An attempt is `open`, then exactly one of `accept` and `abort`; `finish` writes the
    row. Nothing is held in the database between these steps.
    """

    #: What OpenTelemetry's conventions call it.
    operation: ClassVar[str] = "chat"
    #: Whether prompt and answer are texts that ``OBC_AI["LOG"]["store_content"]`` is about.
    keeps_content: ClassVar[bool] = True
    #: Whether another provider may answer in place of the one that was asked.
    may_turn: ClassVar[bool] = True

    def __init__(self, request: GenerationRequest, info: CallInfo) -> None:
        """Start the clock; nothing is looked up yet."""
        self.request = request
        self.info = info
        self.outcome: CallOutcome | None = None
        self.flight: Flight | None = None
        self.is_stale = False
        self.attempts = 0
        self.waited_seconds = 0.0
        self.trace = CallTrace(self.operation, info)
        # One time for the budgets' periods and for the row, which must never lie apart.
        self._began = datetime.datetime.now(datetime.UTC)
        self._started_at = self._began if settings.USE_TZ else timezone.make_naive(self._began)
        self._clock = time.perf_counter()
        self._asked = request  # before it was fitted to a provider
        self._first_alias = info.provider
        self._permit: Permit | None = None
        self.bill = Bill()
        self._saved = Decimal(0)
        self._first_chunk: float | None = None
        self._announced: Path | None = None
        self._entry: UUID | None = None
        self._stored_bytes: int | None = None

    def prepare(self) -> None:
        """Find the provider, and the answer if it is stored; ``outcome`` is set if this ends it."""
        try:
            may_wait = self.info.may_retry and not retry.is_in_transaction()
            self.patience = retry.Patience(may_wait=may_wait)
            self._fit_to(self.info.provider)
            self.trace.begin(self.request, self.provider, **self._traced())
            if not self.take_stored() and not self.provider.is_free:
                self.flight = flight_for(self.request, self.info)
        except ConfigurationError as error:
            self.finish(error=error)

    @property
    def has_shown_text(self) -> bool:
        """Return whether the caller has seen a part of the answer already."""
        return False

    def _traced(self) -> dict[str, Any]:
        """Return what a span says of this kind of call besides."""
        return {}

    def _fit_to(self, alias: str) -> None:
        self.provider = providers[alias]
        self.request = replace(
            self._asked,
            model=self._asked.model or self.provider.model,
            max_output_tokens=self.provider.bound_output_tokens(self._asked),
        )

    def turn_to(self, alias: str) -> bool:
        """Ask another provider from now on; False if it cannot be asked this.

        Its own model answers, and its own entry of the cache may: what it wrote before serves
        while the first is away, and is never taken for the first one's.
        """
        self._pay()
        self._asked = replace(self._asked, model="")
        self.info = replace(self.info, provider=alias)
        self._fit_to(alias)
        known = self.provider.generation_options
        return all(name in known for name in self._asked.options)

    def take_stored(self) -> bool:
        """End the call with the answer that the cache has; return whether it has one."""
        found = cache.get(self.request, self.info)
        if found is None:
            return False
        self._saved, self._entry = found.cost_usd, found.entry
        self.bill.model_used = found.response.model
        self.finish(found.response, is_cached=True)
        self.is_stale = found.is_stale
        return True

    def take_landed(self, landing: Landing) -> None:
        """End the call with what the one that it waited for has left."""
        self._saved, self._entry = landing.cost_usd, landing.entry
        if landing.response is not None:
            self.bill.model_used = landing.response.model
        self.finish(landing.response, error=landing.error, is_coalesced=True)

    def open(self) -> float:
        """Get one attempt's permit, and hold its ceiling.

        Returns:
            0 if the attempt may be made; else the seconds after which to ask again.

        Raises:
            RateLimitedError: The provider's limits refuse it for longer than the call may wait.
            ProviderPausedError: An operator has paused the provider.
            BudgetExceededError: A budget refuses it.
        """
        alias = self.info.provider
        self._pay()  # what the attempt before has cost
        self.bill.forget_hold()
        pauses.refuse_if_paused(alias)
        if self._permit is None:
            self._permit = ratelimit.permit_for(alias)
        if self._permit is not None:
            wait = self._permit.ask(
                tokens=self.most_tokens_of(self.request),
                patience_seconds=self.patience.remaining_seconds(),
            )
            if wait:
                return wait
        at = datetime.datetime.now(datetime.UTC)  # one time for ceiling and cost
        price = prices.bounding_price(self.request.model, at)
        try:
            hold = budget.reserve(self._attempt(self.request, price))
        except BudgetExceededError as error:
            fitting = self._fitted(price, error)
            if fitting is None:
                raise
            hold = budget.reserve(self._attempt(fitting, price))
            self.request = fitting
        is_free, model = self.provider.is_free, self.request.model
        self.bill.begin(hold, at=at, is_free=is_free, model=model)
        self.attempts += 1
        if not self.provider.is_free:
            self._announced = ledger.announce(self.request, self.info, self._presumed())
        return 0.0

    def send(self) -> Any:
        """Send the request of an attempt, and return what `accept` takes."""
        return self.provider.generate(self.request)

    async def asend(self) -> Any:
        """See send()."""
        return await self.provider.agenerate(self.request)

    def _attempt(self, request: GenerationRequest, price: PriceRow | None) -> budget.Attempt:
        ceiling: Decimal | None = Decimal(0)
        if not self.provider.is_free:
            ceiling = None if price is None else self.ceiling_of(request, price)
        return budget.Attempt(
            ceiling_usd=ceiling,
            tokens=self.most_tokens_of(request),
            model=request.model,
            info=self.info,
            at=self._began,
            before=self.bill.amount(self.attempts),
        )

    def _presumed(self) -> CallOutcome:
        """Return how the call is to be booked if this process dies before it ends."""
        cost = EXACT.add(self.bill.cost_usd, self.bill.ceiling_usd)
        usage = self.bill.usage + Usage(is_exact=False)
        return self._outcome(cost, usage=usage, error=AbandonedCallError())

    def ceiling_of(self, request: GenerationRequest, price: PriceRow) -> Decimal:
        """Return what one attempt can cost at most, in US dollars."""
        return prices.ceiling_of(self.provider, request, price)

    def most_tokens_of(self, request: GenerationRequest) -> int:
        """Return how many tokens one attempt can take at most, prompt and answer."""
        return self.provider.bound_tokens(request) + self.provider.bound_output_tokens(request)

    def _fitted(
        self, price: PriceRow | None, refusal: BudgetExceededError
    ) -> GenerationRequest | None:
        """Return a request with a shorter answer that fits into the budget, or None."""
        return shrink.fitted(self.provider, self.request, price, refusal)

    def take_back(self) -> None:
        """Close an attempt that was not sent, or leave the queue for its permit."""
        self.bill.release()
        self._end_attempt("unsent")

    def accept(self, response: ProviderResponse) -> ProviderResponse:
        """Settle an attempt by what the provider counted, and check its answer.

        An answer without any count was billed nevertheless: its ceiling is booked. So it is
        where the counts leave out the prompt or the text.

        Raises:
            ContentBlockedError: The answer is marked as blocked.
            BadResponseError: The answer is empty, or JSON was asked for and this is none.
        """
        self._count(response.usage, response.model, response.text)
        check_answer(response, self.request)
        return response

    def _count(self, usage: Usage | None, model: str, text: str = "") -> None:
        self.bill.model_used = model or self.request.model
        if usage is None:
            self.bill.presume(self.most_tokens_of(self.request))
        else:
            self.bill.count(usage, self.bill.model_used, text)

    def abort(self, error: BaseException, seen: Usage | None = None) -> BaseException:
        """Settle a failed attempt and return the error to raise in its place.

        What the provider reported is booked; without a report, a request that may have
        been billed is booked at its ceiling, and one that surely was not, at 0.
        """
        usage = getattr(error, "usage", None) or seen
        if usage is not None:
            named = getattr(error, "model", "") or self.bill.model_used
            self.bill.count(usage, named or self.request.model, self._text_so_far())
        elif getattr(error, "is_possibly_billed", True):
            self.bill.presume(self.most_tokens_of(self.request))
        else:
            self.bill.settle_nothing()
        self._end_attempt(*ratelimit.verdict_of(error))
        if isinstance(error, (ObcAIError, ConfigurationError)) or not isinstance(error, Exception):
            return error
        if isinstance(error, AssertionError) or type(error).__name__ in _INTERRUPTIONS:
            return error
        return translate_foreign(error)

    def _text_so_far(self) -> str:
        """Return what is known of a failed attempt's answer."""
        return ""

    def _pay(self) -> None:
        """Settle what the last attempt owes, and give its permit back."""
        self.bill.pay()
        if self._permit is not None and self._permit.is_given:
            self._end_attempt("ok")

    def _end_attempt(self, verdict: Verdict, closed_seconds: float | None = None) -> None:
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.end(verdict, tokens=self.bill.last_tokens, closed_seconds=closed_seconds)

    def finish(
        self,
        response: ProviderResponse | None = None,
        *,
        error: BaseException | None = None,
        is_cached: bool = False,
        is_coalesced: bool = False,
    ) -> CallOutcome:
        """Store the answer in the cache, write the row, and land the flight that waits for it."""
        if error is not None and not isinstance(error, (ObcAIError, ConfigurationError)):
            error = TransientError(f"The call was interrupted by {type(error).__name__}.")
        is_own = not (is_cached or is_coalesced)
        if is_own and error is None and response is not None:
            self._store(response)
        self.outcome = self._outcome(
            self.bill.cost_usd,
            text="" if response is None else response.text,
            finish_reason="" if response is None else response.finish_reason,
            usage=self.bill.usage,
            is_cost_known=self.bill.is_cost_known,
            cached=is_cached,
            coalesced=is_coalesced,
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
            if self.flight is not None:
                self.flight.land(response, error, cost_usd=self.bill.cost_usd, entry=self._entry)
            self.trace.end(self.request, self.outcome)
        if self.keeps_content:
            answer = self.outcome.text or self._text_so_far()
            content.keep(self.request, self.info, answer, is_recorded=is_stored)
        return self.outcome

    def _store(self, response: ProviderResponse) -> None:
        stored = cache.put(self.request, self.info, response, cost_usd=self.bill.cost_usd)
        self._stored_bytes = None
        if stored is not None:
            self._entry, self._stored_bytes = stored.entry, stored.stored_bytes

    def _outcome(
        self, cost_usd: Decimal, *, is_cost_known: bool = False, **values: Any
    ) -> CallOutcome:
        return CallOutcome(
            model_requested=self.request.model,
            model_used=self.bill.model_used,
            cost_usd=cost_usd,
            is_cost_known=is_cost_known,
            attempts=self.attempts,
            started_at=self._started_at,
            response_time_seconds=time.perf_counter() - self._clock,
            first_chunk_seconds=self._first_chunk,
            saved_usd=self._saved,
            waited_seconds=self.waited_seconds,
            fallback_from="" if self.info.provider == self._first_alias else self._first_alias,
            stored_bytes=self._stored_bytes,
            cache_entry=self._entry,
            **values,  # further fields of CallOutcome
        )
