"""What all backends share: options, optional packages, self-checks."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType
from typing import ClassVar

from django.core.checks import CheckMessage

from django_obc_ai.exceptions import MissingDependencyError


class BaseBackend:
    """Base class of every backend in every family.

    ``OPTIONS`` in settings are passed to the constructor as keyword arguments; the
    constructor's signature is therefore the list of valid options. One instance per
    alias serves the whole process and is used by many threads at once. The constructor
    must be cheap: no connection, no SDK import, no model loading.
    """

    #: Extra of django-obc-ai that brings the optional package; empty if none is needed.
    extra: ClassVar[str] = ""
    #: Module of the optional package, imported at first use through `import_sdk`.
    sdk_module: ClassVar[str] = ""
    #: Why this backend should be replaced and by what; empty if it should not.
    deprecation: ClassVar[str] = ""

    @classmethod
    def is_installed(cls) -> bool:
        """Return whether the optional package can be found, without importing it."""
        if not cls.sdk_module:
            return True
        try:
            return importlib.util.find_spec(cls.sdk_module) is not None
        except ModuleNotFoundError:  # a parent package is missing
            return False

    @classmethod
    def missing_dependency(cls) -> MissingDependencyError:
        """Return the error that names the pip command for the missing package."""
        command = (
            f'python -m pip install "django-obc-ai[{cls.extra}]"'
            if cls.extra
            else f"python -m pip install {cls.sdk_module.partition('.')[0]}"
        )
        return MissingDependencyError(
            f"{cls.__name__} needs the package {cls.sdk_module!r}, which is not installed.",
            hint=f"Run: {command}",
            check_id="E005",
        )

    @classmethod
    def import_sdk(cls, module: str = "") -> ModuleType:
        """Import the optional package, or one of its modules, at first use.

        Raises:
            MissingDependencyError: It is not installed; the message holds the command.
        """
        try:
            return importlib.import_module(module or cls.sdk_module)
        except ModuleNotFoundError as error:
            raise cls.missing_dependency() from error

    @classmethod
    def sdk_version(cls) -> str:
        """Return name and version of the optional package, "" if there is none."""
        if not cls.sdk_module:
            return ""
        import importlib.metadata as metadata  # slow to import, and wanted for reports only

        top = cls.sdk_module.partition(".")[0]
        found = metadata.packages_distributions().get(top, [])
        # Many share a namespace such as "google"; extras are named after what they bring.
        names = [cls.extra] if cls.extra in found else found
        return f"{names[0]} {metadata.version(names[0])}" if names else ""

    def check(self, setting: str) -> list[CheckMessage]:
        """Return system check messages about this configured backend.

        Args:
            setting: Where it is configured, for example ``OBC_AI['PROVIDERS']['default']``.

        Raises:
            ConfigurationError: Reported as one message, with its hint.
        """
        return []

    def close(self) -> None:
        """Release what the backend holds; called when settings change."""
