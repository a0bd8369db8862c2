from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import pytest

from django_obc_ai.backends.providers._json_schema import SchemaDocument, SchemaError
from django_obc_ai.backends.providers._offline_schema import fill_schema
from django_obc_ai.types import Source

SOURCES = (
    Source(
        title="Poblacion, Malabang",
        text="Barangay Poblacion has a population of 1,234. It is urban. Founded 1999-02-01.",
    ),
    Source(
        title="Tubok, Malabang",
        text="Barangay Tubok has 567 households. It is coastal. Write to tubok@malabang.example.",
    ),
)


def fill(schema: Any, *, prompt: str = "Barangays?", minimal: bool = False, **kept: Any) -> Any:
    sources = kept.get("sources", SOURCES)
    value = fill_schema(schema, prompt=prompt, sources=sources, is_minimal=minimal)
    assert SchemaDocument(schema).is_valid(value, schema)
    assert json.loads(json.dumps(value)) == value
    return value


def object_of(required: list[str] | None = None, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required or []}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "null"}, None),
        ({"type": "boolean"}, False),
        ({"type": "boolean", "const": True}, True),
        ({"type": "boolean", "enum": [True]}, True),
        ({"type": "integer"}, 0),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "minimum": 2.5}, 3),
        ({"type": "integer", "maximum": -7}, -7),
        ({"type": "integer", "exclusiveMinimum": 3, "multipleOf": 5}, 5),
        ({"type": "integer", "exclusiveMaximum": 0}, -1),
        ({"type": "integer", "exclusiveMinimum": 0, "multipleOf": 0.5}, 1),
        ({"type": "number", "minimum": 0.25, "maximum": 0.5}, 0.25),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "number", "minimum": 0.2, "multipleOf": 0.1}, 0.2),
        ({"minimum": 4}, 4),
        ({"type": ["null", "integer"]}, 0),
        ({"const": {"a": [1, None]}}, {"a": [1, None]}),
        ({"enum": [2, 1]}, 2),
        ({"enum": ["a", 3], "type": "integer"}, 3),
        ({"type": "array"}, []),
        ({"type": "array", "minItems": 2, "items": {"type": "integer"}}, [0, 0]),
        ({"type": "object"}, {}),
        ({"minProperties": 0}, {}),
    ],
)
def test_value_without_a_clue_is_neutral(schema: Any, value: Any) -> None:
    filled = fill(schema, minimal=True)
    assert filled == value
    assert type(filled) is type(value)


@pytest.mark.parametrize("minimal", [False, True])
@pytest.mark.parametrize(
    ("low", "high"), [(0, 5), (10, 20), (0, 0), (500, 500), (40, None), (None, 12)]
)
def test_length_of_a_string_is_kept(low: int | None, high: int | None, minimal: bool) -> None:
    bounds = {"minLength": low, "maxLength": high}
    schema = {"type": "string", **{name: n for name, n in bounds.items() if n is not None}}
    text = fill(schema, minimal=minimal)
    assert (low or 0) <= len(text) <= (high if high is not None else 10_000)


def test_string_is_a_passage_cut_between_words() -> None:
    passage = "Barangay Poblacion has a population of 1,234."
    assert fill({"type": "string"}, prompt="Poblacion?") == passage
    assert fill({"type": "string", "maxLength": 20}, prompt="Poblacion?") == "Barangay Poblacion"


def test_passage_of_a_string_suits_its_property() -> None:
    schema = object_of(household={"type": "string"}, title={"type": "string"})
    assert fill(schema) == {
        "household": "Barangay Tubok has 567 households.",
        "title": "Poblacion, Malabang",
    }


def test_without_sources_the_prompt_is_the_text() -> None:
    prompt = "Classify the need. The village lacks clean water."
    schema = object_of(need={"type": "string"}, kind={"enum": ["road", "water"]})
    filled = fill(schema, prompt=prompt, sources=())
    assert filled == {"need": "The village lacks clean water.", "kind": "water"}


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("population", 1234),
        ("households", 567),
        ("householdCount", 567),
        ("number_of_households", 567),
        ("schools", 0),
        ("household_income", 0),
        ("count", 0),
        ("urban", 0),
    ],
)
def test_number_is_drawn_only_from_beside_its_name(name: str, number: int) -> None:
    assert fill(object_of(**{name: {"type": "integer"}})) == {name: number}


def test_number_outside_its_bounds_is_not_drawn() -> None:
    assert fill(object_of(population={"type": "integer", "maximum": 99})) == {"population": 0}
    decimal = [Source(text="The area is 12.5 hectares")]
    assert fill(object_of(area={"type": "number"}), sources=decimal) == {"area": 12.5}
    assert fill(object_of(area={"type": "integer"}), sources=decimal) == {"area": 0}


@pytest.mark.parametrize("prompt", ["coastal and urban?", "?"])
def test_enum_value_is_the_first_that_the_sources_mention(prompt: str) -> None:
    assert fill({"enum": ["inland", 5, "urban", "coastal"]}, prompt=prompt) == "urban"


def test_enum_value_is_else_the_one_that_the_prompt_mentions() -> None:
    assert fill({"enum": ["search", "refuse"]}, prompt="Refuse this.") == "refuse"
    assert fill({"enum": ["search", "refuse"]}, prompt="Refuse this.", minimal=True) == "search"


@pytest.mark.parametrize(
    ("form", "drawn", "neutral"),
    [
        ("date", "1999-02-01", "1970-01-01"),
        ("date-time", "2026-11-22T08:00:00+08:00", "1970-01-01T00:00:00Z"),
        ("time", "08:00:00+08:00", "00:00:00Z"),
        ("email", "tubok@malabang.example", "nobody@example.invalid"),
        ("uri", "https://malabang.example/x", "about:blank"),
        (
            "uuid",
            "0b1e6bd0-4f4f-4b7c-9d9f-8f4a3f0f9f10",
            "00000000-0000-0000-0000-000000000000",
        ),
    ],
)
def test_formats_are_drawn_from_the_texts_or_neutral(form: str, drawn: str, neutral: str) -> None:
    text = (
        "On 2026-13-45 or 1999-02-01, 08:00:00+08:00, at 2026-11-22T08:00:00+08:00, see https://malabang.example/x,"
        " tubok@malabang.example and 0b1e6bd0-4f4f-4b7c-9d9f-8f4a3f0f9f10."
    )
    schema = {"type": "string", "format": form}
    assert fill(schema, sources=[Source(text=text)]) == drawn
    assert fill(schema, sources=()) == neutral
    assert fill(schema, sources=[Source(text=text)], minimal=True) == neutral


def test_format_that_does_not_fit_the_length_is_refused() -> None:
    with pytest.raises(SchemaError, match="no value was found"):
        fill({"type": "string", "format": "date", "maxLength": 3})


def test_unknown_format_is_an_annotation() -> None:
    assert fill({"type": "string", "format": "colour"}, prompt="urban?") == "It is urban."


def test_array_of_objects_has_one_for_each_source() -> None:
    item = object_of(
        ["name", "population"], name={"type": "string"}, population={"type": "integer"}
    )
    schema = object_of(["places"], places={"type": "array", "items": item})
    assert fill(schema)["places"] == [
        {"name": "Poblacion, Malabang", "population": 1234},
        {"name": "Tubok, Malabang", "population": 0},
    ]
    schema["properties"]["places"]["maxItems"] = 1
    assert len(fill(schema)["places"]) == 1
    schema["properties"]["places"]["minItems"] = 4
    schema["properties"]["places"]["maxItems"] = 9
    assert len(fill(schema)["places"]) == 4
    assert fill(object_of(["n"], n={"type": "array"}), minimal=True) == {"n": []}


def test_array_of_an_enum_has_the_values_that_are_mentioned() -> None:
    schema = {"type": "array", "items": {"enum": ["coastal", "inland", "urban"]}}
    assert fill(schema) == ["coastal", "urban"]
    assert fill({**schema, "uniqueItems": True}) == ["coastal", "urban"]
    assert fill({**schema, "minItems": 5}) == ["coastal", "urban", "inland", "coastal", "coastal"]
    assert fill({**schema, "minItems": 3, "uniqueItems": True}) == ["coastal", "urban", "inland"]


@pytest.mark.parametrize(
    "items", [{"type": "integer"}, {"type": "string"}, {"type": "number"}, {"type": "boolean"}]
)
@pytest.mark.parametrize("minimal", [False, True])
def test_unique_items_differ(items: Any, minimal: bool) -> None:
    schema = {"type": "array", "items": items, "minItems": 2, "uniqueItems": True}
    found = fill(schema, minimal=minimal)
    assert len({json.dumps(each) for each in found}) == len(found) >= 2


def test_unique_items_that_cannot_differ_are_refused() -> None:
    schema = {"type": "array", "items": {"const": 1}, "minItems": 2, "uniqueItems": True}
    with pytest.raises(SchemaError, match="no value was found"):
        fill(schema)


def test_prefix_items_come_first() -> None:
    schema = {"type": "array", "prefixItems": [{"const": "a"}, True], "items": False}
    assert fill(schema)[0] == "a"
    assert len(fill(schema)) == 2
    assert fill(schema, minimal=True) == []


def test_array_whose_items_cannot_be_filled_is_left_empty() -> None:
    assert fill({"type": "array", "items": {"type": "string", "pattern": "x"}}) == []
    assert fill({"type": "array", "items": False}) == []


def test_optional_properties_are_filled_unless_minimal_or_impossible() -> None:
    schema = object_of(["a"], a={"type": "integer"}, b={"type": "integer"}, c={"not": {}}, d=False)
    assert fill(schema) == {"a": 0, "b": 0}
    assert fill(schema, minimal=True) == {"a": 0}


def test_counts_of_properties_are_kept() -> None:
    schema = object_of(a={"type": "integer"}, b={"type": "integer"})
    assert fill({**schema, "maxProperties": 1}) == {}
    assert fill({**schema, "minProperties": 1}, minimal=True) == {"a": 0, "b": 0}


def test_required_property_without_a_schema_follows_additional_properties() -> None:
    schema = {"type": "object", "required": ["x"], "additionalProperties": {"type": "integer"}}
    assert fill(schema) == {"x": 0}
    with pytest.raises(SchemaError, match=r"no value is allowed for \$\.x"):
        fill({**schema, "additionalProperties": False})
    assert isinstance(fill({"required": ["x"]})["x"], str)


def test_schema_without_keywords_gets_text() -> None:
    assert fill({}, prompt="urban?") == "It is urban."
    assert fill(True, prompt="urban?") == "It is urban."


def test_mappings_and_tuples_of_settings_are_plain_json_in_the_answer() -> None:
    schema = MappingProxyType({"const": MappingProxyType({"a": (1, 2)})})
    assert fill(schema) == {"a": [1, 2]}
