"""The state that the database coordinator keeps between calls."""

from __future__ import annotations

from django.db import models

from django_obc_ai.models.managers import ConfiguredManager


class GateRow(models.Model):
    """The gate before one provider: what counts towards its limits, who waits, whether it is open.

    Attributes:
        name: The provider's alias.
        data: JSON of the coordinator's own, as text because only the coordinator reads it.
        changes: How often it was changed; the first step of each change, which locks the row.
    """

    name = models.CharField(max_length=50, primary_key=True)
    data = models.TextField(default="{}")
    changes = models.BigIntegerField(default=0)

    objects = ConfiguredManager["GateRow"]()

    def __str__(self) -> str:
        """Return the name."""
        return self.name
