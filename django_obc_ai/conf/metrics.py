"""``OBC_AI["METRICS"]``: who may read the metrics."""

from __future__ import annotations

from typing import Any

from django_obc_ai.conf.values import as_mapping, as_text, only_keys
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.types.settings import MetricsSettings

#: A token that can be guessed is none.
LEAST_CHARACTERS = 16


def parse_metrics(value: Any, where: str) -> MetricsSettings:
    """Return the parsed section."""
    entry = as_mapping(value, where)
    only_keys(entry, ("token",), where)
    token = entry.get("token")
    if token is None:
        return MetricsSettings()
    at = f"{where}['token']"
    if len(as_text(token, at)) < LEAST_CHARACTERS or not token.isascii() or " " in token:
        raise ConfigurationError(
            f"{at} has fewer than {LEAST_CHARACTERS} characters, or others than a header holds.",
            hint='Make one: python -c "import secrets; print(secrets.token_urlsafe(32))"',
        )
    return MetricsSettings(token=token)
