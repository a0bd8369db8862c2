"""The Filipino catalogue is whole, and is what its source says."""

from __future__ import annotations

import ast
import gettext
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.template import RequestContext, Template
from django.test import RequestFactory
from django.utils.translation import gettext as _
from django.utils.translation import override, pgettext
from django.utils.translation.template import templatize

import django_obc_ai

PACKAGE = Path(django_obc_ai.__file__).parent
CATALOGUE = PACKAGE / "locale" / "fil" / "LC_MESSAGES"
CONTEXT = "django_obc_ai chat"
_MOST_WORDS = 3  # of a text that other catalogues may have as well, with another meaning
_ENTRY = re.compile(
    r'(?:msgctxt "(?P<context>[^"]+)"\n)?'
    r'msgid "(?P<id>[^"]+)"\n(?:msgid_plural "(?P<many>[^"]+)"\n)?'
    r'(?P<texts>(?:msgstr(?:\[\d\])? "[^"]*"\n?)+)'
)
_TEXT = r"""u?('{3}|"{3}|'|")"""
_CALL = re.compile(
    rf"""(?:gettext|_) ?\((?:{_TEXT}(?P<context>[^'"]+?)\1, )?{_TEXT}(?P<id>.+?)\3 ?[,)]"""
)
_PLACE = re.compile(r"%\(\w+\)[sd]")
_NAMES = {"_", "gettext", "pgettext"}
Key = tuple[str | None, str]


def _entries() -> dict[Key, list[str]]:
    text = (CATALOGUE / "django.po").read_text(encoding="utf-8")
    return {
        (found["context"], found["id"]): re.findall(r'msgstr(?:\[\d\])? "([^"]*)"', found["texts"])
        for found in _ENTRY.finditer(text)
    }


def _used() -> Iterator[Key]:
    for folder in ("widget", "templatetags"):
        for path in (PACKAGE / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in _NAMES:
                    *context, text = (ast.literal_eval(each) for each in node.args)
                    yield (context[0] if context else None), text
    for path in (PACKAGE / "templates" / "django_obc_ai" / "chat").glob("*.html"):
        source = templatize(path.read_text(encoding="utf-8"))
        yield from ((found["context"], found["id"]) for found in _CALL.finditer(source))


ENTRIES = _entries()


def test_every_text_is_translated_and_none_is_left_over() -> None:
    assert set(_used()) == set(ENTRIES)
    assert all(text for texts in ENTRIES.values() for text in texts)


@pytest.mark.parametrize("key", ENTRIES)
def test_a_translation_has_the_same_places_to_fill_in(key: Key) -> None:
    for translated in ENTRIES[key]:
        assert sorted(_PLACE.findall(translated)) == sorted(_PLACE.findall(key[1]))
        assert '"' not in translated  # some stand in attributes


def test_the_compiled_catalogue_is_the_source() -> None:
    with (CATALOGUE / "django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for (context, text), (first, *others) in ENTRIES.items():
        if context is not None:
            text = f"{context}\x04{text}"
        assert (compiled.ngettext(text, text, 1) if others else compiled.gettext(text)) == first


def test_short_texts_are_not_taken_from_other_catalogues() -> None:
    short = {key for key in ENTRIES if len(key[1].split()) <= _MOST_WORDS}
    assert all(context is not None and context.startswith(CONTEXT) for context, _ in short)
    with override("de"):
        assert pgettext(CONTEXT, "Delete") == "Delete" != _("Delete")


@pytest.mark.parametrize(("active", "lang"), [("fil", "fil"), ("en-gb", "en"), ("ar", "en")])
def test_the_texts_say_in_which_language_they_are(active: str, lang: str) -> None:
    request = RequestFactory().get("/")
    request.user = SimpleNamespace(pk=1, is_authenticated=True)
    template = Template("{% load obc_ai_chat %}{% obc_ai_chat %}")
    with override(active):
        html = template.render(RequestContext(request))
    assert f'lang="{lang}"' in html


def test_the_page_speaks_filipino() -> None:
    with override("fil"):
        assert _("What would you like to know?") == "Ano ang gusto mong malaman?"
