"""What is refused for who asks is counted, too: nobody guesses passwords without end."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client, override_settings

from django_obc_ai.testing import override_ai
from tests.api.conftest import TOKENS, Person, is_problem
from tests.extras import requires

pytestmark = [pytest.mark.django_db, requires("rest_framework")]
BASIC = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.BasicAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ]
}


def two_a_minute() -> Any:
    none = {"anon": None, "user": None}
    return override_ai(WEB={"throttles": {**none, "burst": "2/minute"}})


def by_password(password: str, **more: Any) -> Client:
    given = base64.b64encode(f"amina:{password}".encode()).decode()
    return Client(headers={"authorization": f"Basic {given}"}, **more)


@pytest.mark.parametrize("path", ["usage/", "health/", "schema/"])
@override_settings(REST_FRAMEWORK=BASIC)
def test_after_wrong_passwords_the_right_one_is_not_told_either(path: str, omar: Person) -> None:
    get_user_model().objects.create_user("amina", password="right")
    address = f"/ai/api/{path}"
    with two_a_minute():
        assert by_password("right").get(address).status_code == 200
        for guess in ("a", "b"):
            is_problem(by_password(guess).get(address), 401, "authentication_failed")
        for guess in ("c", "right"):
            response = by_password(guess).get(address)
            is_problem(response, 429, "throttled")
            assert int(response["Retry-After"]) > 0
        assert by_password("right", REMOTE_ADDR="192.0.2.9").get(address).status_code == 200
        assert omar.get(path).status_code == 200  # a session is no guess


@override_settings(REST_FRAMEWORK=TOKENS)
def test_wrong_tokens_are_counted_too(amina: Person) -> None:
    with two_a_minute():
        for name in ("a", "b"):
            is_problem(Person(authorization=f"Token {name}").get("jobs/"), 401)
        is_problem(Person(authorization="Token c").get("jobs/"), 429)
        is_problem(Person(authorization="Token amina").get("jobs/"), 429)


def test_who_does_not_log_in_is_told_to_wait_in_the_end(nobody: Person) -> None:
    with two_a_minute():
        for _ in range(2):
            is_problem(nobody.get("conversations/"), 403, "not_authenticated")
        is_problem(nobody.get("conversations/"), 429, "throttled")
        assert nobody.get("health/").status_code == 200


def test_what_somebody_may_not_do_counts_for_them(amina: Person, omar: Person) -> None:
    with two_a_minute():
        for _ in range(2):
            is_problem(amina.post("jobs/", {"prompt": "Hm?"}), 403, "permission_denied")
        is_problem(amina.post("jobs/", {"prompt": "Hm?"}), 429, "throttled")
        is_problem(omar.post("jobs/", {"prompt": "Hm?"}), 403)


def test_a_missing_csrf_token_counts(amina: Person) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(amina.user)
    with two_a_minute():
        for status in (403, 403, 429):
            is_problem(client.post("/ai/api/chat/"), status)


@override_settings(REST_FRAMEWORK={**TOKENS, "UNAUTHENTICATED_USER": None})
def test_it_is_counted_too_where_nobody_is_none(nobody: Person) -> None:
    with two_a_minute():
        for status in (401, 401, 429):
            is_problem(nobody.get("jobs/"), status)
