"""Holds whose owners died, and totals that were lost: both are made good from the ledger."""

from __future__ import annotations

import datetime
import json
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

from django.contrib.auth.models import Group
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from django_obc_ai.backends.cost_stores import BaseCostStore, cost_stores
from django_obc_ai.backends.providers import providers
from django_obc_ai.conf import BudgetSettings, get_settings
from django_obc_ai.exceptions import (
    AbandonedCallError,
    ConfigurationError,
    CostStoreError,
    CostStoreLostError,
)
from django_obc_ai.gateway import intents, ledger, policy, retry
from django_obc_ai.logs import events
from django_obc_ai.models import AIOperation, CostStoreMark, Ledger
from django_obc_ai.models.connections import apart, persist
from django_obc_ai.types import Amount, ExpiredHold, nano_from_usd, usd_from_nano

#: A store that was never used before is filled within this time, unless its process dies.
_MADE_WITHIN = datetime.timedelta(seconds=10)
_PAUSE_SECONDS = 0.05
_sleep = time.sleep
#: Stores that have answered this process: such a one is lost, and not new.
known_whole: weakref.WeakSet[BaseCostStore] = weakref.WeakSet()
ResultT = TypeVar("ResultT")
_COLUMNS = {
    "module": "module",
    "operation_type": "operation_type",
    "model": "model_requested",
    "user": "user_id",
    "group": "user_id",
    "tenant": "scope",
}


def sweep(alias: str = "default") -> int:
    """Book holds whose leases have ended, with a row for each call; return how many there were.

    Raises:
        CostStoreError: The store or the ledger cannot be asked; nothing is lost.
    """
    if retry.is_in_transaction():
        return apart(lambda: _sweep(alias))  # a rollback would take the rows
    return _sweep(alias)


def _sweep(alias: str) -> int:
    store = cost_stores[alias]
    expired = store.expire()
    if expired:
        _take_up_waiting()
    for hold in expired:
        _book(store, hold)
        store.confirm([hold.reservation])
    return len(expired)


def _take_up_waiting() -> None:
    """Bring the rows that wait on this machine's disk into the ledger, before it is relied on.

    Raises:
        CostStoreError: Some still wait.
    """
    database = get_settings().database
    if ledger.drain(database).left and ledger.drain(database).left:  # some came in meanwhile
        raise CostStoreError(
            f"Operations wait in OBC_AI['LOG']['spool'] for the database {database!r}, so what was"
            " spent is not known yet. They are taken up when it answers again."
        )


def _book(store: BaseCostStore, hold: ExpiredHold) -> None:
    """Book an expired hold's call at its ceiling, or take the cost from the call's own row."""
    facts = json.loads(hold.details or "{}")
    database = get_settings().database
    try:
        own = ledger.presume(_row(hold, facts), database)
    except (DatabaseError, InterfaceError) as error:
        raise CostStoreError(
            f"An expired hold was not written to {database!r} ({type(error).__name__}); it stays"
            " booked and is written later."
        ) from error
    if own is None:
        events.BUDGET_HOLD_ABANDONED.log(
            reservation=hold.reservation,
            owner=hold.owner,
            cost_usd=usd_from_nano(hold.amount.nano),
        )
    elif hold.is_from_before_loss:
        store.release(hold.reservation)  # the totals were rebuilt with that row
    else:
        # The process died after the row and before the settlement.
        cost = nano_from_usd(own.cost_usd) - int(facts.get("before_nano", 0))
        tokens = own.total_tokens - int(facts.get("before_tokens", 0))
        store.settle(hold.reservation, Amount(nano=max(0, cost), tokens=max(0, tokens), requests=1))


def _row(hold: ExpiredHold, facts: dict[str, Any]) -> AIOperation:
    at = facts.get("at")
    error = AbandonedCallError()
    return AIOperation(
        id=facts.get("operation") or hold.reservation,
        operation_type=facts.get("operation_type", "other"),
        module=facts.get("module", "general"),
        user_id=facts.get("user"),
        scope=facts.get("scope", ""),
        content_type=facts.get("content_type", "")[:50],
        provider=facts.get("provider", "")[:50],
        model_requested=facts.get("model", "")[:100],
        tokens_exact=False,
        cost_usd=usd_from_nano(hold.amount.nano + int(facts.get("before_nano", 0))),
        cost_known=False,
        attempts=int(facts.get("before_requests", 0)) + 1,
        success=False,
        error_category=error.code,
        error_message=str(error),
        created_at=datetime.datetime.fromisoformat(at) if at else timezone.now(),
    )


def rebuild(alias: str = "default") -> bool:
    """Rebuild a lost store's totals from the ledger; return whether it admits calls now.

    Raises:
        CostStoreError: Store or ledger cannot be asked.
    """
    if retry.is_in_transaction():
        return apart(lambda: _rebuild(alias))  # a transaction may show an old ledger
    return _rebuild(alias)


def ask_after_loss(alias: str, ask: Callable[[], ResultT]) -> ResultT:
    """Ask a store once more when its totals are there again.

    Whoever comes beside the very first call waits until that has filled the store.

    Raises:
        CostStoreLostError: They are not there again yet.
    """
    if not _is_being_made(alias) and rebuild(alias):
        return ask()
    while _is_being_made(alias):
        _sleep(_PAUSE_SECONDS)
        with suppress(CostStoreLostError):
            return ask()
    return ask()


def _is_being_made(alias: str) -> bool:
    """Return whether a store was used for the first time a moment ago, and may just be filled."""
    if cost_stores[alias] in known_whole:
        return False
    since = timezone.now() - _MADE_WITHIN
    marks = CostStoreMark.objects.filter(alias=alias, created_at__gt=since)
    return bool(persist(get_settings().database, marks.exists))


def _rebuild(alias: str) -> bool:
    database = get_settings().database
    _take_up_waiting()
    try:
        _, is_new = persist(database, lambda: CostStoreMark.objects.get_or_create(alias=alias))
        for operation in () if is_new else intents.find_in_flight(database):
            # A process that is stopped has told the store nothing since the loss. Its call counts
            # at its ceiling, and once more when it settles: too much rather than too little.
            ledger.presume(operation, database)
        done = cost_stores[alias].rebuild(lambda: spent_by_key(alias), is_new=is_new)
    except (DatabaseError, InterfaceError) as error:
        raise CostStoreError(
            f"The totals of the cost store {alias!r} cannot be rebuilt: the database"
            f" {database!r} failed ({type(error).__name__}). Nothing was sent."
        ) from error
    if done and not is_new:
        events.BUDGET_STORE_REBUILT.log(store=alias)
    return done


def spent_by_key(
    alias: str = "default", periods: Iterable[policy.Period] | None = None
) -> dict[str, int]:
    """Return what periods of budgets have spent by the ledger, by the store's key.

    What the other store of a stand-in's pair has spent counts there. Groups are those of
    today's members.

    Args:
        alias: The store that it is for.
        periods: None takes the present one of each budget.

    Returns:
        Nano-dollars, tokens or requests. Of a budget for each user, module, … those that
        have spent something; 0 for other budgets that have not.

    Raises:
        CostStoreError: The other store, or the budgets, cannot be asked.
    """
    if periods is None:
        periods = policy.periods_at(datetime.datetime.now(datetime.UTC))
    spent: dict[str, int] = {}
    for each in periods:
        budget = each.budget
        amounts = _spent(budget, each.start, each.end)
        if budget.scope == "global" or budget.key:
            amounts = {budget.key: amounts.get(budget.key, Amount())}
        for value, amount in amounts.items():
            if value or budget.scope == "global":
                spent[policy.key_of(budget, value, each.mark)] = amount.of(budget.unit)
    other = get_settings().money.stand_in
    if other is not None and spent:
        elsewhere = cost_stores["default" if alias == other else other].totals(list(spent))
        spent = {key: max(0, each - elsewhere[key].spent_nano) for key, each in spent.items()}
    return spent


def _spent(budget: BudgetSettings, start: Any, end: Any) -> dict[str, Amount]:
    if start is not None and timezone.is_naive(timezone.now()):  # USE_TZ = False
        start, end = (timezone.make_naive(each) for each in (start, end))
    # Free calls cost nothing, and count for no budget.
    free = [] if budget.unit == "usd" else free_providers()
    spent = Ledger(start, end).spent_by(_COLUMNS.get(budget.scope), without=free)
    amounts: dict[str, Amount] = {}
    for value, (nano, tokens, requests) in spent.items():
        value = value.removeprefix("models/") if budget.scope == "model" else value
        known = amounts.get(value, Amount())
        amounts[value] = Amount(
            nano=known.nano + nano,
            tokens=known.tokens + tokens,
            requests=known.requests + requests,
        )
    return _by_group(amounts) if budget.scope == "group" else amounts


def _by_group(by_user: dict[str, Amount]) -> dict[str, Amount]:
    found: dict[str, list[Amount]] = defaultdict(list)
    for name, user in Group.objects.values_list("name", "user"):
        if str(user) in by_user:
            found[name].append(by_user[str(user)])
    return {
        name: Amount(
            nano=sum(each.nano for each in amounts),
            tokens=sum(each.tokens for each in amounts),
            requests=sum(each.requests for each in amounts),
        )
        for name, amounts in found.items()
    }


def free_providers() -> list[str]:
    """Return the aliases of providers whose calls cost nothing."""
    names = []
    for name in providers:
        try:
            if providers[name].is_free:
                names.append(name)
        except ConfigurationError:
            continue
    return names
