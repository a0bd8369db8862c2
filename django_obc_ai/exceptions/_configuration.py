"""Errors of settings and installation."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured


class ConfigurationError(ImproperlyConfigured):
    """``OBC_AI`` holds something wrong; the message names the place and the way out.

    Attributes:
        check_id: The system check that reports the same fault, for example "E001".
        hint: What to do about it.
    """

    code = "configuration"

    def __init__(self, message: str, *, hint: str = "", check_id: str = "E002") -> None:
        """Keep message and hint apart, so that system checks can show both."""
        super().__init__(message, hint, check_id)
        self.message = message
        self.hint = hint
        self.check_id = check_id

    def __str__(self) -> str:
        """Return message and hint as one text."""
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by value."""
        return (_rebuild_configuration, (type(self), self.message, self.hint, self.check_id))


def _rebuild_configuration(
    cls: type[ConfigurationError], message: str, hint: str, check_id: str
) -> ConfigurationError:
    return cls(message, hint=hint, check_id=check_id)


class MissingDependencyError(ConfigurationError):
    """An optional package is not installed; the message holds the pip command."""
