"""Making check messages in one form."""

from __future__ import annotations

from django.core.checks import CheckMessage, Error, Warning

from django_obc_ai.exceptions import ConfigurationError

DOCS = "https://django-obc-ai.readthedocs.io/en/latest/reference/checks.html"
DEPLOYMENT_DOCS = DOCS.replace("/checks.html", "/deployment-checks.html")


def error(number: str, message: str, hint: str) -> CheckMessage:
    """Return an error, for example number "E001"."""
    return Error(message, hint=_with_anchor(number, hint), id=f"django_obc_ai.{number}")


def warning(number: str, message: str, hint: str) -> CheckMessage:
    """Return a warning, for example number "W001"."""
    return Warning(message, hint=_with_anchor(number, hint), id=f"django_obc_ai.{number}")


def deployment_warning(number: str, message: str, hint: str) -> CheckMessage:
    """Return a warning of a check that runs under ``check --deploy`` alone."""
    told = _with_anchor(number, hint, DEPLOYMENT_DOCS)
    return Warning(message, hint=told, id=f"django_obc_ai.{number}")


def from_exception(exception: ConfigurationError) -> CheckMessage:
    """Return the message for an error that would be raised at use."""
    return error(exception.check_id, exception.message, exception.hint)


def _with_anchor(number: str, hint: str, page: str = DOCS) -> str:
    return f"{hint} See {page}#{number.lower()}"
