"""Does a value satisfy a JSON Schema? The part of JSON Schema that answers are asked in.

Covers types, enum, const, the bounds of numbers, strings, arrays and objects, the
combinators anyOf, oneOf and allOf, and references within the schema. Keywords that
restrict values in ways not understood here are refused and never ignored; unknown
keywords are annotations, as in the standard. Offline only: no reference is fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any
from urllib.parse import unquote

#: Schemas and values are plain JSON, which has no narrower Python type.
Json = Any

#: Enough for every schema seen in practice, and an end for those that branch without one.
MAX_STEPS = 20_000
MAX_DEPTH = 40
_REFUSED = (
    "pattern",
    "patternProperties",
    "propertyNames",
    "not",
    "if",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "contains",
    "unevaluatedItems",
    "unevaluatedProperties",
    "additionalItems",
    "$dynamicRef",
    "$recursiveRef",
)
_LISTS = ("allOf", "anyOf", "enum", "oneOf", "prefixItems", "required")


class SchemaError(ValueError):
    """A schema cannot be understood or satisfied; the message names the place."""


class SchemaDocument:
    """A schema with its references, and a bound on the work done for it."""

    def __init__(self, root: Json) -> None:
        """Keep the root, which references start from."""
        self.root = root
        self._steps = 0

    def step(self) -> None:
        """Count one piece of work.

        Raises:
            SchemaError: The bound is passed.
        """
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise SchemaError("it is too large, or refers to itself without an end")

    def resolve(self, reference: Json) -> Json:
        """Return the part of the schema that a ``$ref`` names.

        Raises:
            SchemaError: It lies in another document, or nowhere.
        """
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise SchemaError("a $ref must point into the schema itself, as in '#/$defs/Name'")
        found = self.root
        for part in unquote(reference[1:]).split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and name in found:
                found = found[name]
            elif isinstance(found, (list, tuple)) and name.isdigit() and int(name) < len(found):
                found = found[int(name)]
            else:
                raise SchemaError(f"the $ref {reference!r} names nothing")
        return found

    def is_valid(self, value: Json, schema: Json, depth: int = 0) -> bool:
        """Return whether a value satisfies a schema.

        Raises:
            SchemaError: The schema is malformed, or uses a keyword that is refused.
        """
        self.step()
        if depth > MAX_DEPTH:
            raise SchemaError(f"it nests more than {MAX_DEPTH} levels deep")
        if isinstance(schema, bool):
            return schema
        check_keywords(schema)
        return (
            _is_listed(value, schema)
            and _is_in_bounds(value, schema)
            and self._is_combined(value, schema, depth + 1)
            and self._are_items_valid(value, schema, depth + 1)
            and self._are_properties_valid(value, schema, depth + 1)
        )

    def _is_combined(self, value: Json, schema: Mapping[str, Json], depth: int) -> bool:
        if "$ref" in schema and not self.is_valid(value, self.resolve(schema["$ref"]), depth):
            return False
        if not all(self.is_valid(value, each, depth) for each in schema.get("allOf", ())):
            return False
        if "oneOf" in schema:
            fitting = sum(self.is_valid(value, each, depth) for each in schema["oneOf"])
            if fitting != 1:
                return False
        return "anyOf" not in schema or any(
            self._is_surely_valid(value, each, depth) for each in schema["anyOf"]
        )

    def _is_surely_valid(self, value: Json, schema: Json, depth: int) -> bool:
        """Return False where is_valid() cannot tell; enough for anyOf, wrong for oneOf."""
        try:
            return self.is_valid(value, schema, depth)
        except SchemaError:
            return False

    def _are_items_valid(self, value: Json, schema: Mapping[str, Json], depth: int) -> bool:
        if not isinstance(value, list):
            return True
        prefix = schema.get("prefixItems", ())
        heads = zip(value, prefix, strict=False)
        if not all(self.is_valid(item, each, depth) for item, each in heads):
            return False
        rest = schema.get("items", True)
        if not all(self.is_valid(item, rest, depth) for item in value[len(prefix) :]):
            return False
        return not schema.get("uniqueItems") or not any(
            is_same(a, b) for number, a in enumerate(value) for b in value[:number]
        )

    def _are_properties_valid(self, value: Json, schema: Mapping[str, Json], depth: int) -> bool:
        if not isinstance(value, dict):
            return True
        if any(name not in value for name in schema.get("required", ())):
            return False
        properties = schema.get("properties", {})
        others = schema.get("additionalProperties", True)
        return all(
            self.is_valid(each, properties.get(name, others), depth) for name, each in value.items()
        )


def check_keywords(schema: Json) -> None:
    """Raise `SchemaError` for what is no schema or restricts values in a refused way."""
    if not isinstance(schema, Mapping):
        raise SchemaError("a schema must be an object or a boolean")
    for name in _REFUSED:
        if name in schema:
            raise SchemaError(f"the keyword {name!r} is not supported")
    for name in _LISTS:
        if not isinstance(schema.get(name, ()), (list, tuple)):
            raise SchemaError(f"the keyword {name!r} must be a list")
    if not isinstance(schema.get("properties", {}), Mapping):
        raise SchemaError("the keyword 'properties' must be an object")
    if isinstance(schema.get("items"), (list, tuple)):
        raise SchemaError("a list of 'items' is not supported; use 'prefixItems'")


def list_type_names(schema: Mapping[str, Json]) -> list[str]:
    """Return the allowed types, empty if the schema does not restrict them.

    Raises:
        SchemaError: A name is no JSON type.
    """
    named = schema.get("type", [])
    names = [named] if isinstance(named, str) else list(named)
    for name in names:
        if name not in _TYPES:
            raise SchemaError(f"{name!r} is not a JSON type")
    return names


def is_number(value: Json) -> bool:
    """Return whether a value is a JSON number; booleans are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_same(a: Json, b: Json) -> bool:
    """Return whether two JSON values are equal: 1 is 1.0, but True is not 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(is_same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(is_same, a, b))
    return bool(a == b)


def to_fraction(number: Json) -> Fraction:
    """Return a JSON number as the decimal that was written, so that 0.3 % 0.1 is 0."""
    return Fraction(str(number))


_TYPES: dict[str, Callable[[Json], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "number": is_number,
    "integer": lambda value: is_number(value) and to_fraction(value).denominator == 1,
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def _is_listed(value: Json, schema: Mapping[str, Json]) -> bool:
    names = list_type_names(schema)
    if "type" in schema and not any(_TYPES[name](value) for name in names):
        return False
    if "enum" in schema and not any(is_same(value, each) for each in schema["enum"]):
        return False
    return "const" not in schema or is_same(value, schema["const"])


def _is_in_bounds(value: Json, schema: Mapping[str, Json]) -> bool:
    for kind, low, high in (
        (str, "minLength", "maxLength"),
        (list, "minItems", "maxItems"),
        (dict, "minProperties", "maxProperties"),
    ):
        if isinstance(value, kind):
            return bool(schema.get(low, 0) <= len(value) <= schema.get(high, len(value)))
    if not is_number(value):
        return True
    number = to_fraction(value)
    return (
        ("minimum" not in schema or number >= to_fraction(schema["minimum"]))
        and ("maximum" not in schema or number <= to_fraction(schema["maximum"]))
        and ("exclusiveMinimum" not in schema or number > to_fraction(schema["exclusiveMinimum"]))
        and ("exclusiveMaximum" not in schema or number < to_fraction(schema["exclusiveMaximum"]))
        and ("multipleOf" not in schema or number % to_fraction(schema["multipleOf"]) == 0)
    )


_LARGER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_SMALLER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")


def merge_schemas(one: Mapping[str, Json], other: Mapping[str, Json]) -> dict[str, Json]:
    """Return one schema for values that satisfy both, as far as that can be written down.

    A guide for finding values, not a proof: what cannot be merged is taken from ``one``.
    """
    merged = {**other, **one}
    for name in one.keys() & other.keys():
        a, b = one[name], other[name]
        if name in _LARGER:
            merged[name] = max(a, b)
        elif name in _SMALLER:
            merged[name] = min(a, b)
        elif name == "required":
            merged[name] = [*dict.fromkeys([*a, *b])]
        elif name == "enum":
            merged[name] = [each for each in a if any(is_same(each, value) for value in b)]
        elif name == "type":
            merged[name] = _common_types(list_type_names(one), list_type_names(other))
        elif name == "properties":
            merged[name] = {**b, **a, **{key: {"allOf": [a[key], b[key]]} for key in a.keys() & b}}
        elif name in ("items", "additionalProperties"):
            merged[name] = {"allOf": [a, b]}
    return merged


def _common_types(one: list[str], other: list[str]) -> list[str]:
    widened = {*other, *(["integer"] if "number" in other else [])}
    common = [name for name in one if name in widened]
    if "number" in one and "integer" in other and "integer" not in common:
        common.append("integer")
    if not common:
        raise SchemaError("its parts allow no type in common")
    return common
