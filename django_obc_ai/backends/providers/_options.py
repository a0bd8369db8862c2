"""Options and arguments that providers of remote services have in common."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

#: Names that no public server has: RFC 6761, 6762, 8375, and ICANN's "internal".
_PRIVATE_ENDINGS = (".localhost", ".local", ".home.arpa", ".internal", ".lan", ".test")

# Any below: values come from settings and callers, and are what is checked.


def is_number(value: Any, kind: type | tuple[type, ...]) -> bool:
    """Return whether a value is a number of this kind; True and False are none."""
    return isinstance(value, kind) and not isinstance(value, bool)


def check_seconds(**seconds: Any) -> None:
    """Raise ValueError for a length of time that is none."""
    for name, value in seconds.items():
        if not is_number(value, (int, float)) or not value > 0:
            raise ValueError(f"{name} must be a number of seconds above 0")


def check_output_tokens(value: Any, error: type[Exception]) -> None:
    """Raise an error for an upper bound that is none."""
    if not is_number(value, int) or value < 1:
        raise error("max_output_tokens must be a whole number of at least 1")


def check_temperature(value: Any, error: type[Exception]) -> None:
    """Raise an error for a temperature out of range; None leaves it to the model."""
    if value is not None and not (is_number(value, (int, float)) and 0 <= value <= 2):
        raise error("temperature must lie between 0 and 2")


def check_url(value: Any) -> None:
    """Raise ValueError for a base_url that is no web address."""
    if not isinstance(value, str) or not value.startswith(("https://", "http://")):
        raise ValueError("base_url must begin with https:// or http://")


def find_public_host(url: str) -> str:
    """Return the host of a URL if it looks like one on the internet, else ""; asks nobody."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        return host if ipaddress.ip_address(host).is_global else ""
    except ValueError:  # a name
        return "" if "." not in host or host.endswith(_PRIVATE_ENDINGS) else host
