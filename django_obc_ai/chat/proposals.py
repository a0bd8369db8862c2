"""Questions to plans without a model: counts, lists, top n, breakdowns, figures, searches.

It is deterministic, and it knows when it does not understand: each word of a question must have
been used for something, else there is no plan. So a word such as "coastal", which names no field
and no value, never vanishes from a question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django_obc_ai.chat import words
from django_obc_ai.chat.lexicon import Entry, Lexicon
from django_obc_ai.chat.plan import as_mapping
from django_obc_ai.chat.reading import Reading
from django_obc_ai.types.chat import QueryPlan

_ALIASES = {"count": "count", "sum": "total", "avg": "average", "min": "lowest", "max": "highest"}


def propose(
    message: str,
    *,
    user: Any,
    earlier: Sequence[QueryPlan] = (),
    lexicon: Lexicon | None = None,
) -> dict[str, Any] | None:
    """Return a raw plan for `guard.check_plan`, or None for a question that is not understood.

    Args:
        message: In plain characters, as `guard.check_message` returns it.
        user: Who asks; only what they may ask about, and rows that they may see, are known.
        earlier: Checked plans of the conversation, oldest first; a message such as "What about
            Sulu?" changes the last one.
        lexicon: That of the user, where several questions are tried at once.
    """
    lexicon = lexicon or Lexicon(user)
    if not lexicon.entries:
        return None
    last = next((each for each in reversed(earlier) if each.model in lexicon.entries), None)
    plan = _Planner(lexicon, message).plan()
    if plan is None and last is not None:
        plan = _Planner(lexicon, message).follow_up(last)
    return plan if plan is not None else _search(lexicon, message)


def _search(lexicon: Lexicon, message: str) -> dict[str, Any] | None:
    """Return a search where one is asked for, or where rows are asked for by other words."""
    reading = Reading(lexicon, message)
    asks_to_search = reading.take_any(words.SEARCH)
    nouns = reading.nouns()
    is_other = (
        words.FOLLOW_UP.match(reading.text)
        or reading.superlative()
        or reading.field("number", nouns) is not None
        or any(reading.has(each) for each in (words.COUNT, words.SUM, words.AVERAGE, words.PER))
    )
    if is_other or reading.numbers() or not (asks_to_search or nouns):
        return None
    return {"kind": "search", "search": message[:500]} if reading.rest() else None


class _Planner:
    """One reading of one message."""

    def __init__(self, lexicon: Lexicon, message: str) -> None:
        self.lexicon = lexicon
        self.read = Reading(lexicon, message)
        self.filters: list[dict[str, Any]] = []

    def plan(self) -> dict[str, Any] | None:
        """Return the plan of a question that stands alone."""
        read = self.read
        groups = read.groups()
        superlative = read.superlative()
        aggregate = self._aggregate()
        comparisons = read.comparisons()
        nouns = read.nouns()
        field = read.field("number", nouns) or read.field("any", nouns)
        counts = read.take_any(words.COUNT)
        listed = read.take_any(words.LIST)
        number = field if field is not None and field.kind == "number" else None
        root = self._root(nouns, groups, superlative, number, counts or listed)
        if root is None:
            is_plain = not (groups or superlative or comparisons or aggregate == "avg")
            return self._of_one_row(field) if is_plain and field is not None else None
        label, grouped = root
        entry = self.lexicon.entries[label]
        if field is not None:
            field = entry.own(field.path.rpartition(".")[2])
            if field is None:
                return None
        if not self._conditions(entry, comparisons, number and field):
            return None
        if counts and comparisons:
            field = (
                None  # "how many have more than 5,000 residents": the condition's, not asked for
            )
        if grouped is not None and not groups:
            groups = [grouped]
        if read.rest():
            return None
        made = self._made(entry, groups, superlative, aggregate, field, counts and not listed)
        return None if made is None else {"kind": "query", "model": label, **made}

    def _aggregate(self) -> str:
        if self.read.take_any(words.AVERAGE):
            return "avg"
        return "sum" if self.read.take_any(words.SUM) else ""

    def _root(
        self,
        nouns: list[str],
        groups: list[str],
        superlative: Any,
        number: Any,
        asks: bool,
    ) -> tuple[str, str | None] | None:
        """Return the model whose rows are asked for, and one to group by that the words imply."""
        free = [each for each in nouns if each not in groups]
        if not free:
            if groups and number is not None and len(groups) == 1:
                return groups[0], None  # "population per province": one row each
            if nouns:
                return None if groups else (nouns[0], None)
            called = self.read.labels_of_choices() if asks else []  # "how many cities"
            return (called[0], None) if len(called) == 1 else None
        if superlative and number is None and len(free) > 1:
            # "the top 3 provinces by communities", "which province has the most communities"
            for one, other in ((free[0], free[1]), (free[1], free[0])):
                if self.lexicon.way_to(other, one):
                    return other, one
            return None
        if len(free) == 2 and self.lexicon.way_to(free[0], free[1]):
            # "communities in the province of Basilan": the second belongs to a value
            return free[0], None
        return (free[0], None) if len(free) == 1 or asks else None

    def _conditions(self, entry: Entry, comparisons: list[Any], number: Any) -> bool:
        for lookup, values in comparisons:
            field = number or (entry.numbers[0] if len(entry.numbers) == 1 else None)
            if field is None:
                return False
            self._add(field.path, lookup, values if lookup == "range" else values[0])
        label = entry.declared.label
        named: dict[tuple[str, bool], list[Any]] = {}
        for path, value, is_negated in (*self.read.adjectives(label), *self.read.values(label)):
            named.setdefault((path, is_negated), []).append(value)
        for (path, is_negated), found in named.items():
            if len(found) == 1:
                self._add(path, "exact", found[0], negate=is_negated)
            else:  # "in Basilan and Tawi-Tawi"
                self._add(path, "in", found, negate=is_negated)
                self.read.take_any(words.OR)
        return True

    def _add(self, path: str, lookup: str, value: Any, *, negate: bool = False) -> None:
        self.filters.append({"path": path, "lookup": lookup, "value": value, "negate": negate})

    def _made(
        self,
        entry: Entry,
        groups: list[str],
        superlative: tuple[bool, int] | None,
        aggregate: str,
        field: Any,
        counts: bool,
    ) -> dict[str, Any] | None:
        number = field if field is not None and field.kind == "number" else None
        if groups and groups != [entry.declared.label]:
            return self._breakdown(entry, groups, superlative, aggregate, number)
        if aggregate and not groups:
            if number is not None:
                return self._figure(aggregate, number.path)
            return self._figure("count", "") if aggregate == "sum" and counts else None
        if superlative:
            if number is None and len(entry.numbers) != 1:
                return None
            return self._extremes(entry, number or entry.numbers[0], *superlative)
        if counts and field is None:
            return self._figure("count", "")
        shown = self._shown(entry, "" if field is None else field.path)
        return {"fields": shown, "filters": self.filters, "order_by": shown[:1]}

    def _extremes(self, entry: Entry, field: Any, descends: bool, most: int) -> dict[str, Any]:
        present = {"path": field.path, "lookup": "isnull", "value": False, "negate": False}
        return {
            "fields": self._shown(entry, field.path),
            "filters": [*self.filters, present],
            "order_by": [f"-{field.path}" if descends else field.path],
            "limit": min(most, entry.declared.max_rows),
        }

    def _figure(self, function: str, path: str) -> dict[str, Any]:
        figure = {"function": function, "path": path, "alias": self._alias(function)}
        return {"filters": self.filters, "aggregate": [figure]}

    def _alias(self, function: str) -> str:
        return f"{_ALIASES[function]}_found"

    def _breakdown(
        self,
        entry: Entry,
        groups: list[str],
        superlative: tuple[bool, int] | None,
        aggregate: str,
        number: Any,
    ) -> dict[str, Any] | None:
        paths = []
        for each in groups:
            if each.startswith("."):
                own = entry.own(each[1:])
                path = None if own is None else own.path
            else:
                way, name = self.lexicon.way_to(entry.declared.label, each), self._name_of(each)
                path = None if way is None or not name else f"{way}.{name}".lstrip(".")
            if path is None:
                return None
            paths.append(path)
        function = aggregate or ("sum" if number is not None else "count")
        if function == "avg" and number is None:
            return None
        if number is None:
            function = "count"
        alias = self._alias(function)
        figure = {
            "function": function,
            "path": "" if number is None else number.path,
            "alias": alias,
        }
        found: dict[str, Any] = {
            "filters": self.filters,
            "group_by": paths,
            "aggregate": [figure],
            "order_by": [f"-{alias}", *paths],
        }
        if superlative:
            descends, limit = superlative
            found["order_by"] = [f"-{alias}" if descends else alias, *paths]
            found["limit"] = min(limit, entry.declared.max_rows)
        return found

    def _name_of(self, label: str) -> str:
        return self.lexicon.entries[label].name

    def _shown(self, entry: Entry, also: str) -> list[str]:
        """Return columns that tell rows apart: the name, those of what it lies in, one more."""
        shown = [entry.name] if entry.name else []
        for path, label in entry.ways.items():
            name = self.lexicon.entries[label].name
            if path and name:
                shown.append(f"{path}.{name}")
        shown = shown[:3] or list(entry.declared.fields)[:2]
        return shown if not also or also in shown else [*shown, also]

    def _of_one_row(self, field: Any) -> dict[str, Any] | None:
        """Return the plan of "population of Upi": a row by its name, of the widest model."""
        for label, entry in sorted(
            self.lexicon.entries.items(), key=lambda item: len(item[1].ways)
        ):
            own = entry.own(field.path.rpartition(".")[2])
            if own is None or not entry.name:
                continue
            if (value := self.read.own_name(label)) is not None:
                if self.read.rest():
                    return None
                self._add(entry.name, "exact", value)
                shown = self._shown(entry, own.path)
                parts = {"fields": shown, "filters": self.filters, "order_by": shown[:1]}
                return {"kind": "query", "model": label, **parts}
        return None

    def follow_up(self, last: QueryPlan) -> dict[str, Any] | None:
        """Return the plan of a message that changes the last one, such as "And in Sulu?"."""
        self.read.take_any(words.FOLLOW)
        plan: dict[str, Any] = as_mapping(last)
        entry = self.lexicon.entries[last.model]
        groups = self.read.groups()
        self.read.nouns()
        if not self._conditions(entry, self.read.comparisons(), None):
            return None
        if self.read.rest() or not (self.filters or groups):
            return None
        filters = _replaced(plan["filters"], self.filters)
        if groups:
            made = self._breakdown(entry, groups, None, "", None)
            if made is None:
                return None
            plan |= {"fields": [], **made}
        return {**plan, "filters": filters}


def _replaced(
    old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return old conditions with new ones in the place of those about the same.

    A place replaces a place, whatever its level: "What about Sulu?" after "… in Upi?".
    """

    def subject(condition: Mapping[str, Any]) -> str:
        return "place" if "." in condition["path"] else condition["path"]

    subjects = {subject(each) for each in new}
    kept = [dict(each) for each in old if subject(each) not in subjects]
    return [*kept, *(dict(each) for each in new)]
