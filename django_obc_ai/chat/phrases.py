"""Answers and follow-up questions without a model, in English and Filipino."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

from django_obc_ai.chat.lexicon import Entry, Lexicon
from django_obc_ai.chat.proposals import propose
from django_obc_ai.types.chat import QueryFilter, QueryPlan, QueryResult

_MOST_NAMED = 10
_GROUPED = ("choice", "text")
_TEXTS = {
    "en": {
        "none": "I found no {many}{where}.",
        "one": "There is 1 {one}{where}.",
        "count": "There are {n} {many}{where}.",
        "list": "I found {n} {many}{where}: {rows}",
        "listed": "I found {n} {many}{where}, among them: {rows}",
        "most": "The {many}{where} with the highest {field}: {rows}",
        "least": "The {many}{where} with the lowest {field}: {rows}",
        "fact": "{name}: {field} {n}.",
        "figure": "The {figure} of {field} of the {many}{where} is {n}.",
        "no_figure": "Nothing is known about the {field} of the {many}{where}.",
        "hidden": "There are too few {many}{where} to give a figure.",
        "groups": "{figure} of {many}{where} by {by}: {rows}",
        "in": " in {}", "not in": " not in {}", "and": " and ", "or": " or ",
        "lt": "below", "lte": "at most", "gt": "above", "gte": "at least", "range": "between",
        "not": "not ", "yes": "yes", "no": "no", "empty": "not known",
        "count_": "number", "sum": "total", "avg": "average", "min": "lowest", "max": "highest",
    },
    "tl": {
        "none": "Wala akong natagpuang {many}{where}.",
        "one": "May 1 {one}{where}.",
        "count": "May {n} na {many}{where}.",
        "list": "Natagpuan ko ang {n} na {many}{where}: {rows}",
        "listed": "Natagpuan ko ang {n} na {many}{where}, kasama ang: {rows}",
        "most": "Mga {many}{where} na may pinakamataas na {field}: {rows}",
        "least": "Mga {many}{where} na may pinakamababang {field}: {rows}",
        "fact": "{name}: {field} {n}.",
        "figure": "Ang {figure} ng {field} ng mga {many}{where} ay {n}.",
        "no_figure": "Walang nalalaman tungkol sa {field} ng mga {many}{where}.",
        "hidden": "Kakaunti ang {many}{where} para magbigay ng bilang.",
        "groups": "{figure} ng mga {many}{where} bawat {by}: {rows}",
        "in": " sa {}", "not in": " na wala sa {}", "and": " at ", "or": " o ",
        "lt": "mas mababa sa", "lte": "hindi hihigit sa", "gt": "higit sa",
        "gte": "hindi bababa sa", "range": "sa pagitan ng",
        "not": "hindi ", "yes": "oo", "no": "hindi", "empty": "hindi alam",
        "count_": "bilang", "sum": "kabuuan", "avg": "karaniwan", "min": "pinakamababa",
        "max": "pinakamataas",
    },
}  # fmt: skip


def phrase(plan: QueryPlan, result: QueryResult, language: str, *, user: Any) -> str:
    """Return the answer in one sentence; the rows themselves stand in a table beside it.

    Args:
        plan: What was run.
        result: What came of it.
        language: "en" or "tl"; others are English.
        user: Who asked.
    """
    texts = _TEXTS.get(language, _TEXTS["en"])
    entry = Lexicon(user).entries.get(plan.model)
    if entry is None:
        return ""
    named = {
        "one": _noun(entry, language, is_many=False),
        "many": _noun(entry, language, is_many=True),
        "where": _where(plan, result, texts, entry),
    }
    if plan.group_by:
        rows = "; ".join(_group(row, len(plan.group_by)) for row in result.rows[:_MOST_NAMED])
        figure = _figure_name(plan, texts).capitalize()
        by = ", ".join(label.lower() for label in result.labels[: len(plan.group_by)])
        key = "groups" if result.rows else "none"
        return texts[key].format(figure=figure, by=by, rows=f"{rows}.", **named)
    if plan.aggregates:
        return _figure(plan, result, texts, named)
    if not result.rows:
        return texts["none"].format(**named)
    last, is_ordered = result.labels[-1].lower(), plan.fields[-1:] == (_ordered(plan, entry),)
    named_rows = result.rows[:_MOST_NAMED]
    if not is_ordered and len({row[1:2] for row in named_rows}) == 1:
        named_rows = tuple(row[:1] for row in named_rows)  # the question said where they lie
    rows = "; ".join(_row(row, is_ordered=is_ordered) for row in named_rows)
    if is_ordered:
        key = "most" if plan.order_by[0][1] else "least"
        return texts[key].format(field=last, rows=f"{rows}.", **named)
    if len(result.rows) == 1 and _is_one_row(plan, entry) and plan.fields[-1] in _own(entry):
        first = result.rows[0]
        return texts["fact"].format(name=first[0], field=last, n=shown(first[-1], texts))
    total = result.total if result.total is not None else len(result.rows)
    key = "list" if total <= _MOST_NAMED else "listed"
    return texts[key].format(n=shown(total), rows=f"{rows}.", **named)


def _ordered(plan: QueryPlan, entry: Entry) -> str:
    """Return the number that the rows are ordered by, or ""."""
    name = plan.order_by[0][0] if plan.order_by else ""
    return name if name in {path.path for path in entry.numbers} else ""


def _own(entry: Entry) -> set[str]:
    return {path.path for path in entry.fields.values()} - {entry.name}


def _is_one_row(plan: QueryPlan, entry: Entry) -> bool:
    return any(each.path == entry.name and each.lookup == "exact" for each in plan.filters)


def _figure(
    plan: QueryPlan, result: QueryResult, texts: dict[str, str], named: dict[str, str]
) -> str:
    value, figure = result.rows[0][0], plan.aggregates[0]
    if figure.function == "count":
        key = "hidden" if value is None else {0: "none", 1: "one"}.get(value, "count")
        return texts[key].format(n=shown(value), **named)
    field = figure.path.rpartition(".")[2].replace("_", " ")
    key = "no_figure" if value is None else "figure"
    name = texts[figure.function]
    return texts[key].format(figure=name, field=field, n=shown(value), **named)


def _figure_name(plan: QueryPlan, texts: dict[str, str]) -> str:
    figure = plan.aggregates[0]
    name = texts["count_" if figure.function == "count" else figure.function]
    return f"{name} {figure.path.replace('_', ' ')}".strip()


def _noun(entry: Entry, language: str, *, is_many: bool) -> str:
    meta = entry.declared.model._meta
    if language == "tl" and entry.declared.synonyms:
        return str(entry.declared.synonyms[0])
    return str(meta.verbose_name_plural if is_many else meta.verbose_name)


def _where(plan: QueryPlan, result: QueryResult, texts: dict[str, str], entry: Entry) -> str:
    places, others = [], []
    for each in plan.filters:
        if each.lookup == "isnull":
            continue
        if "." in each.path and each.lookup in ("exact", "iexact", "in"):
            values = each.value if isinstance(each.value, tuple) else (each.value,)
            text = texts["or"].join(str(value) for value in values)
            places.append(texts["not in" if each.negate else "in"].format(text))
        else:
            others.append(_condition(each, texts, entry))
    return "".join(places) + (f" ({', '.join(others)})" if others else "")


def _condition(each: QueryFilter, texts: dict[str, str], entry: Entry) -> str:
    path = next((path for path in entry.fields.values() if path.path == each.path), None)
    label = each.path.replace(".", " ").replace("_", " ").removeprefix("is ")
    choices = dict(path.field.flatchoices) if path is not None and path.field.choices else {}
    values = each.value if isinstance(each.value, tuple) else (each.value,)
    said = [str(choices.get(value, shown(value, texts))) for value in values]
    joined = texts["and" if each.lookup == "range" else "or"].join(said)
    if each.lookup in ("lt", "lte", "gt", "gte", "range"):
        joined = f"{texts[each.lookup]} {joined}"
    return f"{label}: {texts['not'] if each.negate else ''}{joined}"


def shown(value: Any, texts: dict[str, str] | None = None) -> str:
    """Return a value as people write it: 1,234; 2.57; yes."""
    texts = texts or _TEXTS["en"]
    if value is None:
        return texts["empty"]
    if isinstance(value, bool):
        return texts["yes" if value else "no"]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, (float, Decimal)):
        return f"{value:,.2f}"
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ", timespec="minutes")
    return str(value)


def _row(row: tuple[Any, ...], *, is_ordered: bool = False) -> str:
    """Return a row in a sentence: its name, and what it is ordered by or lies in."""
    if len(row) < 2:
        return shown(row[0])
    return f"{shown(row[0])} ({shown(row[-1] if is_ordered else row[1])})"


def _group(row: tuple[Any, ...], groups: int) -> str:
    name = ", ".join(shown(value) for value in row[:groups])
    return f"{name} {', '.join(shown(value) for value in row[groups:])}"


def suggest(plan: QueryPlan, *, user: Any, language: str) -> tuple[str, ...]:
    """Return up to three questions to go on with, each of which the planner understands."""
    place = _place_of(plan)
    # Without a place the ideas hold no row's name: nothing has to be looked for in the tables.
    lexicon = Lexicon(user, has_rows=bool(place))
    entry = lexicon.entries.get(plan.model)
    if entry is None:
        return ()
    found: list[str] = []
    for text in _ideas(plan, entry, lexicon, place=place, language=language):
        if len(found) < 3 and text not in found and _is_understood(text, lexicon):
            found.append(text)
    return tuple(found)


def _is_understood(text: str, lexicon: Lexicon) -> bool:
    return propose(text, user=lexicon.user, lexicon=lexicon) is not None


def _place_of(plan: QueryPlan) -> str:
    """Return what the rows of a plan lie in, or ""."""
    return next((f.value for f in plan.filters if "." in f.path and isinstance(f.value, str)), "")


def _ideas(
    plan: QueryPlan, entry: Entry, lexicon: Lexicon, *, place: str, language: str
) -> list[str]:
    is_filipino = language == "tl"
    many = _noun(entry, language, is_many=True)
    where = (f" sa {place}" if is_filipino else f" in {place}") if place else ""
    number = entry.numbers[0] if entry.numbers else None
    said = "" if number is None else _said(entry, number.path, language)
    ideas = []
    if plan.aggregates and not plan.group_by:
        ideas.append(f"Ilista ang mga {many}{where}" if is_filipino else f"List {many}{where}")
    else:
        ideas.append(f"Ilan ang mga {many}{where}?" if is_filipino else f"How many {many}{where}?")
    if number is not None and plan.order_by[:1] != ((number.path, True),):
        ideas.append(
            f"5 pinakamalaking {many} ayon sa {said}{where}"
            if is_filipino
            else f"Top 5 {many} by {said}{where}"
        )
    for path, label in entry.ways.items():
        if path and not plan.group_by and lexicon.entries[label].name:
            one = _noun(lexicon.entries[label], language, is_many=False)
            ideas.append(f"Bilang ng {many} bawat {one}" if is_filipino else f"{many} per {one}")
    for name in {path.path: path for path in entry.fields.values() if path.kind in _GROUPED}:
        if name != entry.name and not plan.group_by:
            one = name.replace("_", " ")
            ideas.append(f"Bilang ng {many} bawat {one}" if is_filipino else f"{many} per {one}")
    if plan.filters or plan.group_by:
        ideas.append(f"Ilan ang mga {many}?" if is_filipino else f"How many {many} are there?")
    for other in lexicon.entries.values():
        if other is not entry:
            many = _noun(other, language, is_many=True)
            ideas.append(f"Ilan ang mga {many}?" if is_filipino else f"How many {many} are there?")
    return [idea[:1].upper() + idea[1:] for idea in ideas]


def _said(entry: Entry, name: str, language: str) -> str:
    """Return what a field is called; in Filipino the last of its synonyms, where it has any."""
    synonyms = list(entry.declared.field_synonyms.get(name, ()))
    return synonyms[-1] if language == "tl" and synonyms else name.replace("_", " ")
