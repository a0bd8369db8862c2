"""The schema: every method and every answer, wherever the API lies."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.test import override_settings

from django_obc_ai.testing import override_ai
from tests.api.conftest import FREE, TOKENS, Person
from tests.extras import requires

pytestmark = [pytest.mark.django_db, requires("rest_framework")]
METHODS = ("get", "post", "put", "patch", "delete")


def operations(schema: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method, path): operation
        for path, item in schema["paths"].items()
        for method, operation in item.items()
    }


@pytest.fixture
def schema(nobody: Person) -> Any:
    response = nobody.get("schema/")
    assert response.status_code == 200
    return response.json()


def test_it_lies_below_the_address_of_the_api(schema: Any) -> None:
    assert schema["servers"] == [{"url": "/ai/api"}]
    assert schema["openapi"].startswith("3.1")


def test_every_method_of_every_view_is_in_it(schema: Any) -> None:
    from django_obc_ai.api.urls import urlpatterns

    wanted = {
        (method, "/" + str(each.pattern).replace("<str:key>", "{key}"))
        for each in urlpatterns
        for method in METHODS
        if hasattr(each.callback.cls, method)
    }
    assert set(operations(schema)) == wanted


def test_every_error_is_problem_details(schema: Any) -> None:
    for where, operation in operations(schema).items():
        assert operation["description"], where
        for status, response in operation["responses"].items():
            if status >= "400":
                assert list(response["content"]) == ["application/problem+json"], where
        assert ("requestBody" in operation) == ({"413", "415"} <= set(operation["responses"])) or (
            where[1].endswith("cancel/")
        )


def test_names_of_operations_are_unique(schema: Any) -> None:
    names = [each["operationId"] for each in operations(schema).values()]
    assert len(names) == len(set(names))


def test_unknown_fields_of_requests_are_excluded(schema: Any) -> None:
    schemas = schema["components"]["schemas"]
    for name in ("Question", "SearchQuery", "Submission"):
        assert schemas[name]["additionalProperties"] is False
    assert "additionalProperties" not in schemas["Answer"]


def test_it_says_who_has_to_log_in_and_how(nobody: Person, schema: Any) -> None:
    chat = ("post", "/chat/")
    assert {} not in operations(schema)[chat]["security"]
    with override_ai(WEB={"anonymous_scope": "public", "throttles": FREE}):
        with override_settings(REST_FRAMEWORK=TOKENS):
            changed = nobody.get("schema/").json()
    assert {} in operations(changed)[chat]["security"]
    assert {} not in operations(changed)["get", "/jobs/"]["security"]
    assert {"cookieAuth": []} in operations(changed)["get", "/jobs/"]["security"]


def test_a_schema_that_the_project_makes_meanwhile_has_its_own_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ours is made while that begins, and ends while that goes on."""
    from drf_spectacular.settings import patched_settings, spectacular_settings

    from django_obc_ai.api import schema, urls

    is_made, go_on = threading.Event(), threading.Event()
    titles: list[str] = []
    generate = schema.SchemaGenerator.get_schema

    def slowly(*args: Any, **arguments: Any) -> Any:
        is_made.set()
        assert go_on.wait(10)
        return generate(*args, **arguments)

    def make() -> None:
        made = schema.make_schema(list(urls.urlpatterns), server="/ours/")
        titles.append(made["info"]["title"])

    monkeypatch.setattr(schema.SchemaGenerator, "get_schema", slowly)
    before = spectacular_settings.TITLE
    ours = threading.Thread(target=make)
    ours.start()
    assert is_made.wait(10)
    assert before == spectacular_settings.TITLE
    with patched_settings({"TITLE": "Theirs", "SCHEMA_PATH_PREFIX": "/x"}):
        go_on.set()
        ours.join()
        assert spectacular_settings.TITLE == "Theirs"
    assert titles == ["django-obc-ai"]
    assert (before, "0.0.0") == (spectacular_settings.TITLE, spectacular_settings.VERSION)


@override_settings(SPECTACULAR_SETTINGS={"TITLE": "Ours", "SCHEMA_PATH_PREFIX": "/x"})
def test_what_the_project_sets_for_its_own_schema_changes_nothing(
    nobody: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django_obc_ai.api import openapi

    monkeypatch.setattr(openapi, "_made", {})
    assert nobody.get("schema/").json()["info"]["title"] == "django-obc-ai"
