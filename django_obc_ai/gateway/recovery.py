"""Holds whose owners died, and totals that were lost: both are made good from the ledger."""

from __future__ import annotations

import datetime
import json
import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from django.contrib.auth.models import Group
from django.db import (
    DatabaseError,
    IntegrityError,
    InterfaceError,
    connections,
    models,
    transaction,
)
from django.utils import timezone

from django_obc_ai.backends.cost_stores import BaseCostStore, cost_stores
from django_obc_ai.backends.providers import providers
from django_obc_ai.conf import BudgetSettings, get_settings
from django_obc_ai.exceptions import ConfigurationError, CostStoreError
from django_obc_ai.gateway import policy, retry
from django_obc_ai.models import AIOperation, CostStoreMark
from django_obc_ai.models.connections import persist
from django_obc_ai.types import Amount, ExpiredHold, nano_from_usd, usd_from_nano

logger = logging.getLogger("django_obc_ai.budget")
ResultT = TypeVar("ResultT")
_TOKENS = ("input_tokens", "output_tokens", "thinking_tokens", "tool_tokens")
_COLUMNS = {
    "module": "module",
    "operation_type": "operation_type",
    "model": "model_requested",
    "user": "user_id",
    "group": "user_id",
    "tenant": "scope",
}


def sweep(alias: str = "default") -> int:
    """Book holds whose leases have ended, with a row for each; return how many there were.

    Raises:
        CostStoreError: The store or the ledger cannot be asked; nothing is lost.
    """
    store = cost_stores[alias]
    expired = store.expire()
    for hold in expired:
        _book(store, hold)
        store.confirm([hold.reservation])
    return len(expired)


def _book(store: BaseCostStore, hold: ExpiredHold) -> None:
    """Write the row of an expired hold, or take the cost that its call has written meanwhile."""
    facts = json.loads(hold.details or "{}")
    database = get_settings().database
    rows = AIOperation.objects.filter(pk=facts.get("operation"))
    try:
        written = persist(database, lambda: rows.values("cost_usd", *_TOKENS).first())
        if written is None:
            persist(database, lambda: _insert(_row(hold, facts, is_late=False), database))
    except (DatabaseError, InterfaceError) as error:
        raise CostStoreError(
            f"An expired hold was not written to {database!r} ({type(error).__name__}); it stays"
            " booked and is written later."
        ) from error
    if written is None:
        logger.warning(
            "Reservation %s was not settled by %s: $%s is booked.",
            hold.reservation,
            hold.owner,
            usd_from_nano(hold.amount.nano),
        )
    elif hold.is_from_before_loss:
        store.release(hold.reservation)  # the totals were rebuilt with that row
    else:
        # The process died after the row and before the settlement.
        cost = nano_from_usd(written["cost_usd"]) - int(facts.get("before_nano", 0))
        tokens = sum(written[name] for name in _TOKENS) - int(facts.get("before_tokens", 0))
        store.settle(hold.reservation, Amount(nano=max(0, cost), tokens=max(0, tokens), requests=1))


def correct(reservation: UUID, details: str) -> None:
    """Take an expired hold's row out of the sums: its call ended and has a row of its own."""
    database = get_settings().database
    hold = ExpiredHold(reservation=reservation, amount=Amount(), details=details)
    row = _row(hold, json.loads(details or "{}"), is_late=True)

    def work() -> None:
        changed = AIOperation.objects.filter(pk=reservation).update(
            cost_usd=0, cost_known=True, error_message=row.error_message
        )
        if not changed:  # whoever books it now finds it there
            _insert(row, database)

    try:
        persist(database, work)
    except (DatabaseError, InterfaceError):
        logger.exception("The row of the expired hold %s still holds its ceiling.", reservation)


def _row(hold: ExpiredHold, facts: dict[str, Any], *, is_late: bool) -> AIOperation:
    nano = 0 if is_late else hold.amount.nano + int(facts.get("before_nano", 0))
    operation = facts.get("operation", "")
    message = (
        f"The call {operation} ended after its lease; its own row has the cost."
        if is_late
        else f"The call {operation} never reported its end; its ceiling is booked."
    )
    at = facts.get("at")
    return AIOperation(
        id=hold.reservation,
        operation_type=facts.get("operation_type", "other"),
        module=facts.get("module", "general"),
        user_id=facts.get("user"),
        scope=facts.get("scope", ""),
        provider=facts.get("provider", "")[:50],
        model_requested=facts.get("model", "")[:100],
        tokens_exact=False,
        cost_usd=usd_from_nano(nano),
        cost_known=is_late,
        success=False,
        error_category="lease_expired",
        error_message=message,
        created_at=datetime.datetime.fromisoformat(at) if at else timezone.now(),
    )


def _insert(operation: AIOperation, alias: str) -> None:
    try:
        with transaction.atomic(using=alias):
            operation.save(force_insert=True, using=alias)
    except IntegrityError:
        if not AIOperation.objects.using(alias).filter(pk=operation.pk).exists():
            raise


def rebuild(alias: str = "default") -> bool:
    """Rebuild a lost store's totals from the ledger; return whether it admits calls now.

    Raises:
        CostStoreError: Store or ledger cannot be asked.
    """
    if retry.is_in_transaction():
        return _apart(lambda: _rebuild(alias))  # a transaction may show an old ledger
    return _rebuild(alias)


def _rebuild(alias: str) -> bool:
    database = get_settings().database
    try:
        _, is_new = persist(database, lambda: CostStoreMark.objects.get_or_create(alias=alias))
        done = cost_stores[alias].rebuild(lambda: spent_by_key(alias), is_new=is_new)
    except (DatabaseError, InterfaceError) as error:
        raise CostStoreError(
            f"The totals of the cost store {alias!r} cannot be rebuilt: the database"
            f" {database!r} failed ({type(error).__name__}). Nothing was sent."
        ) from error
    if done and not is_new:
        logger.warning("The totals of the cost store %r were rebuilt from the ledger.", alias)
    return done


def _apart(work: Callable[[], ResultT]) -> ResultT:
    """Run in a thread, which has connections of its own."""
    found: list[ResultT] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # noqa: BLE001 - raised below
            failed.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run, name="obc-ai-rebuild", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def spent_by_key(alias: str = "default") -> dict[str, int]:
    """Return what each budget's present period has spent by the ledger.

    What the stand-in has spent counts there. Groups are those of today's members.
    """
    at = datetime.datetime.now(datetime.UTC)
    spent: dict[str, int] = {}
    for budget, mark, start, end in policy.keys_in_force(at):
        for value, amount in _spent(budget, start, end).items():
            if budget.scope == "global" or (value and budget.key in ("", value)):
                spent[policy.key_of(budget, value, mark)] = amount.of(budget.unit)
    other = get_settings().money.stand_in
    if other is not None and spent:
        elsewhere = cost_stores["default" if alias == other else other].totals(list(spent))
        spent = {key: max(0, each - elsewhere[key].spent_nano) for key, each in spent.items()}
    return spent


def _spent(budget: BudgetSettings, start: Any, end: Any) -> dict[str, Amount]:
    rows = AIOperation.objects.filter(cached=False).exclude(provider__in=_free_providers())
    if start is not None:
        if timezone.is_naive(timezone.now()):  # USE_TZ = False
            start, end = (timezone.make_naive(each) for each in (start, end))
        rows = rows.filter(created_at__gte=start, created_at__lt=end)
    column = _COLUMNS.get(budget.scope)
    tokens = sum((models.F(name) for name in _TOKENS[1:]), models.F(_TOKENS[0]))
    sums = {
        "nano": models.Sum("cost_usd"),
        "tokens": models.Sum(tokens),
        "requests": models.Sum("attempts"),
    }
    grouped = rows.order_by().values(value=models.F(column)) if column else rows.order_by()
    # Any: rows of annotations, whose names the stubs cannot know.
    found: Any = grouped.annotate(**sums) if column else [rows.aggregate(**sums)]
    amounts: dict[str, Amount] = {}
    for row in found:
        value = "" if row.get("value") is None else str(row["value"])
        value = value.removeprefix("models/") if budget.scope == "model" else value
        known = amounts.get(value, Amount())
        amounts[value] = Amount(
            nano=known.nano + nano_from_usd(row["nano"] or usd_from_nano(0)),
            tokens=known.tokens + (row["tokens"] or 0),
            requests=known.requests + (row["requests"] or 0),
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


def _free_providers() -> list[str]:
    names = []
    for name in providers:
        try:
            if providers[name].is_free:
                names.append(name)
        except ConfigurationError:
            continue
    return names
