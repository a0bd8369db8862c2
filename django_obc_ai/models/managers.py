"""Managers that send the package's money tables to ``OBC_AI["DATABASE"]``."""

from __future__ import annotations

from typing import TypeVar

from django.db import models

from django_obc_ai.conf import get_settings
from django_obc_ai.querysets import AIOperationQuerySet

ModelT = TypeVar("ModelT", bound=models.Model)
_OperationManager = models.Manager.from_queryset(AIOperationQuerySet)


class AIOperationManager(_OperationManager):  # type: ignore[type-arg]  # built at run time
    """The ledger on the configured database, with the methods of `AIOperationQuerySet`."""

    def get_queryset(self) -> AIOperationQuerySet:
        """Return all rows; ``using()`` names another database."""
        return AIOperationQuerySet(self.model, using=self._db or get_settings().database)


class ConfiguredManager(models.Manager[ModelT]):
    """Plain manager on the configured database."""

    def get_queryset(self) -> models.QuerySet[ModelT]:
        """Return all rows; ``using()`` names another database."""
        return models.QuerySet(self.model, using=self._db or get_settings().database)
