"""Providers that operators have paused: nothing is sent to them, and nothing held.

Each process reads the few rows at most once in `_FRESH_SECONDS`, when it makes a call, so a pause
holds in all of them within a second, and a call costs one look at a clock and a dictionary. While
the rows cannot be read, what was read last goes on to hold; whether anything may be sent then is
for the budgets to say, which need the same database.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.utils import timezone

from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import ProviderPausedError
from django_obc_ai.logs import events
from django_obc_ai.models import ProviderPause
from django_obc_ai.models.connections import persist
from django_obc_ai.models.writer import transaction_of

_FRESH_SECONDS = 0.8
_clock = time.monotonic
#: By database: when it was read, and the end of each pause by alias.
_read: dict[str, tuple[float, Mapping[str, datetime.datetime | None]]] = {}


def refuse_if_paused(alias: str) -> None:
    """Return if a provider may be asked.

    Raises:
        ProviderPausedError: It is paused.
    """
    paused = _known()
    if alias not in paused:
        return
    until = paused[alias]
    if until is not None and until <= timezone.now():
        return
    if until is not None and timezone.is_naive(until):  # USE_TZ = False
        until = timezone.make_aware(until)
    end = "" if until is None else f" until {until:%Y-%m-%d %H:%M %Z}"
    error = ProviderPausedError(
        f"The provider OBC_AI['PROVIDERS'][{alias!r}] is paused{end}, so nothing was sent. Ask an"
        " operator of this site: the page of AI providers in the admin says why, and resumes it."
    )
    error.alias, error.until = alias, until
    raise error


def forget() -> None:
    """Read the rows again with the next call of this process."""
    _read.clear()


def _known() -> Mapping[str, datetime.datetime | None]:
    database = get_settings().database
    known = _read.get(database)
    if known is not None and _clock() - known[0] < _FRESH_SECONDS:
        return known[1]
    began = _clock()
    try:
        rows = persist(database, _rows_apart, attempts=2)
    except (DatabaseError, InterfaceError) as error:
        events.GATEWAY_PAUSES_UNREAD.log(error=error)
        return {} if known is None else known[1]
    if transaction_of(database) == "none":  # a rollback would take back what was read in one
        _read[database] = (began, rows)
    return rows


def _rows_apart() -> dict[str, datetime.datetime | None]:
    """Read in a savepoint where somebody has a transaction open, which no fault may break."""
    database = get_settings().database
    if not connections[database].in_atomic_block:
        return _rows()
    with transaction.atomic(using=database):
        return _rows()


def _rows() -> dict[str, datetime.datetime | None]:
    return dict(ProviderPause.objects.order_by().values_list("alias", "until"))
