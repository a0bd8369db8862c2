"""Rate limits of providers. A stand-in until the gateway keeps them: nothing is limited."""

from __future__ import annotations

from django_obc_ai.types.coordination import Limits


def limits_of(alias: str) -> Limits:
    """Return what is in force for a provider's alias now."""
    return Limits()
