"""Tasks that keep the tables small and the books up to date, by what the settings say."""

from __future__ import annotations

import datetime

from django.utils import timezone

from django_obc_ai.conf import get_settings
from django_obc_ai.models import TaskState
from django_obc_ai.services import ledger, metrics, retention
from django_obc_ai.services.content import purge_content
from django_obc_ai.services.conversations import purge_conversations

#: What was done once is remembered for so long.
_REMEMBER = datetime.timedelta(days=400)


def purge_operations() -> None:
    """Delete what the settings keep for a time only, once that has passed.

    Operations after ``OBC_AI["LOG"]["operation_days"]``, stored prompts and answers after its
    ``content_days``, conversations after ``OBC_AI["CHAT"]["retention_days"]``; None keeps all.

    Raises:
        RuntimeError: It was called inside a transaction.
    """
    purge_content()
    purge_conversations()
    TaskState.objects.filter(finished_at__lt=timezone.now() - _REMEMBER).exclude(key="").delete()
    days = get_settings().log.operation_days
    if days is not None:
        retention.purge_operations(datetime.timedelta(days=days))


def drain_spool() -> None:
    """Take up the operations that wait on this machine's disk, and in Redis, for the database."""
    ledger.drain_spool()


def roll_up() -> None:
    """Add the ledger up by quarters of an hour and by days, so that no reader has to."""
    metrics.prepare()
