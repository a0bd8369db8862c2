"""Who somebody is to the views, whatever model or class the project has for people."""

from __future__ import annotations

from typing import Any


def is_known(user: Any) -> bool:
    """Return whether somebody logged in whom things can belong to.

    Classes of authentication may let in what is no row, such as the account of a service. It has
    no key, so nothing is its own.
    """
    return bool(getattr(user, "is_authenticated", False)) and getattr(user, "pk", None) is not None


def may(user: Any, permission: str) -> bool:
    """Return whether somebody has a permission; a model without permissions has none."""
    has_perm = getattr(user, "has_perm", None)
    return has_perm is not None and bool(has_perm(permission))
