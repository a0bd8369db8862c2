"""The reference names everything public, with the signatures of the code."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps

from django_obc_ai import exceptions, services, testing, types
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.types import chat
from tests.docs.markdown import DOCS, blocks, headings, names, section, table_rows

REFERENCE = DOCS / "reference"
API, SEARCH, COSTS, JOBS, CHAT, TYPES, ERRORS, TESTING, MODELS = (
    REFERENCE / f"{name}.md"
    for name in (
        "public-api",
        "search-api",
        "costs-api",
        "jobs",
        "chat",
        "types",
        "errors",
        "testing",
        "models",
    )
)
#: Without an underscore because other layers call them, and not for projects.
INTERNAL = {
    "AsyncSearching",
    "ChunkFigures",
    "Pace",
    "QueryVectors",
    "Tally",
    "Writing",
    "check_disk",
    "embedding_of",
    "figures_of",
    "is_alone",
    "expand",
    "filtered",
    "Wanted",
    "look_at",
    "Part",
    "ask_once",
    "Ask",
    "Turn",
    "write_ask",
    "find_answer",
    "key_of",
    "owned_by",
    "unknown_conversation",
    "unknown_job",
    "open_log",
    "ChatText",
    "find",
    "Submitting",
    "Verifying",
    "left_over_of",
    "take_up_left_overs",
    "claimed",
    "claimed_once",
    "has_workers",
    "is_claimed",
    "load_prompts",
    "outcome_of",
    "worker_name",
    "wait_for_sweeps",
    "mark_dependents",
    "mark_keys",
    "is_watched",
    "names_of",
    "result_of",
    "scope_of",
    "unconfigured",
    "without_call",
    "renew_recall",
    "begin_turn",
    "noted",
    "turn_span",
    "Owner",
    "Owners",
    "OldContentType",
    "OldEmbedding",
    "OldOperation",
    "batches_of",
    "check_tables",
    "import_conversations",
}


#: The same of whole modules: what the admin is made of.
INTERNAL_MODULES = {
    "attention",
    "background",
    "explanation",
    "figures",
    "index_requests",
    "job_running",
    "index_tasks",
    "limits",
    "metrics",
    "rollups",
    "tally",
    "upkeep",
    "web_chat",
    "workers",
}


def _public_of_services() -> Iterator[tuple[str, Any]]:
    for module in pkgutil.iter_modules(services.__path__, f"{services.__name__}."):
        name = module.name.rpartition(".")[2]
        if name.startswith("_") or name in INTERNAL_MODULES:
            continue
        loaded = importlib.import_module(module.name)
        for name, found in vars(loaded).items():
            home = getattr(found, "__module__", "") or ""
            is_made_here = home == module.name or home.startswith(f"{services.__name__}._")
            if is_made_here and not name.startswith("_") and name not in INTERNAL:
                yield name, found


PUBLIC_SERVICES = dict(_public_of_services())


def _named(text: str) -> set[str]:
    """The names that stand between backticks or are declared in a code block of a page."""
    found = {word for each in names(text) for word in re.findall(r"\w+", each)}
    return found | set(re.findall(r"^\s*(?:async )?(?:def|class) (\w+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", PUBLIC_SERVICES)
def test_services_are_documented(name: str) -> None:
    wanted = {name}
    if inspect.isclass(PUBLIC_SERVICES[name]):
        wanted |= {each for each in vars(PUBLIC_SERVICES[name]) if not each.startswith("_")}
    assert wanted <= _named("".join(page.read_text() for page in (API, SEARCH, COSTS, JOBS, CHAT)))


def _declared() -> Iterator[tuple[str, Any, Any]]:
    """Every function that a code block declares: its name, the declared and the real one."""
    for page in (API, SEARCH, COSTS, JOBS, CHAT, TESTING):
        for block in blocks(page):
            if block.language != "python":
                continue
            module = importlib.import_module(block.text.splitlines()[0].removeprefix("# "))
            place = module.__name__.partition(".")[2]
            declared: dict[str, Any] = {}
            exec(f"from __future__ import annotations\n{block.text}", declared)  # noqa: S102
            for name, found in declared.items():
                if inspect.isclass(found):
                    for method, each in vars(found).items():
                        if inspect.isfunction(each):
                            real = getattr(getattr(module, name), method)
                            yield f"{place}.{name}.{method}", each, real
                elif inspect.isfunction(found):
                    yield f"{place}.{name}", found, getattr(module, name)


@pytest.mark.parametrize(
    ("declared", "real"), [pytest.param(*each, id=name) for name, *each in _declared()]
)
def test_signatures_are_those_of_the_code(declared: Any, real: Any) -> None:
    assert inspect.iscoroutinefunction(declared) == inspect.iscoroutinefunction(real)
    wanted, actual = inspect.signature(declared), inspect.signature(real)
    if actual.return_annotation is None:  # what dataclasses write themselves
        actual = actual.replace(return_annotation="None")
    assert wanted == actual


def test_types_are_documented_with_their_fields() -> None:
    rows = {names(row[0])[0]: row for row in table_rows(TYPES.read_text()) if names(row[0])}
    assert set(types.__all__) <= _named(TYPES.read_text())
    for name in types.__all__:
        found = getattr(types, name)
        if dataclasses.is_dataclass(found):
            assert names(rows[name][1]) == [f.name for f in dataclasses.fields(found)], name


def test_every_field_of_a_result_is_explained() -> None:
    explained = {names(row[0])[0] for row in table_rows(section(TYPES, "For projects"))}
    assert {f.name for f in dataclasses.fields(types.GenerationResult)} <= explained
    explained = {names(row[0])[0] for row in table_rows(section(CHAT, "Types of chat"))}
    assert {f.name for f in dataclasses.fields(chat.ChatAnswer)} <= explained


def test_types_of_chat_are_documented_with_their_fields() -> None:
    rows = {names(row[0])[0]: row for row in table_rows(section(CHAT, "Types of chat"))}
    for name, found in vars(chat).items():
        if dataclasses.is_dataclass(found) and found.__module__ == chat.__name__:
            assert names(rows[name][1]) == [f.name for f in dataclasses.fields(found)], name


def test_errors_are_documented_with_base_code_and_retry() -> None:
    table = table_rows(ERRORS.read_text().partition("## What")[0])
    documented = {names(row[0])[0]: row for row in table}
    raised = {
        name: found
        for name, found in vars(exceptions).items()
        if inspect.isclass(found) and found.__module__ == exceptions.__name__
    }
    assert set(documented) == set(raised)
    for name, error in raised.items():
        _, base, code, retried, _ = documented[name]
        assert names(base) == [error.__base__.__name__], name
        assert names(code) == [error.code], name
        is_retried = not issubclass(error, ConfigurationError) and error.retryable
        assert retried == ("yes" if is_retried else "no"), name


def test_every_error_code_has_somebody_who_deals_with_it() -> None:
    everyones = {
        found.code
        for found in vars(exceptions).values()
        if inspect.isclass(found) and found.__module__ == exceptions.__name__
    }
    rows = table_rows(section(ERRORS, "What to do with a failed result"))
    assert {code for row in rows for code in names(row[0])} == everyones


def test_test_helpers_are_documented() -> None:
    documented = {names(row[0])[0] for row in table_rows(TESTING.read_text())}
    assert documented == set(testing.__all__)


def test_every_page_of_the_reference_is_linked_from_the_public_api() -> None:
    text = API.read_text()
    for page in (JOBS, CHAT, TYPES, ERRORS, TESTING):
        assert f"({page.name})" in text


def test_models_are_documented_with_their_fields() -> None:
    text = MODELS.read_text()
    operation, *others = apps.get_app_config("django_obc_ai").get_models()
    everything = {operation.__name__: operation} | {each.__name__: each for each in others}
    fields = {names(row[0])[0] for row in table_rows(section(MODELS, "`AIOperation`"))}
    assert fields == {f.name for f in everything.pop("AIOperation")._meta.fields}
    rows = {names(row[0])[0]: row for row in table_rows(text)}
    for name, model in everything.items():
        if name in rows:
            documented = names(rows[name][1])
        else:  # in a sentence: `Name` (`field`, `field`)
            match = re.search(rf"`{name}`\s+\(([^)]*)\)", text)
            assert match, name
            documented = names(match[1])
        assert documented == [f.name for f in model._meta.fields], name


def test_headings_are_unique() -> None:
    for page in (API, SEARCH, COSTS, JOBS, CHAT, TYPES, ERRORS, TESTING, MODELS):
        assert len(headings(page)) == len(set(headings(page))), page.name
