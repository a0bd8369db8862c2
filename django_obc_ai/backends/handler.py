"""Process-wide, lazy, locked access to the configured backends.

Django's own ``BaseConnectionHandler`` builds one instance per thread and per async
task; a vector index would be loaded eight times by eight threads. Here each alias has
one instance per process.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar, cast

from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from django_obc_ai.backends.base import BaseBackend
from django_obc_ai.conf import get_settings, suggest
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.types import BackendSpec

BackendT = TypeVar("BackendT", bound=BaseBackend)


class BackendHandler(Generic[BackendT]):
    """The backends of one family, by alias: ``providers["default"]``."""

    def __init__(self, key: str, base_path: str) -> None:
        """Name the settings key and the dotted path of the family's base class."""
        self.key = key
        self._base_path = base_path
        self._instances: dict[str, BackendT] = {}
        self._lock = threading.RLock()
        setting_changed.connect(self._on_setting_changed, weak=False)

    def __getitem__(self, alias: str) -> BackendT:
        """Return the backend of an alias, building it at first use.

        Raises:
            ConfigurationError: The alias, its class or its options are wrong.
            MissingDependencyError: Its optional package is not installed.
        """
        found = self._instances.get(alias)
        if found is not None:
            return found
        with self._lock:
            found = self._instances.get(alias)
            if found is None:
                found = self._instances[alias] = self._build(alias)
            return found

    def __iter__(self) -> Iterator[str]:
        """Iterate over the configured aliases."""
        return iter(get_settings().backends(self.key))

    def where(self, alias: str) -> str:
        """Return the place of an alias in settings, for messages."""
        return f"OBC_AI[{self.key!r}][{alias!r}]"

    def spec(self, alias: str) -> BackendSpec:
        """Return the configured class path and options of an alias."""
        specs = get_settings().backends(self.key)
        try:
            return specs[alias]
        except KeyError:
            raise ConfigurationError(
                f"OBC_AI[{self.key!r}] has no entry {alias!r}.", hint=suggest(alias, specs)
            ) from None

    def backend_class(self, alias: str) -> type[BackendT]:
        """Import and return the class of an alias without building it."""
        path = self.spec(alias).path
        where = self.where(alias)
        try:
            found = import_string(path)
        except ImportError as error:
            raise ConfigurationError(
                f"{where}['BACKEND'] cannot be imported: {error}.",
                hint=f"Check the dotted path {path!r}.",
                check_id="E003",
            ) from error
        base = import_string(self._base_path)
        if not (isinstance(found, type) and issubclass(found, base)):
            raise ConfigurationError(
                f"{where}['BACKEND'] {path!r} is not a subclass of {self._base_path}.",
                hint=f"Derive the class from {base.__name__}.",
                check_id="E003",
            )
        # import_string returns object; the subclass test above is what types it.
        return cast("type[BackendT]", found)

    def check_options(self, alias: str, backend_class: type[BackendT]) -> None:
        """Compare the options of an alias with the constructor of its class.

        Raises:
            ConfigurationError: An option is unknown, or a required one is missing.
        """
        options = self.spec(alias).options
        where = f"{self.where(alias)}['OPTIONS']"
        # inspect reads the class's own constructor, which subclasses are free to change.
        parameters = inspect.signature(backend_class).parameters.values()
        open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
        named = [p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
        names = [p.name for p in named]
        for option in options:
            if option not in names and not open_ended:
                raise ConfigurationError(
                    f"{where} has the unknown option {option!r}.",
                    hint=suggest(option, names),
                    check_id="E004",
                )
        for parameter in named:
            if parameter.default is parameter.empty and parameter.name not in options:
                raise ConfigurationError(
                    f"{where} lacks the option {parameter.name!r}.",
                    hint=f"{backend_class.__name__} cannot work without it.",
                    check_id="E004",
                )

    def _build(self, alias: str) -> BackendT:
        backend_class = self.backend_class(alias)
        self.check_options(alias, backend_class)
        if not backend_class.is_installed():
            raise backend_class.missing_dependency()
        options: dict[str, Any] = dict(self.spec(alias).options)
        try:
            return backend_class(**options)
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it may hold an option
            raise ConfigurationError(
                f"{self.where(alias)}['OPTIONS'] is refused by {backend_class.__name__}:"
                f" {_redact(str(error), options)}.",
                hint="Correct the option that the message names.",
                check_id="E004",
            ) from None  # a traceback would show the message as it was written

    def reset(self) -> None:
        """Close and forget all instances; the next use builds them anew."""
        with self._lock:
            instances, self._instances = self._instances, {}
        for instance in instances.values():
            instance.close()

    def _on_setting_changed(self, *, setting: str, **_: Any) -> None:
        if setting in ("OBC_AI", "BASE_DIR"):  # the second is where files are by default
            self.reset()


def _redact(message: str, options: dict[str, Any]) -> str:
    """Take option values out of a message that a constructor wrote: one may be a key."""
    for text in sorted(_texts(options), key=len, reverse=True):
        for written in (text, repr(text)[1:-1]):
            message = message.replace(written, "…")
    return message


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a value, however deep; names of options are none."""
    if isinstance(value, str):
        yield from [value] if value else []
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for each in value:
            yield from _texts(each)
