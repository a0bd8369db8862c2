"""The page about the chat page says what code, templates and style sheet hold."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

import django_obc_ai
from django_obc_ai.templatetags import obc_ai_chat
from django_obc_ai.widget import shown
from tests.docs.markdown import DOCS, names, section, table_rows
from tests.extras import requires

PAGE = DOCS / "reference" / "chat-page.md"
PACKAGE = Path(django_obc_ai.__file__).parent
TEMPLATES = PACKAGE / "templates" / "django_obc_ai" / "chat"
SHOWN = {
    name: kind
    for name, kind in vars(shown).items()
    if dataclasses.is_dataclass(kind) and kind.__module__ == shown.__name__
}


def _first(heading: str) -> list[str]:
    return [names(row[0])[0] for row in table_rows(section(PAGE, heading))]


def test_every_argument_of_the_tag_is_told() -> None:
    parameters = inspect.signature(obc_ai_chat.obc_ai_chat).parameters.values()
    wanted = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    assert _first("The tag") == wanted


@requires("nh3")
def test_every_address_is_told() -> None:
    from django_obc_ai.widget.urls import urlpatterns

    told = [
        (names(row[0])[0], (names(row[1]) or [""])[0])
        for row in table_rows(section(PAGE, "Addresses"))
    ]
    assert told == [(each.name, str(each.pattern)) for each in urlpatterns]


def test_every_template_is_told() -> None:
    assert sorted(_first("Templates")) == sorted(path.name for path in TEMPLATES.glob("*.html"))


@pytest.mark.parametrize("name", SHOWN)
def test_what_templates_are_given_is_told(name: str) -> None:
    rows = {names(row[0])[0]: names(row[1]) for row in table_rows(section(PAGE, "What they hold"))}
    assert set(rows) == set(SHOWN)
    properties = [key for key, each in vars(SHOWN[name]).items() if isinstance(each, property)]
    fields = [each.name for each in dataclasses.fields(SHOWN[name])]
    assert rows[name] == fields + properties


def test_the_context_of_the_page_is_told() -> None:
    source = inspect.getsource(__import__("django_obc_ai.widget.views", fromlist=["_page"])._page)
    keys = re.findall(r'^        "(\w+)":', source, re.MULTILINE)
    assert _first("The context of the page") == keys


def test_every_variable_is_told() -> None:
    style = (PACKAGE / "static" / "django_obc_ai" / "chat.css").read_text()
    used = set(re.findall(r"var\((--obc-ai-[a-z-]+)", style))
    assert set(_first("CSS variables")) == used


def test_every_event_is_told() -> None:
    from django_obc_ai.web import event_stream
    from django_obc_ai.widget import teller

    sources = inspect.getsource(teller) + inspect.getsource(event_stream)
    assert set(_first("Events")) == set(re.findall(r'write_event\(\s*"(\w+)"', sources))
