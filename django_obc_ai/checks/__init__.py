"""System checks of ``OBC_AI``, of indexes, chat and tasks; ids are stable and documented.

Each message carries a hint and a link to its paragraph in ``reference/checks.md``, or in
``reference/deployment-checks.md`` if it comes under ``check --deploy`` alone. The modules are
imported when checks run, which a web worker never does.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage

TAG = "obc_ai"
_Check = Callable[..., list[CheckMessage]]


def _deferred(module: str, name: str) -> _Check:
    def check(**options: Any) -> list[CheckMessage]:
        run: _Check = getattr(import_module(f"django_obc_ai.checks.{module}"), name)
        return run(**options)

    return check


def register_all() -> None:
    """Register the checks with Django."""
    for module, name in (
        ("settings", "check_settings"),
        ("settings", "check_key_in_source"),
        ("backends", "check_backends"),
        ("indexes", "check_indexes"),
        ("vector_databases", "check_vector_databases"),
        ("chat", "check_chat"),
        ("tasks", "check_task_runners"),
        ("web", "check_web"),
    ):
        checks.register(_deferred(module, name), TAG)
    checks.register(_deferred("deployment", "check_deployment"), TAG, deploy=True)
    checks.register(_deferred("served", "check_served"), TAG, deploy=True)
    checks.register(_deferred("indexes", "check_index_embedders"), checks.Tags.database)
    extensions = _deferred("vector_databases", "check_vector_extensions")
    checks.register(extensions, checks.Tags.database)
