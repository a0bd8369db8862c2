"""Holds: money is promised before a request is sent and settled after the answer."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from typing import Any, TypeAlias
from uuid import UUID

from django_obc_ai.backends.cost_stores import BaseCostStore, BudgetsChangedError, cost_stores
from django_obc_ai.backends.redis_link import ScriptedBackend, Step
from django_obc_ai.conf import BudgetSettings, MoneySettings, get_settings
from django_obc_ai.exceptions import (
    BudgetExceededError,
    ConfigurationError,
    CostStoreError,
    CostStoreLostError,
)
from django_obc_ai.gateway import alerts, leases, policy, recovery, retry
from django_obc_ai.gateway.policy import Applied, period_key
from django_obc_ai.logs import events
from django_obc_ai.types import (
    Amount,
    BudgetHold,
    BudgetTotals,
    CallInfo,
    Settlement,
    nano_from_usd,
)
from django_obc_ai.types.ids import new_id

__all__ = ["NOTHING_HELD", "Attempt", "Hold", "note_changed_budgets", "period_key", "reserve"]

_CHANGES_AT_MOST = 5
_encode = json.JSONEncoder().encode
AskFirst: TypeAlias = Callable[[str], tuple[Step[None], tuple[bytes, bytes]] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What is to be held for one attempt.

    Attributes:
        ceiling_usd: Upper bound in US dollars, 0 for free calls; None if unknown.
        tokens: Upper bound of all tokens.
        model: Asked for.
        info: Who calls, and for what.
        at: When the call began; it selects the period.
        before: What earlier attempts of the same call have cost.
    """

    ceiling_usd: Decimal | None
    tokens: int
    model: str
    info: CallInfo
    at: datetime.datetime
    before: Amount = field(default_factory=Amount)

    def details(self) -> str:
        """Return what a row needs if this process dies; neither prompt nor answer."""
        info = self.info
        facts: dict[str, Any] = {
            "operation": str(info.operation_id),
            "operation_type": info.operation_type,
            "module": info.module,
            "user": None if info.user_id is None else str(info.user_id),
            "scope": info.scope,
            "content_type": info.content_type,
            "provider": info.provider,
            "model": self.model,
            "at": self.at.isoformat(),
            "before_nano": self.before.nano,
            "before_tokens": self.before.tokens,
            "before_requests": self.before.requests,
        }
        return _encode(facts)


class Hold:
    """Money promised to one attempt; closed exactly once, by `settle` or `release`."""

    def __init__(
        self,
        reservation: UUID | None,
        ceiling_usd: Decimal,
        *,
        alias: str = "default",
        found: list[Applied] | None = None,
        tokens: int = 0,
    ) -> None:
        """Keep the reservation's id; None where no budget applies."""
        self._reservation = reservation
        self.ceiling_usd = ceiling_usd
        self.tokens = tokens
        self._alias = alias
        self._found = found or []

    @property
    def is_trace(self) -> bool:
        """Whether others find the hold if this process dies."""
        return self._reservation is not None and cost_stores[self._alias].is_shared

    @property
    def carrier(self) -> ScriptedBackend | None:
        """The store that it is open in, if its settlement can take others' steps along."""
        if self._reservation is None:
            return None
        store = cost_stores[self._alias]
        return store if isinstance(store, ScriptedBackend) else None

    def settle(
        self, cost_usd: Decimal, tokens: int = 0, *, along: Sequence[Step[Any]] = ()
    ) -> None:
        """Book what the attempt cost, from 0 up, and announce thresholds that it reached.

        A store that fails keeps the hold, which counts as spent: the error is logged, the
        settlement is tried again later, and the paid answer is not thrown away.

        Args:
            cost_usd: In US dollars.
            tokens: All that were used.
            along: Steps for the server of `carrier`, made before in the same round trip.
                Whether they were is theirs to note.
        """
        self._close(Amount(nano=nano_from_usd(cost_usd), tokens=tokens, requests=1), along)

    def release(self) -> None:
        """Give back what was held for a request that was never sent."""
        self._close(Amount())

    def _close(self, amount: Amount, along: Sequence[Step[Any]] = ()) -> None:
        reservation, self._reservation = self._reservation, None
        if reservation is None:
            return
        try:
            settled = _settled(cost_stores[self._alias], reservation, amount, along)
        except CostStoreError as error:
            events.BUDGET_SETTLE_FAILED.log(error=error, reservation=reservation)
            leases.settle_later(reservation, self._alias, amount)
            return
        finally:
            leases.drop(reservation)
        if settled is not None:
            alerts.announce(self._found, settled.totals, share_of(self._alias))


def _settled(
    store: BaseCostStore, reservation: UUID, amount: Amount, along: Sequence[Step[Any]]
) -> Settlement | None:
    step = store.settle_step(reservation, amount) if along else None
    if step is None or not isinstance(store, ScriptedBackend):
        return store.settle(reservation, amount)
    *replies, last = store.run_all([*(each.call for each in along), step.call])
    for each, reply in zip(along, replies, strict=True):
        each.read(reply)
    return step.read(last)


NOTHING_HELD = Hold(None, Decimal(0))


def reserve(attempt: Attempt, ask_first: AskFirst | None = None) -> Hold:
    """Hold the ceiling of an attempt under every budget that it falls under.

    Args:
        attempt: What is to be held.
        ask_first: Returns the step that asks for the attempt's permit, for a trip to a server,
            and the permit's mark; nothing is held where the permit is not given. None: it does
            not travel there.

    Raises:
        RateLimitedError: See `Permit.ask_step`; likewise `MustWait`.
        BudgetExceededError: A hard budget would be passed; nothing is held.
        ConfigurationError: The model has no price and a hard budget in dollars is in force.
        CostStoreError: The store cannot be asked.
    """
    if attempt.ceiling_usd == 0:
        return Hold(None, Decimal(0))
    for _ in range(_CHANGES_AT_MOST):
        budgets, version = policy.in_force_for(cost_stores["default"])
        try:
            return _reserve_under(budgets, version, attempt, ask_first)
        except BudgetsChangedError as changed:
            policy.forget(changed.version)
    raise CostStoreError("The budgets change faster than they can be read. Nothing was sent.")


def _reserve_under(
    budgets: list[BudgetSettings], version: str, attempt: Attempt, ask_first: AskFirst | None
) -> Hold:
    found = policy.applied(budgets, attempt.info, attempt.model, attempt.at)
    ceiling = attempt.ceiling_usd
    if ceiling is None:
        if any(each.budget.enforce and each.budget.unit == "usd" for each in found):
            raise ConfigurationError(
                f"The model {attempt.model!r} has no price, so no budget can hold its cost.",
                hint=f"Give one in OBC_AI['PRICES'][{attempt.model!r}].",
            )
        ceiling = Decimal(0)  # soft budgets count what it turns out to be
    if not found:
        return Hold(None, ceiling)
    amount = Amount(
        nano=nano_from_usd(ceiling, rounding=ROUND_CEILING), tokens=attempt.tokens, requests=1
    )
    money = get_settings().money
    leases.settle_again()
    try:
        return _reserve("default", attempt, ceiling, amount, found, version, ask_first)
    except BudgetsChangedError:
        raise
    except CostStoreError as error:
        if money.stand_in is None or not error.retryable:
            raise
        events.BUDGET_STAND_IN_ASKED.log(error=error, store=money.stand_in)
        return _reserve(money.stand_in, attempt, ceiling, amount, found, version)


def _reserve(
    alias: str,
    attempt: Attempt,
    ceiling: Decimal,
    amount: Amount,
    found: list[Applied],
    version: str,
    ask_first: AskFirst | None = None,
) -> Hold:
    store, reservation, details = cost_stores[alias], new_id(), attempt.details()
    holds = policy.holds_of(found, share_of(alias))

    def ask() -> BudgetHold | None:
        first = None if ask_first is None else ask_first(store.server)
        step = store.reserve_step(
            reservation,
            holds,
            amount,
            details=details,
            budgets=version,
            under=None if first is None else first[1],
        )
        if step is None or not isinstance(store, ScriptedBackend):
            return store.reserve(reservation, holds, amount, details=details)
        if first is None:
            return store.run_step(step)
        asked, held = store.run_all([first[0].call, step.call])
        first[0].read(asked)
        return step.read(held)

    if leases.is_time_to_sweep(alias) and not retry.is_in_transaction():
        _sweep(alias)
    try:
        refused = ask()
    except CostStoreLostError:
        refused = recovery.ask_after_loss(alias, ask)
    except BudgetsChangedError:
        raise
    except CostStoreError as error:
        if error.retryable:
            # Whether it was admitted, nobody knows; if it was, it is given back.
            leases.settle_later(reservation, alias, Amount())
        raise
    recovery.known_whole.add(store)
    if refused is not None:
        raise _exceeded(refused, store.totals([refused.key])[refused.key], amount, found)
    leases.keep(reservation, alias)
    return Hold(reservation, ceiling, alias=alias, found=found, tokens=attempt.tokens)


def note_changed_budgets() -> None:
    """Put changed rows of `Budget` in force: with the next call of each process that can be told.

    Never raises: the others find out within a second, and the change is made already.
    """
    policy.forget()
    for alias in filter(None, ("default", get_settings().money.stand_in)):
        try:
            cost_stores[alias].note_budgets()
        except (CostStoreError, ConfigurationError) as error:
            events.BUDGET_CHANGE_NOT_TOLD.log(about=alias, error=error, store=alias)


def _sweep(alias: str) -> None:
    try:
        recovery.sweep(alias)
    except CostStoreError as error:  # what has expired stays booked, so nothing is admitted by it
        events.BUDGET_SWEEP_FAILED.log(about=alias, error=error, store=alias)


def share_of(alias: str, money: MoneySettings | None = None) -> Callable[[int], int]:
    """Return how much of a limit a store may admit.

    With a stand-in each of the two has a share of its own. So whoever sees which of them,
    and however often that changes, both together never admit more than the limit.
    """
    money = money or get_settings().money
    if money.stand_in is None:
        return lambda limit: limit
    percent = money.stand_in_percent
    if alias == money.stand_in:
        return lambda limit: limit * percent // 100
    return lambda limit: limit - limit * percent // 100


def _exceeded(
    refused: BudgetHold, totals: BudgetTotals, amount: Amount, found: list[Applied]
) -> BudgetExceededError:
    limit, unit = refused.limit_nano or 0, refused.unit
    refusing = next(each for each in found if each.key == refused.key)
    resets_at = refusing.resets_at
    local = None if resets_at is None else resets_at.isoformat(timespec="minutes")
    wait = f"wait until it resets at {local}" if local else "it never resets"
    say = alerts.describe
    error = BudgetExceededError(
        f"The budget {refused.key} of {say(unit, limit)} has {say(unit, totals.spent_nano)} spent"
        f" and {say(unit, totals.held_nano)} held; this call may take"
        f" {say(unit, amount.of(unit))}. Nothing was sent. Raise the limit in"
        f" OBC_AI['BUDGETS'] or in the admin, lower max_output_tokens, or {wait}."
    )
    error.key, error.unit, error.limit = refused.key, unit, limit
    error.spent, error.held, error.resets_at = totals.spent_nano, totals.held_nano, resets_at
    error.scope, error.period = refusing.budget.scope, refusing.budget.period
    return error
