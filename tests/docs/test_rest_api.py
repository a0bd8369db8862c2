"""The pages on the REST API: the reference is the schema's, and the how-to works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.docs.execute import Page
from tests.docs.markdown import DOCS, names, section, table_rows
from tests.extras import requires

pytestmark = [requires("rest_framework"), requires("drf_spectacular")]
PAGE = DOCS / "reference" / "rest-api.md"


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    from django_obc_ai.api.openapi import schema_at

    return schema_at("/ai/api/")


@pytest.fixture(scope="module")
def operations(schema: dict[str, Any]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    return {
        operation["operationId"]: (method.upper(), path.removeprefix("/"), operation)
        for path, item in schema["paths"].items()
        for method, operation in item.items()
    }


def test_the_how_to_does_what_it_says(project: Path) -> None:
    page = DOCS / "howto" / "use-the-rest-api.md"
    assert Page(page, project, settings="mysite.settings").follow() >= 12


def test_every_operation_is_listed_with_its_address_and_status(operations: Any) -> None:
    documented = {}
    for method, address, operation, answers, _ in table_rows(section(PAGE, "Addresses")):
        documented[names(operation)[0]] = (names(method)[0], names(address)[0], names(answers)[0])
    actual = {
        name: (method, path, min(operation["responses"]))
        for name, (method, path, operation) in operations.items()
    }
    assert documented == actual


def test_every_field_of_a_request_is_listed(operations: Any, schema: Any) -> None:
    documented = {
        (names(operation)[0], where): set(names(fields))
        for operation, where, fields in table_rows(section(PAGE, "Requests"))
    }
    actual = {}
    for name, (_, _, operation) in operations.items():
        asked = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"}
        if asked:
            actual[name, "address"] = asked
        if "requestBody" in operation:
            ref = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            component = schema["components"]["schemas"][ref.rpartition("/")[2]]
            actual[name, "body"] = set(component["properties"])
    assert documented == actual


def test_every_event_of_a_stream_is_listed(schema: Any) -> None:
    events = schema["components"]["schemas"]["StreamEvent"]["properties"]["event"]["enum"]
    assert [names(row[0])[0] for row in table_rows(section(PAGE, "Streams"))] == list(events)


def test_every_status_of_an_error_is_listed(operations: Any) -> None:
    documented = {names(row[0])[0] for row in table_rows(section(PAGE, "Errors"))}
    described = {
        status
        for _, _, operation in operations.values()
        for status in operation["responses"]
        if status >= "400"
    }
    assert documented == described | {"405", "500"}  # of no operation, and hopefully never


def test_its_figures_are_those_of_the_code() -> None:
    from django_obc_ai.api import answers, base, conversations, health, jobs, pages, usage

    text = " ".join(PAGE.read_text().split())
    for figure in (
        f"`page_size` is {pages._USUAL}, and {pages._MOST} at most",
        f"and {base._DEEPEST} levels at most",
        f"last {conversations._MOST_MESSAGES} messages",
        f"`k` is {answers.SearchQuery().fields['k'].default}, and {answers._MOST_FOUND} at most",
        f"{answers._QUERY_LENGTH:,} characters at most",
        f"{jobs._MONTH // 86_400} days at most",
        f"last {usage._USUAL_DAYS} days",
        f"{usage._MOST_DAYS} days at most",
        f"once in {health._KEPT_SECONDS:g} seconds",
    ):
        assert figure in text, figure
