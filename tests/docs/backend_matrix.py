"""What the classes of the shipped backends declare, as the tables of docs/reference/backends.md.

``python -m tests.docs.backend_matrix`` prints them, with Django's settings set.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from django_obc_ai import backends
from django_obc_ai.backends.base import BaseBackend
from django_obc_ai.conf import EMBEDDED_BACKENDS

FAMILIES = (*EMBEDDED_BACKENDS, "RERANKERS")


def family_of(key: str) -> ModuleType:
    """Return the package of a family by its key in settings."""
    return importlib.import_module(f"{backends.__name__}.{key.lower()}")


def base_of(key: str) -> type[BaseBackend]:
    """Return the base class of a family."""
    module = importlib.import_module(f"{family_of(key).__name__}.base")
    (found,) = [each for each in vars(module).values() if _is_own(each, module)][:1]
    return found


def _is_own(found: Any, module: ModuleType) -> bool:
    is_class = inspect.isclass(found) and issubclass(found, BaseBackend)
    return is_class and found.__module__ == module.__name__


def shipped(key: str) -> list[type[BaseBackend]]:
    """Return the classes of a family that settings may name, by name."""
    found = []
    for info in pkgutil.iter_modules(family_of(key).__path__):
        if info.name.startswith("_") or info.name == "base":
            continue
        module = importlib.import_module(f"{family_of(key).__name__}.{info.name}")
        found += [
            each
            for each in vars(module).values()
            if _is_own(each, module) and not inspect.isabstract(each) and each.__name__[0] != "_"
        ]
    return sorted(found, key=lambda each: each.__name__)


def flags_of(key: str) -> list[str]:
    """Return the names of what a family declares with yes or no."""
    base = base_of(key)
    return [
        name
        for name, found in vars(base).items()
        if name.startswith(("is_", "supports_", "requires_", "keeps_", "has_"))
        and (isinstance(found, (bool, property)))
    ]


def cell(key: str, backend: type[BaseBackend], flag: str) -> str:
    """Return what a class declares: "yes", "no", or "by its set-up" where an instance decides."""
    found = inspect.getattr_static(backend, flag)
    if isinstance(found, property):
        if found is not vars(base_of(key))[flag]:
            return "by its set-up"
        found = getattr(backend(), flag)
    return "yes" if found else "no"


def table(key: str) -> Iterator[str]:
    """Yield the lines of a family's table."""
    flags = flags_of(key)
    yield "| Backend | " + "".join(f"`{flag}` | " for flag in flags) + "Extra |"
    yield "|---|" + "---|" * (len(flags) + 1)
    for each in shipped(key):
        extra = f"`{each.extra}`" if each.extra else "none"
        yield (
            f"| `{each.__name__}` | "
            + "".join(f"{cell(key, each, f)} | " for f in flags)
            + f"{extra} |"
        )


if __name__ == "__main__":
    for name in FAMILIES:
        print(f"\n## `{name}`\n", *table(name), sep="\n")
