from __future__ import annotations

from typing import Any

import pytest

from django_obc_ai.backends.providers._json_schema import SchemaDocument, SchemaError


@pytest.mark.parametrize(
    ("value", "schema", "is_valid"),
    [
        (1, {"type": "integer"}, True),
        (1.0, {"type": "integer"}, True),
        (1.5, {"type": "integer"}, False),
        (True, {"type": "integer"}, False),
        (True, {"enum": [1]}, False),
        (1.0, {"const": 1}, True),
        ([1], {"const": [True]}, False),
        ({"a": 1}, {"const": {"a": 1.0}}, True),
        ({"a": 1}, {"const": {"b": 1}}, False),
        ([1, 1.0], {"uniqueItems": True}, False),
        ([1, True], {"uniqueItems": True}, True),
        (0.3, {"multipleOf": 0.1}, True),
        (0.35, {"multipleOf": 0.1}, False),
        ("é", {"maxLength": 1}, True),
        ("ab", {"maxLength": 1}, False),
        (5, {"maxLength": 1}, True),
        ([1, "a"], {"prefixItems": [{"type": "integer"}], "items": {"type": "integer"}}, False),
        (["a"], {"prefixItems": [{"type": "integer"}]}, False),
        ({"a": 1, "b": 2}, {"properties": {"a": True}, "additionalProperties": False}, False),
        ({"a": 1}, {"maxProperties": 0}, False),
        ({}, {"required": ["a"]}, False),
        (1, {"oneOf": [{"type": "integer"}, {"minimum": 0}]}, False),
        (1, {"oneOf": [{"type": "string"}, {"minimum": 0}]}, True),
        (1, {"anyOf": [{"type": "string"}, {"maximum": 0}]}, False),
        (1, {"allOf": [{"type": "integer"}, {"maximum": 0}]}, False),
        (1, {"$ref": "#/$defs/s", "$defs": {"s": {"type": "string"}}}, False),
        (3, {"exclusiveMinimum": 3}, False),
        (3, {"exclusiveMaximum": 3}, False),
        (3, {"minimum": 4}, False),
    ],
)
def test_values_are_judged_as_the_standard_says(value: Any, schema: Any, is_valid: bool) -> None:
    assert SchemaDocument(schema).is_valid(value, schema) is is_valid


def test_one_of_is_not_judged_by_what_is_not_understood() -> None:
    schema = {"oneOf": [{"type": "integer"}, {"pattern": "x"}]}
    with pytest.raises(SchemaError, match="pattern"):
        SchemaDocument(schema).is_valid(1, schema)


def test_validation_of_an_endless_schema_ends() -> None:
    schema = {"$ref": "#"}
    with pytest.raises(SchemaError, match="levels deep"):
        SchemaDocument(schema).is_valid(1, schema)
    twice = {"allOf": [{"oneOf": [{"$ref": "#"}, True]}, {"oneOf": [{"$ref": "#"}, True]}]}
    with pytest.raises(SchemaError):
        SchemaDocument(twice).is_valid(1, twice)
