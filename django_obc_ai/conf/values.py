"""Values of settings: what they must be, and errors that name the nearest valid one."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from django_obc_ai.exceptions import ConfigurationError

_MOST_USD = 9_000_000_000  # what 64-bit integers of nano-dollars hold


def suggest(name: str, valid: Any) -> str:
    """Return a hint that names the nearest valid name, or all of them."""
    from difflib import get_close_matches  # wanted when something is wrong only

    names = sorted(str(each) for each in valid)
    near = get_close_matches(str(name), names, n=1, cutoff=0.6) or get_close_matches(
        str(name).upper(), names, n=1, cutoff=0.6
    )
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Valid names: {', '.join(names)}." if names else "No names are valid here."


def wrong_type(where: str, value: Any, wanted: str) -> ConfigurationError:
    """Return the error for a value of the wrong type; it does not show the value."""
    # The value itself stays out of the message: it may be a secret in the wrong place.
    return ConfigurationError(
        f"{where} is of type {type(value).__name__}, not {wanted}.",
        hint=f"Give {wanted}.",
    )


def as_mapping(value: Any, where: str) -> dict[str, Any]:
    """Return a dictionary with texts as keys."""
    if not isinstance(value, Mapping):
        raise wrong_type(where, value, "a dictionary")
    for key in value:
        if not isinstance(key, str):
            raise wrong_type(f"{where}: the key {key!r}", key, "a string")
    return dict(value)


def only_keys(value: Mapping[str, Any], valid: Any, where: str, check_id: str = "E001") -> None:
    """Refuse keys that are not valid."""
    for key in value:
        if key not in valid:
            raise ConfigurationError(
                f"{where} has the unknown key {key!r}.", hint=suggest(key, valid), check_id=check_id
            )


def as_text(value: Any, where: str) -> str:
    """Return a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise wrong_type(where, value, "a non-empty string")
    return value


def as_function(value: Any, where: str) -> Any:
    """Return a function, the dotted path of one, or None."""
    # Any: what is called by whom, and with what, the settings cannot tell.
    if value is None or callable(value):
        return value
    if not isinstance(value, str) or not value:
        raise wrong_type(where, value, "the dotted path of a function, or None")
    return value


def as_positive(value: Any, where: str, kind: type[int] | tuple[type, ...], wanted: str) -> Any:
    """Return a number above 0."""
    if isinstance(value, bool) or not isinstance(value, kind):
        raise wrong_type(where, value, wanted)
    if not value > 0:  # type: ignore[operator]  # int and float compare with 0
        raise ConfigurationError(f"{where} is {value}.", hint=f"Give {wanted}.")
    return value


def as_money(value: Any, where: str) -> Decimal:
    """Return an exact amount in US dollars."""
    wanted = 'a dollar amount up to 9 billion as a string such as "5.00" (floats are inexact)'
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        raise wrong_type(where, value, wanted)
    try:
        amount = Decimal(value)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount <= _MOST_USD:
        raise ConfigurationError(f"{where} is not a dollar amount.", hint=f"Give {wanted}.")
    return amount
