"""The pages about settings say what conf.py and the embedded backends do."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from django_obc_ai import backends
from django_obc_ai.backends.base import BaseBackend
from django_obc_ai.conf import EMBEDDED_BACKENDS, KEYS, find_errors, get_settings
from tests.docs.markdown import DOCS, blocks, headings, names, section, table_rows

PAGES = tuple(
    DOCS / "reference" / f"{name}.md"
    for name in (
        "settings",
        "traffic-settings",
        "job-settings",
        "web-settings",
        "search-settings",
    )
)
FAMILIES = tuple(EMBEDDED_BACKENDS)
#: A value that makes the rest of an entry valid, so that only the tested subkey matters.
_ONE_OF = "required, or one of the next two"
REQUIRED: dict[str, dict[str, Any]] = {
    "BUDGETS": {"scope": "global", "period": "day", "limit_usd": "1"},
    "MONEY": {},
    "PRICES": {"input_usd": "1", "output_usd": "2"},
    "CACHE": {},
    "RETRY": {},
    "LOG": {},
    "CHAT": {},
    "METRICS": {},
    "JOBS": {},
    "WEB": {},
}


def _whole(page: Path) -> str:
    """What stands before the example: the page's table of keys."""
    return page.read_text().partition("An example")[0]


def _section(heading: str) -> str:
    """What stands below a heading, on whichever page has it."""
    (page,) = [page for page in PAGES if heading in headings(page)]
    return section(page, heading)


def _table(heading: str) -> dict[str, str]:
    """Name and default of each row below a heading."""
    return {names(row[0])[0]: row[2] for row in table_rows(_section(heading))}


def _entry(key: str, entry: dict[str, Any]) -> Any:
    return {"BUDGETS": [entry], "PRICES": {"some-model": entry}}.get(key, entry)


def _parsed(**keys: Any) -> Any:
    with override_settings(OBC_AI=keys):
        return get_settings()


def _valid_names(settings: dict[str, Any]) -> set[str]:
    """The names that the error about an unlikely one lists."""
    with override_settings(OBC_AI=settings):
        (error,) = find_errors()
    return set(error.hint.removeprefix("Valid names: ").rstrip(".").split(", "))


def test_every_key_is_in_the_table_and_has_a_section_and_no_other() -> None:
    everything: list[str] = []
    for page in PAGES:
        table = [names(row[0])[0] for row in table_rows(_whole(page))]
        assert table == [names(heading)[0] for heading in headings(page) if names(heading)]
        everything += table
    assert sorted(everything) == sorted(KEYS)


def test_defaults_in_the_table_are_those_of_the_code() -> None:
    for name, _, default, _ in [row for page in PAGES for row in table_rows(_whole(page))]:
        key, (value,) = names(name)[0], names(default)
        if key in FAMILIES:
            assert EMBEDDED_BACKENDS[key].endswith(f".{value}")
        else:
            assert _parsed(**{key: ast.literal_eval(value)}) == _parsed(), key


def _types(text: str) -> dict[str, tuple[type, ...]]:
    """The types that the tables of a text give each name."""
    known = {each.__name__: each for each in (bool, date, Decimal, dict, float, int, list, str)}
    rows = {names(row[0])[0]: row[1] for row in table_rows(text)}
    words = {name: re.findall(r"\w+", cell) for name, cell in rows.items()}
    return {name: tuple(known[w] for w in found if w in known) for name, found in words.items()}


@pytest.mark.parametrize("key", [*REQUIRED, "OBC_AI"])
def test_types_that_the_tables_do_not_give_are_refused(key: str) -> None:
    whole = "\n".join(map(_whole, PAGES))
    types = _types(whole if key == "OBC_AI" else _section(f"`{key}`"))
    assert types
    values = [True, date(2027, 1, 1), Decimal(1), {}, 1.5, 1, [], "day"]
    for name, right in types.items():
        for value in values:
            entry = {name: value}
            if key != "OBC_AI":
                entry = {key: _entry(key, {**REQUIRED[key], **entry})}
            with override_settings(OBC_AI=entry):
                refused = any("is of type" in str(error) for error in find_errors())
            is_right = type(value) in right
            # A text may still be no dollar amount and a number no period: that is another fault.
            assert not (refused and is_right), (name, value)
            if not is_right and name not in ("scope", "period"):
                assert refused, (name, value)


@pytest.mark.parametrize("key", REQUIRED)
def test_subkeys_and_their_defaults_are_those_of_the_code(key: str) -> None:
    table = _table(f"`{key}`")
    assert set(table) == _valid_names({key: _entry(key, {"qqqqqqqqqqqq": 1})})
    required = {name for name, default in table.items() if default in ("required", _ONE_OF)}
    assert required == set(REQUIRED[key])
    plain = _parsed(**{key: _entry(key, REQUIRED[key])})
    for name in table.keys() - required:
        for written in names(table[name]):  # none where the default is another subkey's value
            entry = {**REQUIRED[key], name: ast.literal_eval(written)}
            assert _parsed(**{key: _entry(key, entry)}) == plain, name


def test_subkeys_of_a_backend_are_those_of_the_code() -> None:
    table = _table("Backend families")
    subkeys = {name for name, default in table.items() if name.isupper()}
    assert subkeys == _valid_names({"PROVIDERS": {"default": {"qqqqqqqqqqqq": 1}}})


@pytest.mark.parametrize("key", [*FAMILIES, "RERANKERS"])
def test_every_shipped_backend_is_documented_with_its_options(key: str) -> None:
    family = importlib.import_module(f"{backends.__name__}.{key.lower()}")
    shipped = {}
    for module in pkgutil.iter_modules(family.__path__, f"{family.__name__}."):
        if module.name.rpartition(".")[2].startswith("_"):
            continue
        for found in vars(importlib.import_module(module.name)).values():
            is_here = inspect.isclass(found) and found.__module__ == module.name
            if is_here and issubclass(found, BaseBackend) and not inspect.isabstract(found):
                shipped[f"{module.name}.{found.__name__}"] = found
    assert _documented_options(key) == {
        path: {name: each.default for name, each in inspect.signature(found).parameters.items()}
        for path, found in shipped.items()
    }


def _documented_options(key: str) -> dict[str, dict[str, Any]]:
    """Class path to options: the first table after the paragraph that begins with the path."""
    documented = {}
    for part in re.split(r"(?m)^(?=`django_obc_ai\.backends\.)", _section(f"`{key}`"))[1:]:
        options = {names(row[0])[0]: ast.literal_eval(names(row[2])[0]) for row in table_rows(part)}
        for path in names(part.partition("\n\n")[0]):
            if path.startswith("django_obc_ai.backends."):
                documented[path] = options
    return documented


def test_the_examples_are_valid_and_have_every_key() -> None:
    found: dict[str, Any] = {}
    for page in PAGES:
        (example,) = [b for b in blocks(page) if b.text.startswith("# ")]
        exec(example.text, found)  # noqa: S102 - the page's own example
    assert set(found["OBC_AI"]) == set(KEYS)
    with override_settings(OBC_AI=found["OBC_AI"]):
        assert find_errors() == []
