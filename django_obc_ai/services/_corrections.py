"""Changing what an operation is said to have cost, always with a trace."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from django_obc_ai.conf import get_settings
from django_obc_ai.models import AIOperation, CostCorrection
from django_obc_ai.models.fields import NAME_LENGTH

_BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """One cost to be changed, as it was when it was read."""

    operation_id: UUID
    old_cost_usd: Decimal
    new_cost_usd: Decimal
    was_cost_known: bool
    reason: str


def apply(
    corrections: Iterable[Correction], *, kind: CostCorrection.Kind, made_by: str, run: UUID
) -> list[Correction]:
    """Change costs, note who did it and why, and return what was changed.

    A row that somebody else changed since it was read is left alone. Each batch is one
    transaction: a cost never changes without its trace. A changed cost is known from then on.
    """
    waiting, done = list(corrections), []
    alias = get_settings().database
    for start in range(0, len(waiting), _BATCH):
        with transaction.atomic(using=alias):
            changed = [each for each in waiting[start : start + _BATCH] if _change(each)]
            CostCorrection.objects.bulk_create(
                CostCorrection(
                    operation_id=each.operation_id,
                    kind=kind,
                    old_cost_usd=each.old_cost_usd,
                    new_cost_usd=each.new_cost_usd,
                    was_cost_known=each.was_cost_known,
                    reason=each.reason[:300],
                    made_by=made_by[:NAME_LENGTH],
                    run=run,
                )
                for each in changed
            )
        done += changed
    return done


def _change(correction: Correction) -> bool:
    row = AIOperation.objects.filter(
        pk=correction.operation_id,
        cost_usd=correction.old_cost_usd,
        cost_known=correction.was_cost_known,
    )
    now = timezone.now()
    return bool(row.update(cost_usd=correction.new_cost_usd, cost_known=True, recorded_at=now))
