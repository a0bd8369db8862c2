"""The Filipino catalogue is whole, and is what its source says."""

from __future__ import annotations

import ast
import gettext
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils.translation import gettext as _
from django.utils.translation import override
from django.utils.translation.template import templatize

import django_obc_ai

PACKAGE = Path(django_obc_ai.__file__).parent
CATALOGUE = PACKAGE / "locale" / "fil" / "LC_MESSAGES"
_ENTRY = re.compile(
    r'msgid "(?P<id>[^"]+)"\n(?:msgid_plural "(?P<many>[^"]+)"\n)?'
    r'(?P<texts>(?:msgstr(?:\[\d\])? "[^"]*"\n?)+)'
)
_CALL = re.compile(r"""(?:gettext|_) ?\(u?('{3}|"{3}|'|")(?P<id>.+?)\1 ?[,)]""")
_PLACE = re.compile(r"%\(\w+\)[sd]")
_NAMES = {"_", "gettext", "gettext_lazy"}


def _entries() -> dict[str, list[str]]:
    text = (CATALOGUE / "django.po").read_text(encoding="utf-8")
    return {
        found["id"]: re.findall(r'msgstr(?:\[\d\])? "([^"]*)"', found["texts"])
        for found in _ENTRY.finditer(text)
    }


def _used() -> Iterator[str]:
    for folder in ("widget", "templatetags"):
        for path in (PACKAGE / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in _NAMES:
                    yield ast.literal_eval(node.args[0])
    for path in (PACKAGE / "templates" / "django_obc_ai" / "chat").glob("*.html"):
        source = templatize(path.read_text(encoding="utf-8"))
        yield from (found["id"] for found in _CALL.finditer(source))


ENTRIES = _entries()


def test_every_text_is_translated_and_none_is_left_over() -> None:
    assert set(_used()) == set(ENTRIES)
    assert all(text for texts in ENTRIES.values() for text in texts)


@pytest.mark.parametrize("text", ENTRIES)
def test_a_translation_has_the_same_places_to_fill_in(text: str) -> None:
    for translated in ENTRIES[text]:
        assert sorted(_PLACE.findall(translated)) == sorted(_PLACE.findall(text))
        assert '"' not in translated  # some stand in attributes


def test_the_compiled_catalogue_is_the_source() -> None:
    with (CATALOGUE / "django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for text, (first, *_others) in ENTRIES.items():
        found = compiled.ngettext(text, text, 1) if _others else compiled.gettext(text)
        assert found == first


def test_the_page_speaks_filipino() -> None:
    with override("fil"):
        assert _("What would you like to know?") == "Ano ang gusto mong malaman?"
