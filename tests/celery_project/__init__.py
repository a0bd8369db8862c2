"""A project laid out as Celery's guide for Django has it, which real workers and beats run.

OBC_AI_TEST_CELERY_PROJECT holds JSON: what `tests.servers.celery_processes` gives them.
"""

from __future__ import annotations

from tests.celery_project.celery import app as celery_app

__all__ = ["celery_app"]
