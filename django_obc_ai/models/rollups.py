"""Sums of the ledger by quarters of an hour and by days, so that a year can be drawn at once."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from django_obc_ai.models.managers import ConfiguredManager


class OperationRollup(models.Model):
    """What the operations that began in one quarter of an hour, or on one day, come to.

    Attributes:
        start: The first instant. Every time zone's midnight begins a quarter of an hour.
        end: The first instant after it.
        is_day: Whether it is a day of the project's time zone, made of its quarters.
        rolled_at: When it was added up.
        sums: The tally as `services.tally.Tally` writes it, split so that a reader loads
            only what it shows.
        purged: Of a quarter: what its operations that were purged come to, or None; see
            `models.purged.PurgedSums`. The tally holds them, too.
    """

    start = models.DateTimeField()
    end = models.DateTimeField()
    is_day = models.BooleanField(default=False)
    rolled_at = models.DateTimeField()
    sums = models.JSONField()
    by_module = models.JSONField()
    by_operation_type = models.JSONField()
    by_model = models.JSONField()
    by_user = models.JSONField()
    by_scope = models.JSONField()
    purged = models.JSONField(null=True)

    objects = ConfiguredManager["OperationRollup"]()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["is_day", "start"], name="obc_ai_rollup_unique"),
        ]

    def __str__(self) -> str:
        """Return when it begins."""
        return f"{self.start:%Y-%m-%d %H:%M}"


class RollupMark(models.Model):
    """How far the ledger has been rolled up: one row, which whoever rolls up locks.

    Attributes:
        through: What began before is in the rollups, unless it was recorded since.
        purges: How many batches of operations were purged. Who reads rows and purged sums reads
            this before and after.
    """

    id = models.SmallIntegerField(primary_key=True, default=1)
    through = models.DateTimeField(null=True)
    purges = models.PositiveBigIntegerField(default=0)

    objects = ConfiguredManager["RollupMark"]()

    def __str__(self) -> str:
        """Return the moment."""
        return str(self.through)
