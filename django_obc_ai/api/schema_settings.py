"""Settings of drf-spectacular that are in force for one schema, and for nobody else meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from drf_spectacular.settings import (
    IMPORT_STRINGS,
    SPECTACULAR_DEFAULTS,
    SpectacularSettings,
    spectacular_settings,
)
from rest_framework.settings import perform_import

#: Those of views, which are read when a module is imported; and one that is kept in a cache of
#: the whole process, and whose values mean the same.
_LEFT = ("DEFAULT_GENERATOR_CLASS", "GENERIC_ADDITIONAL_PROPERTIES")
_own: ContextVar[Mapping[str, Any] | None] = ContextVar("django_obc_ai_schema", default=None)


class _ByContext(SpectacularSettings):
    """The project's settings, but where others are in force in this thread or task."""

    def __getattribute__(self, name: str) -> Any:
        own = _own.get()
        if own is not None and name in own:
            return own[name]
        return super().__getattribute__(name)


@contextmanager
def own_settings(changed: Mapping[str, Any]) -> Iterator[None]:
    """Put the defaults in force, and some others, for what is done within.

    The package's own way changes its one object: a schema that the project makes in another
    thread would have our title, and where it changes settings, too, for good.

    Args:
        changed: What is not as usual.
    """
    # Its modules hold this object each, so it cannot be replaced. Its values stay as they are.
    if not isinstance(spectacular_settings, _ByContext):
        spectacular_settings.__class__ = _ByContext
    usual = {
        name: value
        for name, value in SPECTACULAR_DEFAULTS.items()
        if not name.startswith("SERVE_") and name not in _LEFT
    }
    found = {
        name: perform_import(value, name) if name in IMPORT_STRINGS else value
        for name, value in {**usual, **changed}.items()
    }
    token = _own.set(found)
    try:
        yield
    finally:
        _own.reset(token)
