"""``OBC_AI["BUDGETS"]`` and ``OBC_AI["MONEY"]``."""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django_obc_ai.conf.scopes import DEFAULT_ALERT_PERCENT, PERIODS, SCOPES
from django_obc_ai.conf.values import (
    as_mapping,
    as_money,
    as_positive,
    as_text,
    only_keys,
    suggest,
    wrong_type,
)
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.types import Unit

_LIMITS: dict[str, Unit] = {
    "limit_usd": "usd",
    "limit_tokens": "tokens",
    "limit_requests": "requests",
}
_KEYS = ("scope", "key", "period", *_LIMITS, "enforce", "alert_percent", "time_zone")


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSettings:
    """One budget, of ``OBC_AI["BUDGETS"]`` or of a row.

    Attributes:
        scope: One of `SCOPES`.
        key: One module, user id, group name, …; "" is each of them separately.
        period: One of `PERIODS`.
        limit: In US dollars, tokens or requests.
        unit: Which of these.
        enforce: Whether calls that may pass the limit are refused.
        alert_percent: Shares of the limit that are announced once a period, ascending.
        time_zone: Whose days are meant; "" is the project's.
    """

    scope: str
    period: str
    limit: Decimal
    unit: Unit = "usd"
    enforce: bool = True
    key: str = ""
    alert_percent: tuple[int, ...] = DEFAULT_ALERT_PERCENT
    time_zone: str = ""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """Return what a row and an entry of the settings have in common if the row wins."""
        return self.scope, self.key, self.period, self.unit


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneySettings:
    """``OBC_AI["MONEY"]``: what happens when a budget or its store is short.

    Attributes:
        stand_in: Alias of the cost store that is asked when "default" fails, or None.
        stand_in_percent: The share of each limit that the stand-in may admit.
        min_output_tokens: An answer may be shortened to so many tokens to fit; None: never.
        alert_emails: Who is written to when a threshold is reached.
    """

    stand_in: str | None
    stand_in_percent: int
    min_output_tokens: int | None
    alert_emails: tuple[str, ...]


def parse_budgets(value: Any, where: str) -> tuple[BudgetSettings, ...]:
    """Return the budgets of a list of dictionaries."""
    if not isinstance(value, (list, tuple)):
        raise wrong_type(where, value, "a list of dictionaries")
    return tuple(parse_budget(entry, f"{where}[{number}]") for number, entry in enumerate(value))


def parse_budget(value: Any, at: str) -> BudgetSettings:
    """Return one budget."""
    entry = as_mapping(value, at)
    only_keys(entry, _KEYS, at)
    for name, valid in (("scope", SCOPES), ("period", PERIODS)):
        if entry.get(name) not in valid:
            raise ConfigurationError(
                f"{at}[{name!r}] is missing or unknown.", hint=suggest(str(entry.get(name)), valid)
            )
    key = entry.get("key", "")
    if not isinstance(key, str):
        raise wrong_type(f"{at}['key']", key, "text")
    if key and entry["scope"] == "global":
        raise ConfigurationError(f"{at} is global and has a key.", hint="Leave one of them out.")
    enforce = entry.get("enforce", True)
    if not isinstance(enforce, bool):
        raise wrong_type(f"{at}['enforce']", enforce, "True or False")
    limit, unit = _limit(entry, at)
    return BudgetSettings(
        scope=entry["scope"],
        key=key,
        period=entry["period"],
        limit=limit,
        unit=unit,
        enforce=enforce,
        alert_percent=as_percents(entry.get("alert_percent", [75, 90]), f"{at}['alert_percent']"),
        time_zone=_time_zone(entry.get("time_zone", ""), f"{at}['time_zone']"),
    )


def _limit(entry: dict[str, Any], at: str) -> tuple[Decimal, Unit]:
    found: list[tuple[Decimal, Unit]] = []
    for name, unit in _LIMITS.items():
        given = entry.get(name)
        if given is None and name in ("limit_tokens", "limit_requests"):
            continue
        if name not in entry:
            continue  # a dollar limit of None is a mistake, and as_money says so
        if unit == "usd":
            found.append((as_money(given, f"{at}[{name!r}]"), unit))
            continue
        if isinstance(given, bool) or not isinstance(given, int):
            raise wrong_type(f"{at}[{name!r}]", given, "a whole number from 0 up")
        if not 0 <= given < 2**63:
            raise ConfigurationError(f"{at}[{name!r}] is {given}.", hint="Give 0 or more.")
        found.append((Decimal(given), unit))
    if len(found) != 1:
        raise ConfigurationError(
            f"{at} has {len(found)} limits.", hint=f"Give one of {', '.join(_LIMITS)}."
        )
    return found[0]


def as_percents(value: Any, where: str) -> tuple[int, ...]:
    """Return shares of a limit, ascending."""
    if not isinstance(value, (list, tuple)):
        raise wrong_type(where, value, "a list of whole numbers from 1 to 100")
    for each in value:
        if isinstance(each, bool) or not isinstance(each, int) or not 1 <= each <= 100:
            raise ConfigurationError(
                f"{where} holds something else than whole numbers from 1 to 100.",
                hint="Give a list such as [75, 90].",
            )
    return tuple(sorted(set(value)))


def _time_zone(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise wrong_type(where, value, 'the name of a time zone such as "Asia/Manila"')
    if value:
        try:
            zoneinfo.ZoneInfo(value)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError):
            raise ConfigurationError(
                f"{where} is no time zone.",
                hint='Give a name such as "Asia/Manila".',
            ) from None
    return value


def parse_money(value: Any, where: str) -> MoneySettings:
    """Return the settings of ``OBC_AI["MONEY"]``."""
    entry = as_mapping(value, where)
    names = ("stand_in", "stand_in_percent", "min_output_tokens", "alert_emails")
    only_keys(entry, names, where)
    stand_in, percent = entry.get("stand_in"), entry.get("stand_in_percent", 20)
    if stand_in is not None:
        as_text(stand_in, f"{where}['stand_in']")
    if stand_in == "default":
        raise ConfigurationError(
            f"{where}['stand_in'] is 'default'.", hint="Name another alias of COST_STORES."
        )
    wanted = "a whole number from 1 to 99"
    if as_positive(percent, f"{where}['stand_in_percent']", int, wanted) > 99:
        raise ConfigurationError(f"{where}['stand_in_percent'] is above 99.", hint=f"Give {wanted}")
    floor = entry.get("min_output_tokens")
    if floor is not None:
        as_positive(floor, f"{where}['min_output_tokens']", int, "a whole number above 0")
    emails = entry.get("alert_emails", [])
    if not isinstance(emails, (list, tuple)):
        raise wrong_type(f"{where}['alert_emails']", emails, "a list of addresses")
    return MoneySettings(
        stand_in=stand_in,
        stand_in_percent=percent,
        min_output_tokens=floor,
        alert_emails=tuple(
            as_text(each, f"{where}['alert_emails'][{number}]")
            for number, each in enumerate(emails)
        ),
    )
