"""The books of a call: what each attempt held, used and cost."""

from __future__ import annotations

import time
from dataclasses import replace
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from django_obc_ai.backends.providers import providers
from django_obc_ai.backends.redis_link import ScriptedBackend, Step
from django_obc_ai.exceptions import (
    BudgetExceededError,
    ConfigurationError,
    ObcAIError,
    TransientError,
)
from django_obc_ai.gateway import (
    cache,
    content,
    ledger,
    retry,
)
from django_obc_ai.gateway.attempt_book import AttemptBook
from django_obc_ai.gateway.singleflight import Flight, Landing, flight_for
from django_obc_ai.gateway.trace import CallTrace
from django_obc_ai.logs import events
from django_obc_ai.types import (
    CallInfo,
    CallOutcome,
    GenerationRequest,
    ProviderResponse,
    Usage,
)


class CallBook(AttemptBook):
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
        super().__init__(request, info)
        self.outcome: CallOutcome | None = None
        self.flight: Flight | None = None
        self.is_stale = False
        self.waited_seconds = 0.0
        self.trace = CallTrace(self.operation, info)
        self._started_at = self._began if settings.USE_TZ else timezone.make_naive(self._began)
        self._clock = time.perf_counter()
        self.asked = request  # before it was fitted to a provider
        self._first_alias, self._given = info.provider, request
        self._saved = Decimal(0)
        self._prompt_hash = ""
        self._first_chunk: float | None = None
        self._name: UUID | None = None  # of the entry that may hold the answer
        self._entry: UUID | None = None  # that holds it
        self._stored_bytes: int | None = None

    def prepare(self) -> None:
        """Find the provider, and the answer if it is stored; ``outcome`` is set if this ends it."""
        began = time.monotonic()
        try:
            self._fit_to(self.info.provider)
            self.trace.begin(self.request, self.provider, **self._traced())
            if not self.take_stored():
                may_wait = self.info.may_retry and not retry.is_in_transaction()
                self.patience = retry.Patience(may_wait=may_wait, began=began)
                self._stored_bytes = 0 if cache.is_used(self.info) else None
                if not self.provider.is_free:
                    self.flight = flight_for(self.info, self._entry_name, began=self._clock)
        except ConfigurationError as error:
            self.finish(error=error)

    def _entry_name(self) -> UUID:
        if self._name is None:
            self._name = cache.entry_of(self.request, self.info)
        return self._name

    def _traced(self) -> dict[str, Any]:
        """Return what a span says of this kind of call besides."""
        return {}

    def _fit_to(self, alias: str) -> None:
        self.provider, self._name = providers[alias], None
        asked = self.asked  # every call comes here, and replace() takes twice as long
        self.request = GenerationRequest(
            prompt=asked.prompt,
            model=asked.model or self.provider.model,
            system=asked.system,
            history=asked.history,
            sources=asked.sources,
            response_schema=asked.response_schema,
            max_output_tokens=self.provider.bound_output_tokens(asked),
            temperature=asked.temperature,
            options=asked.options,
            prompt_version=asked.prompt_version,
        )

    def turn_to(self, alias: str) -> bool:
        """Ask another provider from now on; False if it cannot be asked this.

        Its own model answers, and its own entry of the cache may: what it wrote before serves
        while the first is away, and is never taken for the first one's.
        """
        try:
            provider = providers[alias]
        except ConfigurationError as error:
            events.CALLS_ALIAS_UNUSABLE.log(about=alias, alias=alias, error=error)
            return False
        if not all(name in provider.generation_options for name in self.asked.options):
            return False
        self._pay_before_another()
        is_first = alias == self._first_alias
        self.asked = self._given if is_first else replace(self.asked, model="")
        self.info = replace(self.info, provider=alias)
        self._fit_to(alias)
        return True

    def again(self, info: CallInfo) -> CallBook:
        """Return the books of another call that asks the same, and streams to nobody."""
        return CallBook(self.asked, info)

    def began_with(self, other: CallBook) -> CallBook:
        """Count what has landed since another call began as under way with this one."""
        self._clock = other._clock
        return self

    def take_stored(self) -> bool:
        """End the call with the answer that the cache has; return whether it has one."""
        found = (
            cache.get(self.request, self.info, self._entry_name) if self.info.reads_cache else None
        )
        if found is None:
            return False
        self._saved, self._entry, self._stored_bytes = found.cost_usd, found.entry, None
        self._prompt_hash = found.prompt_hash
        self.bill.model_used = found.model
        self.finish(found, is_cached=True)
        self.is_stale = found.is_stale
        return True

    def take_landed(self, landing: Landing) -> None:
        """End the call with what the one that it waited for has left."""
        self._saved, self._entry, self._stored_bytes = landing.cost_usd, landing.entry, None
        if landing.response is not None:
            self.bill.model_used = landing.response.model
        events.TRAFFIC_COALESCED.log()
        self.finish(landing.response, error=landing.error, is_coalesced=True)

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
        if self.bill.is_open:  # interrupted before anybody could say what it cost
            self.bill.presume(self.most_tokens_of(self.request))
        is_own = not (is_cached or is_coalesced)
        if is_own and error is None and response is not None:
            self._store(response)
        self.outcome = self._outcome(
            self.bill.cost_usd,
            usage=self.bill.usage,
            error=error,
            is_cost_known=self.bill.is_cost_known,
            response=response,
            # An answer that the cache gave after attempts elsewhere had to be paid is not free.
            is_cached=is_cached and not self.bill.cost_usd,
            is_coalesced=is_coalesced,
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
            is_stored = self._record(None if error is not None else response)
        finally:
            try:
                self._pay()
            finally:
                self._land(response, error)
                self.trace.end(self.request, self.outcome)
        if self.keeps_content:
            answer = self.outcome.text or self._text_so_far()
            content.keep(self.request, self.info, answer, is_recorded=is_stored)
        return self.outcome

    def _record(self, answer: ProviderResponse | None) -> bool:
        """Write the row, and settle: before it, in the trip that makes it durable, if it waits.

        Else after it, so that what dies in between is not lost.
        """
        assert self.outcome is not None  # noqa: S101 - finish() has just made it
        entry = ledger.Entry(self.request, self.info, self.outcome, announced=self._announced)
        carrier = self._carrier
        kept = None if carrier is None else entry.take_step(carrier.server)
        if kept is not None:
            self._pay([kept, *self._landing(carrier, answer)])
            return entry.record()
        is_stored = entry.record()
        self._pay(self._landing(carrier, answer))
        return is_stored

    def _land(self, response: ProviderResponse | None, error: BaseException | None) -> None:
        if self.flight is None:
            return
        if error is not None and self.info.provider != self._first_alias:
            error = None  # another alias's error need not repeat with the one that was asked
        cost = self.bill.cost_usd or self._saved
        self.flight.land(response, error, cost_usd=cost, entry=self._entry)

    def _landing(
        self, carrier: ScriptedBackend | None, answer: ProviderResponse | None
    ) -> list[Step[None]]:
        if self.flight is None or carrier is None or answer is None:
            return []
        step = self.flight.land_step(
            carrier.server, answer, cost_usd=self.bill.cost_usd, entry=self._entry
        )
        return [] if step is None else [step]

    def _store(self, response: ProviderResponse) -> None:
        stored = cache.put(
            self.request,
            self.info,
            response,
            cost_usd=self.bill.cost_usd,
            name_of=self._entry_name,
        )
        if stored is not None:
            self._entry, self._stored_bytes = stored.entry, stored.stored_bytes
            self._prompt_hash = stored.prompt_hash

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
        return CallOutcome(
            text="" if response is None else response.text,
            finish_reason="" if response is None else response.finish_reason,
            usage=usage,
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
            prompt_hash=self._prompt_hash,
            cache_entry=self._entry,
            cached=is_cached,
            coalesced=is_coalesced,
            error=error,
        )
