"""The books of one attempt after another: permit, hold, what was used and what it cost."""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from django_obc_ai.backends.providers import BaseProvider, deadlines
from django_obc_ai.backends.redis_link import ScriptedBackend, Step
from django_obc_ai.exceptions import (
    AbandonedCallError,
    BudgetExceededError,
    ConfigurationError,
    CoordinatorError,
    JobDeadlineError,
    ObcAIError,
    ProviderTimeoutError,
)
from django_obc_ai.gateway import budget, ledger, limit_refusals, pauses, prices, ratelimit, shrink
from django_obc_ai.gateway.answers import check_answer
from django_obc_ai.gateway.bill import Bill
from django_obc_ai.gateway.budget import Hold
from django_obc_ai.gateway.foreign import is_interruption, translate_foreign
from django_obc_ai.gateway.ratelimit import MustWait, Permit
from django_obc_ai.gateway.retry import Patience
from django_obc_ai.models.connections import release_connections
from django_obc_ai.types import (
    CallInfo,
    CallOutcome,
    GenerationRequest,
    PriceRow,
    ProviderResponse,
    Usage,
)
from django_obc_ai.types.coordination import Verdict
from django_obc_ai.types.nano import EXACT

_CUT = (
    "The job's deadline passed while the provider was asked, which may have billed the call. Give"
    " submit() a later deadline_seconds, or lower max_output_tokens."
)


class AttemptBook(ABC):
    """The attempts of one call: each is `open`, then exactly one of `accept` and `abort`."""

    provider: BaseProvider
    patience: Patience

    def __init__(self, request: GenerationRequest, info: CallInfo) -> None:
        """Begin without an attempt."""
        self.request = request
        self.info = info
        self.attempts = 0
        self.bill = Bill()
        # One time for the budgets' periods and for the row, which must never lie apart.
        self._began = datetime.datetime.now(datetime.UTC)
        self._permit: Permit | None = None
        self._most_tokens: tuple[GenerationRequest, BaseProvider, int] | None = None
        self._announced: Path | None = None

    def open(self) -> float:
        """Get one attempt's permit, and hold its ceiling: one trip where both are in one Redis.

        Returns:
            0 if the attempt may be made; else the seconds after which to ask again.

        Raises:
            RateLimitedError: The provider's limits refuse it for longer than the call may wait.
            ProviderPausedError: An operator has paused the provider.
            BudgetExceededError: A budget refuses it.
            JobDeadlineError: The job that it is for has no time left.
        """
        self._pay_before_another()
        if deadlines.is_over():
            raise JobDeadlineError
        pauses.refuse_if_paused(self.info.provider)
        limit_refusals.refuse_to_overtake(self.info)
        self.provider.get_ready()  # or the permit would be older than what it is for
        permit = self._permit = self._permit or ratelimit.permit_for(self.info.provider)
        at = datetime.datetime.now(datetime.UTC)  # one time for ceiling and cost
        try:
            if permit is not None and permit.is_queued:  # waiting keeps no money
                self._ask(permit)
            hold = self._hold(prices.bounding_price(self.request.model, at))
            try:
                if permit is not None and not permit.is_given:  # it did not travel with the hold
                    self._ask(permit)
            except BaseException:
                hold.release()
                raise
        except MustWait as wait:
            return wait.seconds
        is_free, model = self.provider.is_free, self.request.model
        self.bill.begin(hold, at=at, is_free=is_free, model=model)
        self.attempts += 1
        if not is_free:
            self._announce()
        return 0.0

    def _ask(self, permit: Permit) -> None:
        wait = permit.ask(
            tokens=self.most_tokens_of(self.request),
            patience_seconds=self.patience.seconds_for_limits(),
        )
        if wait:
            raise MustWait(wait)

    def _hold(self, price: PriceRow | None) -> Hold:
        try:
            return budget.reserve(self._attempt(self.request, price), self._ask_first)
        except BudgetExceededError as error:
            fitting = self._fitted(price, error)
            if fitting is None:
                raise
            hold = budget.reserve(self._attempt(fitting, price), self._ask_first)
            self.request = fitting
            return hold

    def _ask_first(self, server: str) -> tuple[Step[None], tuple[bytes, bytes]] | None:
        if self._permit is None or not server:
            return None
        return self._permit.ask_step(
            server,
            tokens=self.most_tokens_of(self.request),
            patience_seconds=self.patience.seconds_for_limits(),
        )

    def send(self) -> Any:
        """Send the request of an attempt, and return what `accept` takes."""
        self._lend()
        return self.provider.generate(self.request)

    def _lend(self) -> None:
        if self.info.lends_connections:
            release_connections(keeps_lasting=True)

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

    def _pay_before_another(self) -> None:
        """Settle what the attempt before has cost, of which then no hold tells any more."""
        hold = self.bill.begin_next()
        if hold is not None:
            if self.bill.cost_usd:
                self._announce()
            self.bill.pay(hold)
        if self._permit is not None and self._permit.is_given:
            self._end_permit("ok")

    def _announce(self) -> None:
        is_held = self.bill.is_traced and self._announced is None
        told = ledger.announce(self.request, self.info, self._presumed, is_held=is_held)
        self._announced = told or self._announced

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
        known = self._most_tokens  # asked for by limits, hold and bill, and as long as the prompt
        if known is None or known[0] is not request or known[1] is not self.provider:
            bound = self.provider.bound_tokens(request) + self.provider.bound_output_tokens(request)
            known = self._most_tokens = (request, self.provider, bound)
        return known[2]

    def _fitted(
        self, price: PriceRow | None, refusal: BudgetExceededError
    ) -> GenerationRequest | None:
        """Return a request with a shorter answer that fits into the budget, or None."""
        return shrink.fitted(self.provider, self.request, price, refusal)

    def take_back(self) -> None:
        """Close an attempt that was not sent, or leave the queue for its permit."""
        self.bill.release()
        self._end_permit("unsent")

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
        if isinstance(error, ProviderTimeoutError) and deadlines.is_over():
            error = JobDeadlineError(_CUT)  # the provider had less time than it is allowed
        self._end_permit(*ratelimit.verdict_of(error))
        if isinstance(error, (ObcAIError, ConfigurationError, AssertionError)):
            return error
        if not isinstance(error, Exception) or is_interruption(error):
            return error
        return translate_foreign(error)

    def _text_so_far(self) -> str:
        """Return what is known of a failed attempt's answer."""
        return ""

    @abstractmethod
    def _outcome(
        self,
        cost_usd: Decimal,
        *,
        usage: Usage,
        error: ObcAIError | ConfigurationError | None,
        is_cost_known: bool = False,
        response: ProviderResponse | None = None,
        is_cached: bool = False,
        is_coalesced: bool = False,
    ) -> CallOutcome:
        """Return how the call stands, at a cost."""

    def _pay(self, more: Sequence[Step[Any]] = ()) -> None:
        """Settle what the last attempt owes, and give its permit back, in one trip if possible.

        Args:
            more: Steps for the server of `_carrier` that travel along, and note it themselves.
        """
        if self._is_square:
            return
        carrier, permit = self._carrier, self._permit
        steps = list(more)
        if carrier is not None and permit is not None:
            step = permit.end_step(carrier.server, tokens=self.bill.last_tokens)
            steps += [] if step is None else [step]
        if self.bill.carrier is not None:
            self.bill.pay(along=steps)
        else:
            self.bill.pay()
            if more or len(steps) > 1:
                _travel(carrier, steps)
        self._end_permit("ok")

    @property
    def _is_square(self) -> bool:
        """Return whether no attempt is left to settle, as where the cache had the answer."""
        return self._permit is None and not self.bill.is_owing

    @property
    def _carrier(self) -> ScriptedBackend | None:
        """Return the backend in Redis through which the end of an attempt travels."""
        if self._is_square:
            return None
        shared: object = ratelimit.shared()
        return self.bill.carrier or (shared if isinstance(shared, ScriptedBackend) else None)

    def _end_permit(self, verdict: Verdict, closed_seconds: float | None = None) -> None:
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.end(verdict, tokens=self.bill.last_tokens, closed_seconds=closed_seconds)


def _travel(carrier: ScriptedBackend | None, steps: Sequence[Step[Any]]) -> None:
    """Make steps together; those that do not arrive are made alone later, or elsewhere."""
    if carrier is None:
        return
    try:
        replies = carrier.run_all([each.call for each in steps])
    except CoordinatorError as error:
        ratelimit.note_away(error)
        return
    for each, reply in zip(steps, replies, strict=True):
        each.read(reply)
