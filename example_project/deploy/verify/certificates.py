"""Who signed the site's certificate, as a browser sees it that trusts what the system does."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from typing import Any

from deploy.verify.checks import Skipped
from deploy.verify.site import SECONDS, Address


def shake(address: Address, tls: ssl.SSLContext) -> dict[str, Any]:
    """Shake hands, and return what the certificate says, if it was looked at."""
    with (
        socket.create_connection((address.connect, address.port), timeout=SECONDS) as plain,
        tls.wrap_socket(plain, server_hostname=address.host) as secure,
    ):
        return dict(secure.getpeercert() or {})


def public_issuer(address: Address, facts: Mapping[str, Any], where: str) -> str:
    """Return who signed it, if the system's own store accepts it.

    What is installed in tls/ is trusted by no browser for that, and so not here.

    Args:
        address: Where the site is.
        facts: What the certificate says.
        where: The file to replace it in.

    Raises:
        Skipped: The system does not know who signed it; the message says who that is.
    """
    issuer = _name(facts.get("issuer", ()))
    trusting = ssl.create_default_context()
    trusting.verify_flags &= ~ssl.VERIFY_X509_PARTIAL_CHAIN  # as in Address.context
    try:
        shake(address, trusting)
    except ssl.SSLCertVerificationError as error:
        if facts.get("subject") == facts.get("issuer"):
            why = "it is a throwaway one, signed by its own key: browsers warn of it"
        else:
            why = (
                f"it is signed by {issuer}, whom this system does not know"
                f" ({error.verify_message.rstrip('.')}): so do browsers that were not told of it"
            )
        raise Skipped(f"{why}. Put a public one to {where} before people come.") from None
    return f"issued by {issuer}, whom this system trusts"


def _name(parts: Any) -> str:
    found = {key: value for part in parts for key, value in part}
    return str(found.get("organizationName") or found.get("commonName") or "nobody named")
