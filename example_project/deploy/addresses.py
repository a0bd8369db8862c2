"""From where somebody tries to log in."""

from __future__ import annotations

import ipaddress
from typing import Any

from django_obc_ai.web.throttles import address_of


def login_address(request: Any) -> str | None:
    """Return the address that failed logins are counted by.

    It is read as the throttles read it: ``OBC_AI["WEB"]["trusted_proxies"]`` says how many proxies
    add to ``X-Forwarded-For``. An IPv6 address counts with its network of 64 bits, all of which one
    customer has.
    """
    try:
        address = ipaddress.ip_address(address_of(request))
    except ValueError:
        return None  # a socket of the host itself, with no proxy before it
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False).network_address)
