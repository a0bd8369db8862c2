"""Answers in the background: what is handed over is answered, and anybody may ask for it."""

from __future__ import annotations

import pytest

from django_obc_ai.services.text import GeminiService
from django_obc_ai.testing import override_ai

pytestmark = pytest.mark.django_db


def test_a_job_is_answered_at_once_without_a_broker() -> None:
    with override_ai(["forty-two"]) as kit:
        job = GeminiService().submit("What is it?")
        assert job.status == "succeeded"
        assert job.result is not None and job.result.text == "forty-two"
        again = GeminiService().job(job.id)
        assert again.result == job.result
        assert len(kit.provider.requests) == 1
