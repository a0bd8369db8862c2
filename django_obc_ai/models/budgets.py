"""Budgets that people set in the admin, what was changed, and the alerts that were given."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone

from django_obc_ai.conf import get_settings
from django_obc_ai.conf.scopes import DEFAULT_ALERT_PERCENT, PERIODS, SCOPES
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.models.fields import NAME_LENGTH, NanoDollarField
from django_obc_ai.models.managers import ConfiguredManager

_FACTS = (
    "scope", "key", "period", "limit_usd", "limit_tokens", "limit_requests", "enforce",
    "alert_percent", "time_zone",
)  # fmt: skip


def _default_percents() -> list[int]:
    return list(DEFAULT_ALERT_PERCENT)


class Budget(models.Model):
    """One budget. It takes effect at once, in place of an entry of ``OBC_AI["BUDGETS"]``.

    Saving and deleting leave a `BudgetChange`; ``changed_by`` names who it was.
    """

    scope = models.CharField(max_length=20, choices=[(name, name) for name in SCOPES])
    key = models.CharField(
        max_length=100,
        blank=True,
        default="",
        help_text="One module, user id, group name, tenant, …; empty: each of them separately.",
    )
    period = models.CharField(max_length=10, choices=[(name, name) for name in PERIODS])
    limit_usd: Any = NanoDollarField(  # type: ignore[misc]  # the field's type knows no None
        "limit in US dollars", null=True, blank=True
    )
    limit_tokens = models.PositiveBigIntegerField(null=True, blank=True)
    limit_requests = models.PositiveBigIntegerField(null=True, blank=True)
    enforce = models.BooleanField(
        default=True, help_text="Refuse calls that may pass the limit; otherwise only count."
    )
    alert_percent = models.JSONField(default=_default_percents, blank=True)
    time_zone = models.CharField(
        max_length=50, blank=True, default="", help_text="Such as Asia/Manila; empty: the site's."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = ConfiguredManager["Budget"]()
    #: User or user id that the next save or delete is noted with.
    changed_by: Any = None

    class Meta:
        ordering: ClassVar[list[str]] = ["scope", "key", "period"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=(
                    models.Q(limit_usd__gte=0, limit_tokens=None, limit_requests=None)
                    | models.Q(limit_usd=None, limit_tokens__gte=0, limit_requests=None)
                    | models.Q(limit_usd=None, limit_tokens=None, limit_requests__gte=0)
                ),
                name="obc_ai_budget_one_limit",
            ),
        ]

    def __str__(self) -> str:
        """Return scope and period."""
        return f"{self.scope}{'=' if self.key else ''}{self.key} per {self.period}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save where calls read budgets unless told otherwise, and note what it was before."""
        using = kwargs["using"] = kwargs.get("using") or self._database
        with transaction.atomic(using=using):
            rows = Budget.objects.using(using).filter(pk=self.pk) if self.pk else ()
            before = next((row.facts for row in rows), None)
            super().save(*args, **kwargs)
            self._note(using, before, self.facts)

    def delete(self, using: Any = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:
        """Delete, and note what it was."""
        alias = using or self._database
        with transaction.atomic(using=alias):
            self._note(alias, self.facts, None)
            return super().delete(using=alias, keep_parents=keep_parents)

    def clean(self) -> None:
        """Check what the settings check, too: one limit, percents, a time zone that exists.

        Raises:
            ValidationError: Something is wrong.
        """
        from django_obc_ai.conf.budgets import parse_budget

        entry = {name: getattr(self, name) for name in _FACTS}
        if self.limit_usd is None:
            del entry["limit_usd"]
        try:
            parse_budget(entry, "The budget")
        except ConfigurationError as error:
            raise ValidationError(str(error)) from None

    @property
    def _database(self) -> str:
        return self._state.db or get_settings().database

    @property
    def facts(self) -> dict[str, Any]:
        """Return what was decided, for the history."""
        found = {name: getattr(self, name) for name in _FACTS}
        # A new row may still hold a text, as fields of Django take it.
        field: Any = self._meta.get_field("limit_usd")
        limit = field.to_python(self.limit_usd)
        if limit is not None:
            found["limit_usd"] = f"{limit:.9f}"
        return found

    def _note(self, using: str, before: Any, after: Any) -> None:
        if before != after:
            BudgetChange.objects.using(using).create(
                budget_id=self.pk,
                changed_by=str(getattr(self.changed_by, "pk", self.changed_by) or ""),
                before=before,
                after=after,
            )


class BudgetChange(models.Model):
    """Who changed which budget, when, from what to what; written by `Budget` and kept."""

    budget_id = models.BigIntegerField()
    changed_by = models.CharField(max_length=100, blank=True, default="")
    changed_at = models.DateTimeField(default=timezone.now)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)

    objects = ConfiguredManager["BudgetChange"]()

    class Meta:
        ordering: ClassVar[list[str]] = ["-changed_at"]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["budget_id", "changed_at"], name="obc_ai_budget_change"),
        ]

    def __str__(self) -> str:
        """Return which budget and when."""
        return f"Budget {self.budget_id}, {self.changed_at:%Y-%m-%d %H:%M}"


class BudgetAlert(models.Model):
    """A threshold that was reached, once per scope, period and threshold.

    Attributes:
        acknowledged_by: Who has seen to it, by name; the admin no longer reminds people.
        acknowledged_at: When that was.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    key = models.CharField(max_length=250)
    percent = models.PositiveSmallIntegerField()
    level = models.CharField(max_length=10)
    unit = models.CharField(max_length=10)
    limit = models.BigIntegerField(help_text="Nano-dollars, tokens or requests.")
    spent = models.BigIntegerField(help_text="When the threshold was noticed.")
    resets_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    acknowledged_by = models.CharField(max_length=NAME_LENGTH, blank=True, default="")
    acknowledged_at = models.DateTimeField(null=True, blank=True)

    objects = ConfiguredManager["BudgetAlert"]()

    class Meta:
        ordering: ClassVar[list[str]] = ["-created_at"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["key", "percent"], name="obc_ai_alert_once"),
        ]

    def __str__(self) -> str:
        """Return what was reached."""
        return f"{self.key} reached {self.percent} %"


class CostStoreMark(models.Model):
    """A cost store that can be lost has been used: from then on, empty means lost."""

    alias = models.CharField(max_length=100, primary_key=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = ConfiguredManager["CostStoreMark"]()

    def __str__(self) -> str:
        """Return the alias in ``OBC_AI["COST_STORES"]``."""
        return self.alias


def parsed(rows: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Return rows of `_FACTS` as `BudgetSettings`, in dollars, tokens or requests."""
    from django_obc_ai.conf.budgets import parse_budget

    found = []
    for row in rows:
        entry = dict(zip(_FACTS, row, strict=True))
        if entry["limit_usd"] is None:
            del entry["limit_usd"]
        found.append(parse_budget(entry, "A row of Budget"))
    return found


def facts_of_all() -> tuple[tuple[Any, ...], ...]:
    """Return what all rows say; one cheap query, so that changes take effect at once."""
    rows = Budget.objects.order_by("pk").values_list(*_FACTS)
    return tuple(
        (*row[:7], tuple(row[7]) if isinstance(row[7], list) else (), *row[8:]) for row in rows
    )
