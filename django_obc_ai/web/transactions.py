"""Views that no transaction is open around, whatever ``ATOMIC_REQUESTS`` says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.db import transaction

ViewT = TypeVar("ViewT", bound=Callable[..., Any])


class _EveryDatabase(set[str]):
    """What Django asks for each alias of DATABASES, whenever a request comes."""

    def __contains__(self, alias: object) -> bool:
        return True


def never_atomic(view: ViewT) -> ViewT:
    """Keep all databases of a project out of transactions: a view may wait for a provider.

    Django's decorator is for one alias, and a list of them would be as old as the view.
    """
    view = transaction.non_atomic_requests(view)
    view._non_atomic_requests = _EveryDatabase()  # type: ignore[attr-defined]
    return view
