"""Compare what the loopback server has billed with the ledger and the cost store."""

from __future__ import annotations

import sys
from typing import Any

#: Nano-dollars per token of gemini-2.5-flash, written down apart from the package's table.
INPUT, OUTPUT = 300, 2_500


def cost_of(billed: Any) -> int:
    """Return what a bill of the server comes to, in nano-dollars."""
    return int(billed.prompt * INPUT + billed.candidates * OUTPUT)


def compare(trial: Any) -> str:
    """Return the row of the table.

    Raises:
        SystemExit: The comparison failed.
    """
    from django_obc_ai.backends.cost_stores import cost_stores
    from django_obc_ai.gateway import ledger, recovery
    from django_obc_ai.gateway.cache import digest
    from django_obc_ai.models import AIOperation
    from django_obc_ai.types import nano_from_usd

    while (drained := ledger.drain("default")).stored:
        print(f"{trial.name}: {drained.stored} rows were taken up", file=sys.stderr)
    recovery.sweep()
    trial.sample()
    trial.sample_bill()
    bills, bill = {}, 0
    for entry in trial.gemini.journal:
        cost = cost_of(entry.billed)
        prompt = entry.body["contents"][-1]["parts"][-1]["text"]
        bills[digest("prompt", ["", prompt])] = cost
        bill += cost
    answered = list(AIOperation.objects.filter(success=True))
    wrong = [each for each in answered if nano_from_usd(each.cost_usd) != bills[each.prompt_hash]]
    if wrong or not answered:
        raise SystemExit(f"{trial.name}: {len(wrong)} of {len(answered)} costs are no bill.")
    totals = cost_stores["default"].totals([trial.key])[trial.key]
    booked = nano_from_usd(AIOperation.objects.total_cost())
    unknown = AIOperation.objects.filter(cost_known=False)
    ceilings = sum(nano_from_usd(row.cost_usd) for row in unknown)
    if bill > totals.spent_nano or bill > booked or totals.held_nano:
        raise SystemExit(f"{trial.name}: billed {bill}, ledger {booked}, store {totals}.")
    refused = AIOperation.objects.filter(error_category="budget_exceeded").count()
    if not refused:
        raise SystemExit(f"{trial.name}: the budget was not too small.")
    count, uncertain = unknown.count(), usd(ceilings)
    left = reconcile_with(trial, bill)
    if trial.name == "redis":
        trial.redis.__exit__(None, None, None)
    c = trial.count
    return (
        f"| {trial.name} | {usd(trial.limit)} | {usd(trial.most)} | {usd(bill)} |"
        f" {usd(totals.spent_nano)} | {usd(booked)} | {uncertain} in {count} |"
        f" {len(answered)} | {refused} | {c['killed']} | {c['stopped']} | {c['restarts']} |"
        f" {c['samples']} | {usd(left)} |"
    )


def usd(nano: int) -> str:
    """Return nano-dollars as dollars."""
    return f"${nano / 1e9:.6f}"


def reconcile_with(trial: Any, bill: int) -> int:
    """Reconcile with the server's bill as a provider would export it; return what is left.

    Raises:
        SystemExit: Something is left.
    """
    from django_obc_ai.models import AIOperation
    from django_obc_ai.querysets import current_day
    from django_obc_ai.services.reconciliation import BilledRow, reconcile
    from django_obc_ai.types import nano_from_usd, usd_from_nano

    today = current_day()
    export = [BilledRow(day=today, model="gemini-2.5-flash", cost_usd=usd_from_nano(bill))]
    found = reconcile(today, today, bill=export, repair=True, made_by=trial.name)
    ledger = nano_from_usd(AIOperation.objects.total_cost())
    if ledger != bill or not found.is_balanced():
        raise SystemExit(f"{trial.name}: after reconciling, bill {bill}, ledger {ledger}: {found}.")
    return ledger - bill
