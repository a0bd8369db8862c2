"""Compare what the loopback server has billed with the ledger and the cost store."""

from __future__ import annotations

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
    from django_obc_ai.gateway import recovery
    from django_obc_ai.gateway.cache import digest
    from django_obc_ai.models import AIOperation
    from django_obc_ai.types import nano_from_usd

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
    ledger = nano_from_usd(AIOperation.objects.total_cost())
    unknown = AIOperation.objects.filter(cost_known=False)
    ceilings = sum(nano_from_usd(row.cost_usd) for row in unknown)
    if bill > totals.spent_nano or bill > ledger or totals.held_nano:
        raise SystemExit(f"{trial.name}: billed {bill}, ledger {ledger}, store {totals}.")
    refused = AIOperation.objects.filter(error_category="budget_exceeded").count()
    if not refused:
        raise SystemExit(f"{trial.name}: the budget was not too small.")
    if trial.name == "redis":
        trial.redis.__exit__(None, None, None)
    usd = lambda nano: f"${nano / 1e9:.6f}"  # noqa: E731
    c = trial.count
    return (
        f"| {trial.name} | {usd(trial.limit)} | {usd(trial.most)} | {usd(bill)} |"
        f" {usd(totals.spent_nano)} | {usd(ledger)} | {usd(ceilings)} in {unknown.count()} |"
        f" {len(answered)} | {refused} | {c['killed']} | {c['stopped']} | {c['restarts']} |"
        f" {c['samples']} |"
    )
