"""Sending signals: a receiver that fails is logged, and nobody's answer is lost by it."""

from __future__ import annotations

from typing import Any

from django.dispatch import Signal

from django_obc_ai.logs import events
from django_obc_ai.logs.event import name_of
from django_obc_ai.models import AIOperation


def tell(signal: Signal, **facts: Any) -> None:
    """Send a signal of the gateway; its sender is `AIOperation`."""
    for receiver, result in signal.send_robust(AIOperation, **facts):
        if isinstance(result, Exception):
            name = name_of(receiver)
            events.LEDGER_RECEIVER_FAILED.log(about=name, error=result, receiver=name)
