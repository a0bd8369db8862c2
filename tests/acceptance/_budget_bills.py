"""Compare what the loopback server has billed with the ledger and the cost store."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping
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

    while ledger.drain("default").stored:
        pass
    recovery.sweep()
    trial.sample()
    trial.sample_bill()
    bills, bill = {}, 0
    for entry in trial.gemini.journal:
        cost = cost_of(entry.billed)
        if entry.body is None and not cost:
            continue  # its sender was killed before it had sent all
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
    count = unknown.count()
    left = reconcile(trial, bill)
    if trial.name == "redis":
        trial.redis.__exit__(None, None, None)
    usd = lambda nano: f"${nano / 1e9:.9f}"  # noqa: E731
    c = trial.count
    return (
        f"| {trial.name} | {usd(trial.limit)} | {usd(trial.most)} | {usd(bill)} |"
        f" {usd(totals.spent_nano)} | {usd(booked)} | {usd(ceilings)} in {count} |"
        f" {len(answered)} | {refused} | {c['killed']} | {c['stopped']} | {c['restarts']} |"
        f" {c['samples']} | {usd(left)} |"
    )


def reconcile(trial: Any, billed: int | Mapping[datetime.date, int]) -> int:
    """Reconcile with the server's export; return what ledger and store differ from the bill by.

    Args:
        trial: Its folder, its name, and the store's key of a budget that all falls under.
        billed: Nano-dollars of today, or of each day.

    Raises:
        SystemExit: They differ.
    """
    from django.core.management import call_command

    from django_obc_ai.backends.cost_stores import cost_stores
    from django_obc_ai.models import AIOperation
    from django_obc_ai.querysets import current_day
    from django_obc_ai.types import nano_from_usd, usd_from_nano

    export, today = trial.folder / "bill.csv", current_day()
    by_day = {today: billed} if isinstance(billed, int) else billed
    bill = sum(by_day.values())
    lines = [f"{day},gemini-2.5-flash,{usd_from_nano(nano):f}" for day, nano in by_day.items()]
    export.write_text("\n".join(["date,model,cost", *lines, ""]), encoding="utf-8")
    days = ["--from", str(today - datetime.timedelta(days=1)), "--to", str(today)]
    call_command("reconcile_costs", *days, "--export", str(export), "--repair", stdout=sys.stderr)
    ledger = nano_from_usd(AIOperation.objects.total_cost())
    spent = cost_stores["default"].totals([trial.key])[trial.key].spent_nano
    if ledger != bill or spent != bill:
        raise SystemExit(
            f"{trial.name}: reconciled, billed {bill}, ledger {ledger}, store {spent}."
        )
    return abs(ledger - bill) + abs(spent - bill)
