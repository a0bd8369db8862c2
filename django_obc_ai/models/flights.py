"""The table of the database coordinator's flights: calls under way, and answers for a moment."""

from __future__ import annotations

import time
from typing import ClassVar

from django.db import models

from django_obc_ai.conf import get_settings


class FlightManager(models.Manager["Flight"]):
    """Flights on the configured database."""

    def get_queryset(self) -> models.QuerySet[Flight]:
        """Return all rows; ``using()`` names another database."""
        return models.QuerySet(self.model, using=self._db or get_settings().database)

    def forget(self, *, is_all: bool = False) -> int:
        """Delete what has expired, or everything: answers stand in it, and nobody's name."""
        rows = self.all() if is_all else self.filter(expires_at__lte=time.time())
        return rows.delete()[0]


class Flight(models.Model):
    """A call under way that others wait for, or what the last one has left for them.

    Times are seconds since 1970, as the coordinator's clock says them. Texts are ASCII, written as
    in JSON, because PostgreSQL takes neither a zero byte nor half a character.
    """

    key = models.CharField(max_length=200, primary_key=True)
    leader = models.CharField(max_length=100, default="", help_text="Empty if none is under way.")
    lease_until = models.FloatField(default=0.0)
    is_takeover = models.BooleanField(default=False)
    text = models.TextField(default="")
    last_piece = models.BigIntegerField(default=-1)
    answer = models.TextField(default="")
    landed_at = models.FloatField(default=0.0)
    landed_mark = models.BigIntegerField(default=0, help_text="Tells whose answer it is.")
    keep_until = models.FloatField(default=0.0)
    expires_at = models.FloatField(default=0.0)

    objects = FlightManager()

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["expires_at"], name="obc_ai_flight_expires"),
        ]

    def __str__(self) -> str:
        """Return the key."""
        return self.key
