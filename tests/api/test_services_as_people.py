"""A user model without permissions, and accounts that are no rows of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import override_settings

from django_obc_ai.models import Job
from django_obc_ai.services.chat import ChatService
from tests.api.conftest import Person, is_problem
from tests.extras import requires

pytestmark = [pytest.mark.django_db, requires("rest_framework")]


@pytest.fixture(autouse=True)
def _by_service() -> Iterator[None]:
    classes = ["tests.api.tokens.ServiceToken"]
    with override_settings(REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": classes}):
        yield


@pytest.mark.parametrize("key", ["", "5"])
def test_a_model_without_permissions_may_nothing_that_needs_one(key: str) -> None:
    service = Person(authorization=f"Service {key}")
    assert "items" not in service.get("health/").json()
    is_problem(service.get("usage/?scope=north"), 403, "permission_denied")
    is_problem(service.post("jobs/", {"prompt": "Hm?"}), 403, "permission_denied")
    assert not Job.objects.exists()


def test_who_has_no_key_has_nothing_of_their_own() -> None:
    service = Person(authorization="Service ")
    is_problem(service.get("usage/"), 403, "permission_denied")
    assert service.get("jobs/").json()["count"] == 0
    assert service.get("conversations/").json()["count"] == 0


def test_who_has_no_key_does_not_read_what_was_said_without_a_login() -> None:
    answer = ChatService().send("How many places?", user=None)
    address = f"conversations/{answer.conversation.pk}/"
    service = Person(authorization="Service ")
    is_problem(service.get(address), 404, "invalid_request")
    is_problem(service.delete(address), 404, "invalid_request")
    question = {"message": "And of these?", "conversation": str(answer.conversation.pk)}
    is_problem(service.post("chat/", question), 404, "invalid_request")
    assert answer.conversation.messages.count() == 2
