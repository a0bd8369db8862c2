"""Skipping the tests of packages that are not installed, as in the minimal environment."""

from __future__ import annotations

import importlib.util

import pytest


def is_installed(module: str) -> bool:
    """Is there such a module? Nothing but the packages around it is imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False


def requires(module: str) -> pytest.MarkDecorator:
    """A mark that skips tests where a module is missing: ``pytestmark = requires("openai")``."""
    return pytest.mark.skipif(not is_installed(module), reason=f"{module} is not installed")
