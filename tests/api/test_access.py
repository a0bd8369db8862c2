"""Who may come in and how; what is refused, and how that is told."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.exceptions import DisallowedHost, RequestDataTooBig
from django.http.multipartparser import MultiPartParserError
from django.test import Client, override_settings

from django_obc_ai.exceptions import (
    BudgetExceededError,
    IndexNotReadyError,
    ProviderPausedError,
    TransientError,
)
from django_obc_ai.models import Conversation
from django_obc_ai.services.chat import ChatService
from django_obc_ai.testing import override_ai
from tests.api.conftest import FREE, JSON, TOKENS, Person, is_problem
from tests.extras import requires

pytestmark = [pytest.mark.django_db, requires("rest_framework")]
QUESTION = {"message": "How many places?"}
STRICT = "django.contrib.auth.middleware.LoginRequiredMiddleware"


@pytest.mark.usefixtures("by_token", "amina")
def test_a_token_lets_in_and_a_wrong_one_does_not() -> None:
    assert Person(authorization="Token amina").get("conversations/").status_code == 200
    refused = Person(authorization="Token nobody").get("conversations/")
    assert is_problem(refused, 401, "authentication_failed")["detail"] == "No such token."
    assert refused["WWW-Authenticate"] == "Token"
    is_problem(Person().get("conversations/"), 401, "not_authenticated")


@pytest.mark.usefixtures("by_token", "amina")
def test_a_token_needs_neither_csrf_nor_a_session() -> None:
    client = Client(enforce_csrf_checks=True, headers={"authorization": "Token amina"})
    client.cookies["sessionid"] = "of somebody who did not log in"
    assert client.post("/ai/api/chat/", QUESTION, content_type=JSON).status_code == 200


@pytest.mark.usefixtures("by_token")
def test_pages_that_require_a_login_let_tokens_in(amina: Person, settings: Any) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, STRICT]
    assert Person(authorization="Token amina").get("jobs/").status_code == 200
    assert Person().get("health/live/").status_code == 200


def test_a_session_needs_a_csrf_token(amina: Person) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(amina.user)
    is_problem(client.post("/ai/api/chat/", QUESTION, content_type=JSON), 403, "permission_denied")
    assert not Conversation.objects.exists()
    client.cookies["csrftoken"] = token = "b" * 32
    headers = {"X-CSRFToken": token}
    found = client.post("/ai/api/chat/", QUESTION, content_type=JSON, headers=headers)
    assert found.status_code == 200


def test_an_inactive_user_is_not_let_in(amina: Person) -> None:
    amina.user.is_active = False
    amina.user.save()
    is_problem(amina.get("conversations/"), 403)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "message"),
        ({"message": "  "}, "message"),
        ({"message": 5}, "message"),
        ({"message": None}, "message"),
        ({"message": "a\0b"}, "message"),
        ({"message": "a" * 4_001}, "message"),
        ({"message": "Hm?", "conversation": 1}, "conversation"),
        ({"message": "Hm?", "conversation": True}, "conversation"),
        ({"message": "Hm?", "conversations": None}, "conversations"),
        ([], "non_field_errors"),
        ("Hm?", "non_field_errors"),
    ],
)
def test_what_does_not_fit_is_told_by_field(amina: Person, body: Any, field: str) -> None:
    response = amina.client.post("/ai/api/chat/", json.dumps(body), content_type=JSON)
    assert list(is_problem(response, 400, "invalid")["errors"]) == [field]
    assert not Conversation.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"message": "\xff"}',
        b'{"message": NaN}',
        b'{"message": "\\ud800"}',
        b"[" * 40_000,
        b'{"message": ' + b"1" * 5_000 + b"}",
    ],
)
def test_what_is_no_json_is_told(amina: Person, body: bytes) -> None:
    response = amina.client.post("/ai/api/chat/", body, content_type=JSON)
    is_problem(response, 400, "parse_error")


def test_other_content_types_and_long_bodies_are_refused(amina: Person) -> None:
    form = amina.client.post("/ai/api/chat/", QUESTION)
    is_problem(form, 415, "unsupported_media_type")
    is_problem(amina.client.post("/ai/api/chat/", "Hm?", content_type="text/plain"), 415)
    with override_ai(WEB={"max_body_bytes": 100, "throttles": FREE}):
        is_problem(amina.post("chat/", {"message": "a" * 100}), 413, "too_long")


def test_other_methods_and_formats_are_refused(amina: Person) -> None:
    response = amina.get("chat/")
    is_problem(response, 405, "method_not_allowed")
    assert "POST" in response["Allow"]
    is_problem(amina.get("jobs/", headers={"accept": "text/html"}), 406, "not_acceptable")
    is_problem(amina.get("jobs/?format=xml"), 400, "invalid")


def test_too_many_requests_are_told_when_to_come_again(amina: Person, omar: Person) -> None:
    with override_ai(WEB={"throttles": {"burst": "2/minute"}}):
        assert [amina.get("jobs/").status_code for _ in range(2)] == [200, 200]
        response = amina.get("usage/")  # they share the count
        is_problem(response, 429, "throttled")
        assert int(response["Retry-After"]) > 0
        assert omar.get("jobs/").status_code == 200
        assert amina.get("health/").status_code == 200


@pytest.mark.parametrize(
    ("error", "code", "has_wait"),
    [
        (BudgetExceededError("global:day spent 4999999999"), "budget_exceeded", False),
        (TransientError("https://inside.example: key sk-1", retry_after_seconds=3), None, True),
        (ProviderPausedError("OBC_AI['PROVIDERS']['default'] is paused"), None, False),
        (IndexNotReadyError("Run manage.py ai_index inside"), None, False),
    ],
)
def test_what_is_away_is_told_without_internals(
    amina: Person, monkeypatch: pytest.MonkeyPatch, error: Any, code: str | None, has_wait: bool
) -> None:
    def fail(*args: Any, **arguments: Any) -> Any:
        raise error

    monkeypatch.setattr("django_obc_ai.api.search.SimilaritySearchService.search_all", fail)
    response = amina.post("search/", {"query": "water"})
    told = is_problem(response, 503, code or error.code)["detail"]
    assert not any(word in told for word in ("global", "inside", "OBC_AI", "manage.py"))
    assert response.has_header("Retry-After") == has_wait


def test_a_fault_of_ours_is_noted_and_tells_nothing(
    amina: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **arguments: Any) -> Any:
        raise RuntimeError("secret inside")

    monkeypatch.setattr("django_obc_ai.api.search.SimilaritySearchService.search_all", fail)
    amina.client.raise_request_exception = False
    response = amina.post("search/", {"query": "water"})
    assert "secret" not in str(is_problem(response, 500, "failed"))


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RequestDataTooBig("inside"), 413, "too_long"),
        (DisallowedHost("inside"), 400, "parse_error"),
        (MultiPartParserError("inside"), 400, "parse_error"),
        (SessionInterrupted("inside"), 400, "parse_error"),
    ],
)
def test_what_django_refuses_is_no_fault_of_ours(
    amina: Person, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, code: str
) -> None:
    def fail(*args: Any, **arguments: Any) -> Any:
        raise error

    monkeypatch.setattr("django_obc_ai.api.search.SimilaritySearchService.search_all", fail)
    told = is_problem(amina.post("search/", {"query": "water"}), status, code)
    assert "inside" not in str(told)


def test_too_many_parameters_are_refused(amina: Person) -> None:
    many = "&".join(f"a{number}=1" for number in range(1_100))
    is_problem(amina.get(f"conversations/?{many}"), 400, "parse_error")


def test_a_host_is_asked_for_only_where_there_is_a_next_page(amina: Person, settings: Any) -> None:
    settings.MIDDLEWARE = [each for each in settings.MIDDLEWARE if "Common" not in each]
    settings.ALLOWED_HOSTS = ["ours.example"]
    strange = {"host": "strange.example"}
    ChatService().send("How many places?", user=amina.user)
    assert amina.get("conversations/?page_size=1", headers=strange).status_code == 200
    ChatService().send("How many places?", user=amina.user)
    is_problem(amina.get("conversations/?page_size=1", headers=strange), 400)


@override_settings(
    REST_FRAMEWORK={
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.StaticHTMLRenderer"],
        "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.FormParser"],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],
        "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.CursorPagination",
        "DEFAULT_VERSIONING_CLASS": "rest_framework.versioning.AcceptHeaderVersioning",
        "DEFAULT_SCHEMA_CLASS": "rest_framework.schemas.openapi.AutoSchema",
        "EXCEPTION_HANDLER": "builtins.print",
        "UNAUTHENTICATED_USER": None,
        "DATETIME_FORMAT": "%Y",
        "DATE_FORMAT": "%Y",
        "NON_FIELD_ERRORS_KEY": "__all__",
        "COERCE_DECIMAL_TO_STRING": False,
        "URL_FORMAT_OVERRIDE": "message",
    }
)
def test_what_the_project_sets_for_its_own_api_changes_nothing(
    amina: Person, nobody: Person
) -> None:
    body = amina.post("chat/", QUESTION).json()
    key = body["conversation"]
    assert amina.get(f"conversations/{key}/").json()["created_at"].endswith("Z")
    assert amina.get("usage/").json()["total"]["cost_usd"] == "0"
    wrong = amina.client.post("/ai/api/chat/", "[]", content_type=JSON)
    assert list(is_problem(wrong, 400)["errors"]) == ["non_field_errors"]
    is_problem(nobody.get("conversations/"), 403)
    with override_ai(WEB={"anonymous_scope": "public", "throttles": FREE}):
        assert nobody.post("chat/", QUESTION).status_code == 200


def test_the_projects_rule_holds_for_the_api(amina: Person) -> None:
    with override_ai(WEB={"may_ask": lambda user: user.is_staff, "throttles": FREE}):
        for refused in (amina.get("conversations/"), amina.post("chat/", QUESTION)):
            is_problem(refused, 403, "permission_denied")
        assert Person().get("health/live/").status_code == 200
        amina.user.is_staff = True
        amina.user.save()
        assert amina.get("conversations/").status_code == 200


def test_authentication_is_what_the_project_sets_at_that_time(amina: Person) -> None:
    with override_settings(REST_FRAMEWORK=TOKENS):
        assert Person(authorization="Token amina").get("jobs/").status_code == 200
    is_problem(Person(authorization="Token amina").get("jobs/"), 403)
    assert get_user_model().objects.count() == 1


@pytest.mark.parametrize("module", ["rest_framework", "drf_spectacular"])
def test_a_missing_package_is_named_with_the_way_to_install_it(module: str) -> None:
    script = f"""
import sys, django
sys.modules[{module!r}] = None
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django_obc_ai"],
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}},
)
django.setup()
from django_obc_ai.exceptions import MissingDependencyError
try:
    import django_obc_ai.api.urls
except MissingDependencyError as error:
    print(error)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert repr(module) in found.stdout, found.stderr
    assert 'pip install "django-obc-ai[drf]"' in found.stdout
