"""What people may call a project's models, fields, choices and rows, from its declarations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q
from django.db.models.constants import LOOKUP_SEP

from django_obc_ai.chat.declaration import ChatModel
from django_obc_ai.chat.paths import (
    MAX_RELATIONS,
    FieldPath,
    allowed_models,
    related,
    resolve,
)
from django_obc_ai.chat.query import scoped
from django_obc_ai.chat.words import plurals_of, tokens_of
from django_obc_ai.exceptions import DangerousQuery

Phrase = tuple[str, ...]
_MOST_ROWS = 50
_NAMES = ("name", "title")


@dataclass(slots=True)
class Entry:
    """What one declared model can be asked about.

    Attributes:
        nouns: What one row, or many, are called.
        fields: Fields by what they are called.
        adjectives: Conditions (field, value) by what they are called: choices and yes or no.
        name: The field that names a row, or "".
        ways: Relations from here, as paths with dots, to labels; "" is the model itself.
    """

    declared: ChatModel
    nouns: set[Phrase] = field(default_factory=set)
    fields: dict[Phrase, FieldPath] = field(default_factory=dict)
    adjectives: dict[Phrase, tuple[str, Any]] = field(default_factory=dict)
    name: str = ""
    ways: dict[str, str] = field(default_factory=dict)

    @property
    def numbers(self) -> list[FieldPath]:
        """Return the number fields, each once."""
        found = {path.path: path for path in self.fields.values() if path.kind == "number"}
        return list(found.values())

    def own(self, name: str) -> FieldPath | None:
        """Return the model's own declared field of a name, if it has a phrase; else None."""
        return next((path for path in self.fields.values() if path.path == name), None)


class Lexicon:
    """All entries of one user."""

    def __init__(self, user: Any, *, has_rows: bool = True) -> None:
        """Read the declarations that the user may ask about.

        Args:
            user: Who asks.
            has_rows: Whether rows are known by their names: each is looked for in the database.
        """
        self.user = user
        self._has_rows = has_rows
        self.allowed = allowed_models(user)
        self._called: dict[str, dict[str, str | None]] = {}
        self.entries = {label: self._entry(each) for label, each in self.allowed.items()}

    def _entry(self, declared: ChatModel) -> Entry:
        meta = declared.model._meta
        entry = Entry(declared=declared)
        for noun in (meta.verbose_name, meta.verbose_name_plural, *declared.synonyms):
            if words := tokens_of(str(noun)):
                entry.nouns |= plurals_of(words)
        for name in declared.fields:
            try:
                path = resolve(declared, name, self.allowed, "fields")
            except DangerousQuery:
                continue
            self._add_field(entry, path, declared.field_synonyms)
        entry.name = next((name for name in _NAMES if name in declared.fields), "")
        self._add_ways(entry, declared, "")
        return entry

    @staticmethod
    def _add_field(entry: Entry, path: FieldPath, synonyms: Mapping[str, Iterable[str]]) -> None:
        name = path.field.name
        said = [str(path.field.verbose_name), name.replace("_", " "), *synonyms.get(name, ())]
        known = [words for each in said if (words := tokens_of(each))]
        phrases = {phrase for each in known for phrase in plurals_of(each)}
        if path.kind == "boolean":
            for phrase in phrases:
                entry.adjectives[phrase[1:] if phrase[0] == "is" else phrase] = (name, True)
            return
        entry.fields |= dict.fromkeys(phrases, path)
        if path.kind == "choice":
            for stored, label in path.field.flatchoices:
                for phrase in plurals_of(tokens_of(str(label)) or ("",)):
                    if phrase != ("",):
                        entry.adjectives.setdefault(phrase, (name, stored))

    def _add_ways(self, entry: Entry, declared: ChatModel, path: str) -> None:
        entry.ways[path] = declared.label
        if path.count(".") + 1 >= MAX_RELATIONS and path:
            return
        for name in declared.relations:
            following = related(declared, name, self.allowed)
            if following is not None:
                self._add_ways(entry, following, f"{path}.{name}" if path else name)

    def way_to(self, root: str, label: str) -> str | None:
        """Return the shortest relation path from one model to another; None if there is none."""
        ways = [path for path, to in self.entries[root].ways.items() if to == label]
        return min(ways, key=len, default=None)

    def rows_called(self, label: str, names: Iterable[str]) -> dict[str, str]:
        """Return the stored names of visible rows by what they were called, at most 50.

        "BARMM" finds "… (BARMM)", "Region IX" finds "Region IX (…)", "Marawi" and "Marawi
        City" find "City of Marawi". A row's own name goes before such a reading. What was looked
        for once is not looked for again.
        """
        if not self._has_rows:
            return {}
        known = self._called.setdefault(label, {})
        wanted = list(names)
        if self.entries[label].name and (new := [each for each in wanted if each not in known]):
            known |= dict.fromkeys(new, None) | self._look_up(label, new)
        return {name: row for name in wanted if (row := known.get(name)) is not None}

    def _look_up(self, label: str, names: list[str]) -> dict[str, str | None]:
        entry = self.entries[label]
        wanted = {name: self._readings(name) for name in names}
        condition = Q()
        for readings in wanted.values():
            for lookup, text in readings:
                condition |= Q((f"{entry.name}{LOOKUP_SEP}{lookup}", text))
        rows = scoped(entry.declared, self.user).filter(condition)
        stored = rows.values_list(entry.name, flat=True).distinct()[:_MOST_ROWS]
        known = [str(each) for each in stored]
        found: dict[str, str | None] = {}
        for name, readings in wanted.items():
            for lookup, text in readings:
                if match := next((each for each in known if _fits(each, lookup, text)), None):
                    found[name] = match
                    break
        return found

    @staticmethod
    def _readings(name: str) -> list[tuple[str, str]]:
        bare = name.removesuffix(" city")
        readings = [("iexact", name), ("iendswith", f"({name})"), ("istartswith", f"{name} (")]
        return [*readings, ("iexact", f"city of {bare}"), ("iexact", f"{bare} city")]


def _fits(stored: str, lookup: str, text: str) -> bool:
    own = stored.casefold()
    found = {"iexact": own == text, "iendswith": own.endswith(text)}
    return found.get(lookup, own.startswith(text))
