"""Fill a JSON Schema from given texts, deterministically and without a language model.

Every value is a candidate until `SchemaDocument.is_valid` accepts it, so what cannot be
satisfied ends in an error and never in wrong JSON. Values are looked up, not invented: a
string is a passage, a number stands beside the property's name in a text ("population
1,234"), an enum value is one that a text mentions. Where nothing is found the value is
neutral: zero, false, the first enum value, the least number of items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import combinations, product

from django_obc_ai.backends.providers import _offline_lookup as lookup
from django_obc_ai.backends.providers import _offline_text as reading
from django_obc_ai.backends.providers._json_schema import (
    MAX_DEPTH,
    Json,
    SchemaDocument,
    SchemaError,
    check_keywords,
    is_same,
    list_type_names,
    merge_schemas,
    to_fraction,
)
from django_obc_ai.types import Source

_MAX_ITEMS = 10
_MAX_STRING_CHARACTERS = 300
_TITLE_KEYS = frozenset({"title", "name", "label", "heading"})
_Make = Callable[[], Json]
_TYPE_HINTS = (
    ("object", ("properties", "required", "additionalProperties", "minProperties")),
    ("array", ("items", "prefixItems", "minItems", "maxItems", "uniqueItems")),
    ("number", ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a value belongs, and the passages it may be drawn from."""

    passages: Sequence[reading.Passage]
    key: str = ""
    path: str = "$"
    depth: int = 0
    references: tuple[str, ...] = ("#",)
    avoid: Sequence[Json] = ()
    #: Schemas around this one that the same value must satisfy.
    must: tuple[Json, ...] = ()

    def enter(self, step: str, *, key: str) -> _Place:
        path = f"{self.path}{step}"
        return replace(self, path=path, key=key, depth=self.depth + 1, avoid=(), must=())


def fill_schema(
    schema: Json, *, prompt: str, sources: Sequence[Source], is_minimal: bool = False
) -> Json:
    """Return a JSON value that satisfies the schema.

    Args:
        schema: JSON Schema, as in `GenerationRequest.response_schema`.
        prompt: Decides which passages are used; itself the text if there are no sources.
        sources: Texts that values are drawn from.
        is_minimal: Leave out what is optional and draw nothing from the texts.

    Raises:
        SchemaError: No value was found, or the schema is not understood.
    """
    try:
        return _Filler(schema, prompt=prompt, sources=sources, is_minimal=is_minimal).fill_root()
    except SchemaError:
        raise
    except (TypeError, AttributeError, ValueError, ArithmeticError, RecursionError) as error:
        # A keyword holds a value of the wrong kind, for example "minimum": "a".
        raise SchemaError(f"it is malformed ({type(error).__name__})") from error


class _Filler:
    def __init__(
        self, schema: Json, *, prompt: str, sources: Sequence[Source], is_minimal: bool
    ) -> None:
        self._document = SchemaDocument(schema)
        self._is_minimal = is_minimal
        self._wanted = reading.read_terms(prompt)
        self._prompt = reading.split_passages([Source(text=prompt)])
        given = reading.split_passages(sources) or self._prompt
        ranked = reading.rank(self._wanted, given)
        best = {s.passage.number for s in ranked if s.score >= 0.5 * ranked[0].score}
        self._passages = [each for each in given if each.number in best] or given

    def fill_root(self) -> Json:
        return self._fill(self._document.root, _Place(passages=self._passages))

    def _fill(self, schema: Json, place: _Place) -> Json:
        if place.depth > MAX_DEPTH:
            raise SchemaError(f"it nests more than {MAX_DEPTH} levels deep or without an end")
        flat, place = self._flatten(schema, place)
        reason = SchemaError(f"no value was found for {place.path}")
        for make in self._candidates(flat, place):
            try:
                value = make()
                if any(is_same(value, each) for each in place.avoid):
                    continue
                if all(self._document.is_valid(value, each) for each in (schema, *place.must)):
                    return value
            except SchemaError as error:
                reason = error
        raise reason

    def _flatten(self, schema: Json, place: _Place) -> tuple[dict[str, Json], _Place]:
        """Return the schema with references and allOf merged into it."""
        self._document.step()
        if schema is False:
            raise SchemaError(f"no value is allowed for {place.path}")
        if schema is True:
            return {}, place
        check_keywords(schema)
        flat = {name: each for name, each in schema.items() if name not in ("$ref", "allOf")}
        if "$ref" in schema:
            target = self._document.resolve(schema["$ref"])
            place = replace(
                place, references=(*place.references, schema["$ref"]), depth=place.depth + 1
            )
            if place.depth > MAX_DEPTH:
                raise SchemaError("a $ref refers to itself")
            other, place = self._flatten(target, place)
            flat = merge_schemas(flat, other)
        for part in schema.get("allOf", ()):
            other, place = self._flatten(part, place)
            flat = merge_schemas(flat, other)
        return flat, place

    def _candidates(self, flat: dict[str, Json], place: _Place) -> Iterator[_Make]:
        """Yield ways to make a value, most useful first; each may raise `SchemaError`."""
        if "const" in flat:
            yield partial(_to_plain, flat["const"])
            return
        if "enum" in flat:
            for value in self._order_enum(flat["enum"], place):
                yield partial(_to_plain, value)
            return
        for combinator in ("anyOf", "oneOf"):
            if combinator in flat:
                rest = {name: each for name, each in flat.items() if name != combinator}
                inner = replace(place, must=(*place.must, {combinator: flat[combinator]}))
                for branch in sorted(flat[combinator], key=partial(_rank_branch, place=place)):
                    yield partial(self._fill, {"allOf": [rest, branch]}, inner)
                return
        for name in sorted(_list_types(flat), key="null".__eq__):
            yield from _BY_TYPE[name](self, flat, place)

    def _order_enum(self, values: Sequence[Json], place: _Place) -> list[Json]:
        """Return the values with those first that the sources, or else the prompt, mention."""
        named: list[Json] = []
        if not self._is_minimal:
            named = lookup.find_mentioned(values, place.passages) or lookup.find_mentioned(
                values, self._prompt
            )
        return [*named, *(each for each in values if each not in named)]

    def _null(self, flat: dict[str, Json], place: _Place) -> Iterator[_Make]:
        yield partial(_to_plain, None)

    def _boolean(self, flat: dict[str, Json], place: _Place) -> Iterator[_Make]:
        yield partial(_to_plain, False)
        yield partial(_to_plain, True)

    def _number(self, flat: dict[str, Json], place: _Place) -> Iterator[_Make]:
        if not self._is_minimal:
            for found in lookup.find_numbers_beside(place.key, place.passages):
                yield partial(_to_json_number, found)
        bounds = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
        starts = [Fraction(0), *(to_fraction(flat[name]) for name in bounds if name in flat)]
        starts += [(one + other) / 2 for one, other in combinations(starts, 2)]
        step = to_fraction(flat.get("multipleOf", 1))
        reach = len(place.avoid) + 1
        # The numerator of a step is its least multiple that is an integer.
        for each, start in product((step, Fraction(step.numerator)), starts):
            yield partial(_to_json_number, start)
            for times in range(-reach, reach + 1):
                yield partial(_to_json_number, (start // each + times) * each)

    def _string(self, flat: dict[str, Json], place: _Place) -> Iterator[_Make]:
        low = flat.get("minLength", 0)
        high = flat.get("maxLength", max(low, _MAX_STRING_CHARACTERS))
        if flat.get("format") in lookup.FORMATS:
            passages = () if self._is_minimal else place.passages
            for found in lookup.find_formatted(flat["format"], passages):
                yield partial(_to_plain, found)
            return
        if not self._is_minimal:
            texts = self._texts(place)
            for text in [each for each in texts if len(each) >= low] or [" ".join(texts)]:
                yield partial(lookup.fit, text, low, high)
        for number in range(len(place.avoid) + 1):
            yield partial(lookup.fit, str(number) if number else "", low, high)

    def _texts(self, place: _Place) -> list[str]:
        """Return the texts that suit a property, best first."""
        titles = [p.title for p in place.passages if p.title]
        key = lookup.split_key(place.key)
        ranked = reading.rank([*reading.read_terms(key), *self._wanted], place.passages)
        texts = [s.passage.text for s in ranked] + [p.text for p in place.passages]
        return [*titles, *texts] if _TITLE_KEYS & {*reading.read_words(key)} else texts

    def _array(self, flat: dict[str, Json], place: _Place) -> Iterator[_Make]:
        if not self._is_minimal:
            yield partial(self._drawn_items, flat, place)
        yield partial(self._items, flat, place, count=flat.get("minItems", 0))

    def _drawn_items(self, flat: dict[str, Json], place: _Place) -> list[Json]:
        """Return one item for each source, or for each enum value that a text mentions."""
        prefix, items = flat.get("prefixItems", ()), flat.get("items", True)
        offered = 0
        if isinstance(items, Mapping) and items.get("$ref") not in place.references:
            inner, _ = self._flatten(items, place)
            if "enum" in inner:
                offered = len(lookup.find_mentioned(inner["enum"], place.passages))
            elif {"object", "string"} & {*_list_types(inner)}:
                offered = len(lookup.group_by_source(place.passages))
        least = flat.get("minItems", 0)
        most = flat.get("maxItems", max(least, len(prefix), _MAX_ITEMS))
        return self._items(flat, place, count=min(most, max(least, len(prefix) + offered)))

    def _items(self, flat: dict[str, Json], place: _Place, *, count: int) -> list[Json]:
        prefix, items = flat.get("prefixItems", ()), flat.get("items", True)
        sources = lookup.group_by_source(place.passages)
        is_unique = bool(flat.get("uniqueItems"))
        found: list[Json] = []
        for number in range(count):
            inner = place.enter(f"[{number}]", key=place.key)
            schema = prefix[number] if number < len(prefix) else items
            is_enum = isinstance(schema, Mapping) and "enum" in self._flatten(schema, inner)[0]
            if not is_enum and len(prefix) <= number < len(prefix) + len(sources):
                inner = replace(inner, passages=sources[number - len(prefix)])
            try:
                avoid = tuple(found) if is_unique or is_enum else ()
                found.append(self._fill(schema, replace(inner, avoid=avoid)))
            except SchemaError:
                if is_unique or not is_enum:
                    raise
                found.append(self._fill(schema, inner))
        return found

    def _object(self, flat: dict[str, Json], place: _Place) -> Iterator[_Make]:
        for with_optional in (not self._is_minimal, self._is_minimal):
            yield partial(self._members, flat, place, with_optional=with_optional)

    def _members(
        self, flat: dict[str, Json], place: _Place, *, with_optional: bool
    ) -> dict[str, Json]:
        properties, required = flat.get("properties", {}), flat.get("required", ())
        found = {}
        for name in dict.fromkeys([*properties, *required]):
            schema = properties.get(name, flat.get("additionalProperties", True))
            is_recursive = isinstance(schema, Mapping) and schema.get("$ref") in place.references
            if name not in required and (is_recursive or not with_optional):
                continue
            try:
                found[name] = self._fill(schema, place.enter(f".{name}", key=name))
            except SchemaError:
                if name in required:
                    raise
        return found


_BY_TYPE: dict[str, Callable[[_Filler, dict[str, Json], _Place], Iterator[_Make]]] = {
    "array": _Filler._array,
    "boolean": _Filler._boolean,
    "integer": _Filler._number,
    "null": _Filler._null,
    "number": _Filler._number,
    "object": _Filler._object,
    "string": _Filler._string,
}


def _list_types(flat: Mapping[str, Json]) -> list[str]:
    """Return the allowed types, guessed from the keywords if none is named."""
    if names := list_type_names(flat):
        return names
    for name, keywords in _TYPE_HINTS:
        if any(keyword in flat for keyword in keywords):
            return [name]
    return ["string"]


def _rank_branch(branch: Json, *, place: _Place) -> int:
    """Order alternatives: null says little, and what contains itself may have no end."""
    if not isinstance(branch, Mapping):
        return 0
    if branch.get("$ref") in place.references:
        return 2
    return int(branch.get("type") == "null")


def _to_json_number(number: Fraction) -> int | float:
    return int(number) if number.denominator == 1 else float(number)


def _to_plain(value: Json) -> Json:
    """Return a value of a schema as dictionaries and lists."""
    if isinstance(value, Mapping):
        return {name: _to_plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_plain(each) for each in value]
    return value
