"""Where the package's other tables name a user, and how they forget one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import models
from django.db.models import Q

from django_obc_ai.conf import get_settings
from django_obc_ai.models import (
    Budget,
    BudgetAlert,
    BudgetChange,
    CostCorrection,
    IndexRequest,
    OperationRollup,
    PromptTemplate,
    ProviderPause,
    RollupMark,
)
from django_obc_ai.models.fields import NAME_LENGTH
from django_obc_ai.models.ledger import locked
from django_obc_ai.services._people import Person
from django_obc_ai.services.tally import merge_shares

_AT_ONCE = 200
#: Stands for a user in the history of a budget that was that user's own.
ERASED = "erased"


def rollups_of(person: Person) -> models.QuerySet[OperationRollup]:
    """Return the rollups, of whatever kind, that count a user apart."""
    return OperationRollup.objects.filter(by_user__has_key=str(person.key)).order_by("pk")


def forget_user(person: Person) -> int:
    """Let what a user's operations come to be nobody's in all rollups; return how many.

    Once the rows themselves are nobody's: whoever rolls them up anew meanwhile finds them so.
    """
    RollupMark.objects.get_or_create(pk=1)
    count = 0
    while keys := list(rollups_of(person).values_list("pk", flat=True)):
        for start in range(0, len(keys), _AT_ONCE):
            count += _forget_in(keys[start : start + _AT_ONCE], person)
    return count


def _forget_in(keys: Sequence[int], person: Person) -> int:
    alias = get_settings().database
    with locked():
        rows = list(rollups_of(person).filter(pk__in=keys).only("pk", "by_user", "purged"))
        for row in rows:
            shares = [row.by_user]
            if row.purged is not None:
                shares += [row.purged["tally"]["by_user"], row.purged["money"]["by"]["user"]]
            for share in shares:
                if str(person.key) in share:
                    merge_shares(share, {"": share.pop(str(person.key))})
        OperationRollup.objects.using(alias).bulk_update(rows, ["by_user", "purged"])
    return len(rows)


def budgets_of(person: Person) -> models.QuerySet[Budget]:
    """Return the budgets that are for this user alone."""
    return Budget.objects.filter(scope="user", key=str(person.key))


def alerts_of(person: Person) -> models.QuerySet[BudgetAlert]:
    """Return what was announced of them, and of budgets for each user."""
    return BudgetAlert.objects.filter(key__startswith=f"user={person.key}:")


def changes_of(person: Person) -> models.QuerySet[BudgetChange]:
    """Return changes of budgets that this user made, or that were about this user's own."""
    key = str(person.key)
    return BudgetChange.objects.filter(
        Q(changed_by=key)
        | Q(before__scope="user", before__key=key)
        | Q(after__scope="user", after__key=key)
    )


#: Where a name is kept, not a key: who did it, as the admin or a command has written it.
_NAMES: tuple[tuple[type[models.Model], str], ...] = (
    (CostCorrection, "made_by"),
    (BudgetAlert, "acknowledged_by"),
    (ProviderPause, "paused_by"),
    (IndexRequest, "requested_by"),
)


def named(person: Person) -> list[tuple[models.QuerySet[Any], str]]:
    """Return the rows that say this user's name in a text, each with its column."""
    if not person.name:
        return []
    # As much of it as the columns hold.
    return [
        (model._default_manager.filter(**{column: person.name[:NAME_LENGTH]}), column)
        for model, column in _NAMES
    ]


def prompts_by(person: Person) -> models.QuerySet[PromptTemplate]:
    """Return versions of prompts that this user wrote or made active."""
    return PromptTemplate.objects.filter(Q(created_by=person.key) | Q(activated_by=person.key))


def forget_budgets(person: Person) -> int:
    """Delete a user's own budgets and their alerts; their history no longer says whose."""
    budgets = list(budgets_of(person))
    for budget in budgets:
        budget.delete()
    alerts, _ = alerts_of(person).delete()
    changes = list(changes_of(person))
    for change in changes:
        if change.changed_by == str(person.key):
            change.changed_by = ""
        for facts in (change.before, change.after):
            if facts and (facts["scope"], facts["key"]) == ("user", str(person.key)):
                facts["key"] = ERASED
    BudgetChange.objects.bulk_update(
        changes, ["changed_by", "before", "after"], batch_size=_AT_ONCE
    )
    return len(budgets) + alerts + len(changes)


def forget_names(person: Person) -> int:
    """Leave out who did something and who wrote or activated prompts."""
    count = sum(rows.update(**{column: ""}) for rows, column in named(person))
    versions = PromptTemplate.objects
    count += versions.filter(created_by=person.key).update(created_by=None)
    return count + versions.filter(activated_by=person.key).update(activated_by=None)
