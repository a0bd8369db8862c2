from __future__ import annotations

from typing import Any

import pytest

from django_obc_ai.backends.providers._json_schema import SchemaError
from django_obc_ai.backends.providers.offline import OfflineProvider
from django_obc_ai.exceptions import InvalidRequestError
from django_obc_ai.types import GenerationRequest, Source
from tests.backends.test_offline_schema import fill, object_of


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, 0),
        ({"anyOf": [{"type": "string", "pattern": "x"}, {"type": "integer"}]}, 0),
        ({"anyOf": [False, True], "type": "integer"}, 0),
        ({"oneOf": [{"type": "integer", "minimum": 5}, {"type": "null"}]}, 5),
        ({"oneOf": [{"minimum": 0}, {"maximum": 0}], "type": "integer"}, 1),
        ({"allOf": [{"minimum": 2}, {"minimum": 7, "maximum": 9}], "type": "integer"}, 7),
        ({"allOf": [{"type": "number"}, {"type": "integer"}, True]}, 0),
        ({"allOf": [{"type": ["integer", "null"]}, {"type": ["number", "string"]}]}, 0),
        ({"title": "a", "allOf": [{"title": "b", "const": 1}]}, 1),
        ({"allOf": [{"enum": [1, 2]}, {"enum": [2, 3]}]}, 2),
        ({"allOf": [{"maxLength": 3}, {"maxLength": 1}], "const": "x"}, "x"),
        (
            {
                "allOf": [
                    {"required": ["a"], "properties": {"a": {"type": "integer"}}},
                    {"required": ["b"], "properties": {"a": {"minimum": 4}, "b": {"const": 1}}},
                ]
            },
            {"a": 4, "b": 1},
        ),
        (
            {
                "minItems": 1,
                "allOf": [{"items": {"type": "integer"}}, {"items": {"minimum": 2}}],
            },
            [2],
        ),
        ({"$ref": "#/$defs/n", "minimum": 3, "$defs": {"n": {"type": "integer"}}}, 3),
        ({"$ref": "#/$defs/a~1b%20c", "$defs": {"a/b c": {"const": 1}}}, 1),
        ({"$ref": "#/prefixItems/1", "prefixItems": [True, {"const": 1}]}, 1),
    ],
)
def test_combinators_and_references_are_followed(schema: Any, value: Any) -> None:
    assert fill(schema, minimal=True) == value
    assert fill(schema) == value


TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "parent": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "next": {"$ref": "#/$defs/node"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["name", "parent", "children"],
        }
    },
}


def test_recursive_schema_ends_at_once() -> None:
    assert fill(TREE) == {"name": "Poblacion, Malabang", "parent": None, "children": []}
    root = {"type": "object", "properties": {"again": {"$ref": "#"}}}
    assert fill(root) == {}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"allOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {
            "type": "object",
            "properties": {name: {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]} for name in "abc"},
            "required": ["a", "b", "c"],
        },
        {"type": "array", "items": {"$ref": "#"}, "minItems": 2},
    ],
)
def test_schema_without_an_end_is_refused_soon(schema: Any) -> None:
    with pytest.raises(SchemaError):
        fill(schema)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (False, "no value is allowed"),
        ({"type": "string", "pattern": "x"}, "'pattern' is not supported"),
        ({"type": "text"}, "'text' is not a JSON type"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "no value was found"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "no value was found"),
        ({"enum": []}, "no value was found"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "no type in common"),
        ({"$ref": "https://example.com/x"}, "must point into the schema itself"),
        ({"$ref": 3}, "must point into the schema itself"),
        ({"$ref": "#/$defs/none"}, "names nothing"),
        ({"$ref": "#/required/7", "required": ["a"]}, "names nothing"),
        ({"type": "integer", "minimum": "a"}, "malformed"),
        ({"type": "integer", "multipleOf": 0}, "malformed"),
        ({"type": 3}, "malformed"),
        ({"properties": []}, "'properties' must be an object"),
        ({"required": "name"}, "'required' must be a list"),
        ({"items": [True], "minItems": 1}, "use 'prefixItems'"),
        ("text", "must be an object or a boolean"),
    ],
)
def test_schema_that_cannot_be_satisfied_is_refused_with_the_place(schema: Any, said: str) -> None:
    with pytest.raises(SchemaError, match=said.replace("$", r"\$")):
        fill(schema)


def test_refusal_of_the_provider_holds_no_text_of_the_request() -> None:
    schema = object_of(["size"], size={"type": "integer", "minimum": 3, "maximum": 2})
    request = GenerationRequest(
        prompt="Sikreto", sources=[Source(text="Sikreto")], response_schema=schema
    )
    with pytest.raises(InvalidRequestError, match=r"\$\.size") as caught:
        OfflineProvider().generate(request)
    assert "Sikreto" not in str(caught.value)
