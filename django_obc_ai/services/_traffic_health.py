"""The part of the health check that looks at what workers share: coordinators, limits, closings."""

from __future__ import annotations

import datetime
from functools import partial

from django.conf import settings
from django.utils import timezone

from django_obc_ai.backends.coordinators import coordinators
from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.exceptions import CoordinatorError
from django_obc_ai.services import _provider_health as asking
from django_obc_ai.services._provider_health import HealthItem
from django_obc_ai.services.limits import CLOSING, read_limits
from django_obc_ai.types.coordination import Limits

_PROBE = "django_obc_ai:health"
#: Of the requests that a provider allows by day, so much is left at least.
LEAST_LEFT_PERCENT = 10


def check_coordinator(alias: str) -> HealthItem:
    """Say whether a coordinator answers, and whether all processes share it.

    Raises:
        ConfigurationError: It, or the cost store, cannot be built.
    """
    name, coordinator = f"coordinator {alias}", coordinators[alias]
    item = asking.describe(name, coordinator, coordinators.where(alias))
    if item.status == "error":
        return item
    try:
        coordinator.gate_state(_PROBE, Limits())
    except CoordinatorError as error:
        hint = "Until it answers, each process keeps the limits by itself, and pays by itself."
        return HealthItem(name=name, status="unknown", message=str(error), hint=hint)
    # One that follows a private cost store, which has its own warning, needs none.
    is_alone = not coordinator.is_shared and cost_stores["default"].is_shared
    if is_alone and not settings.DEBUG:
        message = f"{item.message} Each process makes equal calls for itself, and may use all that"
        message += " a provider allows."
        hint = "Use the database or the Redis coordinator."
        return HealthItem(name=name, status="warning", message=message, hint=hint)
    return item


def check_limits(alias: str) -> HealthItem:
    """Say whether a provider is asked, and what is left of its limits.

    Raises:
        ConfigurationError: It, or its coordinator, cannot be built.
    """
    name = f"limits {alias}"
    warn = partial(HealthItem, name=name, status="warning")
    try:
        found = read_limits(alias)
    except CoordinatorError as error:
        return HealthItem(name=name, status="unknown", message=str(error))
    state, day = found.known_state(), found.day
    if found.is_closed:
        until = "" if found.until is None else f" until {_local(found.until)}"
        hint = "Who may resume providers can reopen it on their page in the admin."
        return warn(message=f"Closed{until}: {CLOSING[state.reason]}.", hint=hint)
    left = "" if day is None else f"{max(0, day.limit - day.used):,} of {day.limit:,} requests left"
    if day is not None and 100 - day.percent < LEAST_LEFT_PERCENT:
        ends = "" if found.resets_at is None else f" until {_local(found.resets_at)}"
        hint = "What comes after that is refused, or goes to a provider in OBC_AI['FALLBACKS']."
        return warn(message=f"Open; only {left} today{ends}.", hint=hint)
    said = "Reopening: few calls are let through" if state.reason == "reopening" else "Open"
    return HealthItem(name=name, status="ok", message=f"{said}{'; ' if left else ''}{left}.")


def _local(moment: datetime.datetime) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M:%S}"
