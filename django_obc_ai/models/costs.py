"""Tables of the database cost store: running totals and reservations."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.utils import timezone

from django_obc_ai.models.managers import ConfiguredManager


class CostTotal(models.Model):
    """What one budget key has spent and holds: nano-dollars, tokens or requests."""

    key = models.CharField(max_length=250, primary_key=True)
    spent_nano = models.BigIntegerField(default=0)
    held_nano = models.BigIntegerField(default=0)

    objects = ConfiguredManager["CostTotal"]()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=models.Q(held_nano__gte=0), name="obc_ai_total_held_not_negative"
            ),
            models.CheckConstraint(
                condition=models.Q(spent_nano__gte=0), name="obc_ai_total_spent_not_negative"
            ),
        ]

    def __str__(self) -> str:
        """Return the key."""
        return self.key


class CostReservation(models.Model):
    """One amount that was promised to a call; closed when the call is settled.

    Of an open one the amount is held; of an expired one it is spent, until it is settled.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    keys = models.JSONField(help_text="The unit that each key counts.")
    amount_nano = models.BigIntegerField()
    amount_tokens = models.BigIntegerField(default=0)
    amount_requests = models.BigIntegerField(default=0)
    is_open = models.BooleanField(default=True)
    is_expired = models.BooleanField(default=False)
    is_confirmed = models.BooleanField(default=False)
    owner = models.CharField(max_length=100, default="")
    lease_until = models.DateTimeField(default=timezone.now)
    details = models.TextField(default="")
    created_at = models.DateTimeField(default=timezone.now)

    objects = ConfiguredManager["CostReservation"]()

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["lease_until"],
                condition=models.Q(is_open=True),
                name="obc_ai_reservation_open",
            ),
            models.Index(
                fields=["created_at"],
                condition=models.Q(is_expired=True, is_confirmed=False),
                name="obc_ai_reservation_expired",
            ),
        ]

    def __str__(self) -> str:
        """Return the id."""
        return str(self.id)
