"""System checks of ``OBC_AI`` and of the indexes; ids are stable and documented.

Each message carries a hint and a link to its paragraph in ``reference/checks.md``.
"""

from __future__ import annotations

from django.core import checks

from django_obc_ai.checks.backends import check_backends
from django_obc_ai.checks.deployment import check_deployment
from django_obc_ai.checks.indexes import check_index_embedders, check_indexes
from django_obc_ai.checks.settings import check_key_in_source, check_settings

TAG = "obc_ai"


def register_all() -> None:
    """Register the checks with Django."""
    for check in (check_settings, check_key_in_source, check_backends, check_indexes):
        checks.register(check, TAG)
    checks.register(check_deployment, TAG, deploy=True)
    checks.register(check_index_embedders, checks.Tags.database)
