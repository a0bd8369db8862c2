"""From where somebody tries to log in, and how often.

django-axes locks a name at an address; who tries many names there fails each of them once.
So failures are also counted by the address alone, with the figures of ``OBC_AI["WEB"]``.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from django.contrib.auth.signals import user_login_failed
from django.core.exceptions import PermissionDenied

from django_obc_ai.web.throttles import address_of, count_failed_login, seconds_to_log_in


def login_address(request: Any) -> str | None:
    """Return the address that django-axes counts by.

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


class AddressGuard:
    """An authentication backend that knows nobody, and turns away addresses that failed often."""

    def authenticate(self, request: Any, **_: Any) -> None:
        """Let the next backend decide.

        Raises:
            PermissionDenied: The address has to wait; no other backend is asked.
        """
        if request is not None and seconds_to_log_in(request):
            request.axes_locked_out = True  # its middleware answers as for a locked name: 429
            raise PermissionDenied("This address failed to log in too often.")


def _count(request: Any = None, **_: Any) -> None:
    if request is not None and not getattr(request, "axes_locked_out", False):
        count_failed_login(request)


user_login_failed.connect(_count, dispatch_uid="deploy.logins")
