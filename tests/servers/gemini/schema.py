"""A JSON value that fits a schema: the one of Gemini (types in capitals) or JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.servers.gemini.wire import ApiError

DEEPEST = 8
FORMATS = {
    "date-time": "2026-11-22T08:00:00Z",
    "date": "2026-11-22",
    "time": "08:00:00",
    "email": "salaam@example.org",
    "uri": "https://example.org/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def make_value(
    schema: Mapping[str, Any], *, root: Mapping[str, Any] | None = None, depth: int = 0
) -> Any:
    """Return the same value for the same schema, with every property it names.

    Raises:
        ApiError: 400, the schema has a type that does not exist.
    """
    root = schema if root is None else root
    if "$ref" in schema:
        return make_value(_resolve(schema["$ref"], root), root=root, depth=depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for name in ("anyOf", "oneOf", "allOf"):
        if schema.get(name):
            options = [each for each in schema[name] if _type_of(each) != "null"] or schema[name]
            return make_value(options[0], root=root, depth=depth + 1)
    kind = _type_of(schema)
    if kind == "object":
        return _make_object(schema, root, depth)
    if kind == "array":
        return _make_array(schema, root, depth)
    return _make_scalar(kind, schema)


def _type_of(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(kind).lower()


def _resolve(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        found = found[step] if step else found
    return found  # type: ignore[no-any-return]


def _make_object(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    properties: Mapping[str, Any] = schema.get("properties") or {}
    required = schema.get("required") or ()
    order = schema.get("propertyOrdering") or schema.get("property_ordering") or properties
    return {
        name: make_value(properties[name], root=root, depth=depth + 1)
        for name in order
        if depth < DEEPEST or name in required
    }


def _make_array(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> list[Any]:
    fewest = int(schema.get("minItems", 1 if depth < DEEPEST else 0))
    items = schema.get("items") or {"type": "string"}
    return [make_value(items, root=root, depth=depth + 1) for _ in range(fewest)]


def _make_scalar(kind: str, schema: Mapping[str, Any]) -> Any:
    if kind == "string":
        text = FORMATS.get(schema.get("format", ""), "text")
        longest = schema.get("maxLength")
        return text.ljust(int(schema.get("minLength", 0)), ".")[: int(longest) if longest else None]
    if kind == "integer":
        return int(schema.get("minimum", min(1, schema.get("maximum", 1))))
    if kind == "number":
        return schema.get("minimum", min(1.5, schema.get("maximum", 1.5)))
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    raise ApiError(400, f"Invalid value at 'generation_config.response_schema.type': \"{kind}\"")
