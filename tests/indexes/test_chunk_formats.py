"""Where sentences end, and what Markdown and program text hold together."""

from __future__ import annotations

import argparse
import inspect
import json
from typing import Any

import pytest

from django_obc_ai.checks.indexes import check_indexes
from django_obc_ai.exceptions import ConfigurationError, MissingDependencyError
from django_obc_ai.indexes import VectorIndex, register
from django_obc_ai.indexes._boundaries import SENTENCE, text_cuts
from django_obc_ai.indexes.chunking import count_words, split_text
from django_obc_ai.indexes.registry import unregister
from tests.extras import is_installed, requires
from tests.testapp.models import Place


def sentences(text: str) -> list[str]:
    places = [0, *(at for at, strength in text_cuts(text, 0, len(text)) if strength >= SENTENCE)]
    ends = [*places[1:], len(text)]
    return [text[start:end].strip() for start, end in zip(places, ends, strict=True)]


@pytest.mark.parametrize(
    "whole",
    [
        "Sinabi ni Gng. Santos kay Dr. Reyes ang lahat.",
        "R.A. 11054 created it, as Sec. 3 says (see No. 12, pp. 4 and Art. 5).",
        "Juan P. dela Cruz lives in Brgy. San Isidro, Sta. Maria.",
        "It costs 3.14 or ... perhaps more, e.g. in the U.S. market.",
        '"Ano?" tanong niya. '.strip(),
        "1. First of a list",
        "Wait... what is it",
    ],
)
def test_shortened_words_end_no_sentence(whole: str) -> None:
    assert sentences(whole) == [whole]


@pytest.mark.parametrize(
    "parts",
    [
        ["One.", "Two!", "Three?!", "Four..."],
        ["He said no.", "Then he left (at 5 p.m.)."],
        ["Pumunta siya sa bayan.", "“Saan ka galing?”", "Tahimik siya…", "Umalis na."],
        ["It was 2020.", "Then 2021 came."],
        ["他来了。", "她走了！", "真的？"],
        ["هل تسمع؟", "نعم۔", "إلى اللقاء."],
    ],
)
def test_sentences_end_where_readers_end_them(parts: list[str]) -> None:
    assert sentences(" ".join(parts)) == parts
    if ord(parts[0][0]) > 0x3000:
        assert sentences("".join(parts)) == parts


def test_a_line_is_weaker_than_a_sentence() -> None:
    text = "One two three four\nfive six. Seven eight nine\nten eleven twelve."
    assert [p.text for p in split_text(text, limit=7)] == [
        "One two three four\nfive six.",
        "Seven eight nine\nten eleven twelve.",
    ]


GUIDE = """Guide
=====

{p}

# Fishing

## Licences
### Where to ask

{p}

- {s}
- {s}
  and on

```python
def fee(boat):

    return 5

# Not a heading
```

| town | fee |
| --- | --- |
| Jolo | 5 |
| Upi | 6 |

## Fees

{p}
"""


@pytest.mark.parametrize("limit", [12, 20, 35, 60])
def test_headings_stay_with_what_they_head_and_fences_whole_where_they_fit(limit: int) -> None:
    sentence = "Every boat that is longer than five metres needs one."
    text = GUIDE.format(p=" ".join([sentence] * 4), s=sentence)
    pieces = [p.text for p in split_text(text, limit=limit, text_format="markdown")]
    for piece in pieces:
        last = piece.splitlines()[-1]
        assert not last.startswith(("# F", "## ", "### ")), piece
        assert last != "====="
    (licences,) = [piece for piece in pieces if "## Licences" in piece]
    assert "### Where to ask\n\nEvery" in licences
    if limit >= 20:
        assert any("def fee" in piece and "# Not a heading" in piece for piece in pieces)


def test_sections_are_preferred_to_paragraphs() -> None:
    body = "One two three four five.\n\n"
    text = f"# A\n\n{body * 3}# B\n\n{body * 3}"
    pieces = [p.text for p in split_text(text, limit=22, text_format="markdown")]
    assert [piece[:3] for piece in pieces] == ["# A", "# B"]


CODE = inspect.getsource(json.JSONDecoder) + "\n\n" + inspect.getsource(argparse.Namespace)


@pytest.mark.parametrize("text_format", ["code", "markdown", "text"])
def test_program_text_keeps_its_offsets(text_format: str) -> None:
    text = CODE.replace("decode", "décode→")
    for piece in split_text(text, limit=40, text_format=text_format):
        assert text[piece.start : piece.end] == piece.text


def test_code_is_cut_before_functions() -> None:
    text = "".join(
        f"def f{n}(a, b):\n    c = a + b\n\n    if c:\n        return c\n    return b\n\n\n"
        for n in range(9)
    )
    pieces = [p.text for p in split_text(text, limit=34, text_format="code")]
    assert all(piece.startswith("def ") for piece in pieces)
    assert len(pieces) > 3


def declare(**attributes: Any) -> type[VectorIndex]:
    values = {"name": "declared", "model": Place, "fields": ("name",), **attributes}
    return type("Declared", (VectorIndex,), {**values, "visible_to": lambda s, q, u: q})


@requires("semantic_text_splitter")
@requires("tree_sitter_python")
def test_parsed_code_holds_whole_functions_within_the_limit() -> None:
    index = declare(text_format="code:python", chunk_tokens=60)()
    text = f"# décode →\n{inspect.getsource(argparse.ArgumentParser)}" * 3
    pieces = index.split(text)
    from django_obc_ai.backends.embedders import embedders

    counts = embedders["default"].count_tokens([piece.text for piece in pieces])
    assert max(counts) <= 60
    assert all(text[each.start : each.end] == each.text for each in pieces)
    joined = "".join("".join(each.text.split()) for each in pieces)
    assert joined == "".join(text.split())
    small = index.split("x = 1\n" * 3)
    assert len(small) == 1
    edited = text.replace("# décode", "# decoding, now in other words", 1)
    old = {each.text for each in pieces}
    assert sum(each.text not in old for each in index.split(edited)) < 4


def test_a_language_without_its_package_is_an_error_that_names_it() -> None:
    index = declare(text_format="code:nosuch")
    register(index)
    try:
        (message,) = [
            each for each in check_indexes() if "declared" in str(each) or "nosuch" in str(each)
        ]
        assert message.id == "django_obc_ai.E005"
        assert "pip install" in (message.hint or "")
        has_splitter = is_installed("semantic_text_splitter")
        wanted = "tree-sitter-nosuch" if has_splitter else r"django-obc-ai\[chunking\]"
        with pytest.raises(MissingDependencyError, match=wanted):
            index().split("word " * 1_000)
    finally:
        unregister("declared")


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({"text_format": "markdwon"}, "markdown"),
        ({"text_format": "code:"}, "code:python"),
        ({"text_format": None}, "text"),
        ({"chunk_tokens": 0}, "at least 1"),
        ({"chunk_tokens": "many"}, "at least 1"),
        ({"chunk_tokens": True}, "at least 1"),
        ({"chunk_overlap": -1}, "0 to 200"),
        ({"chunk_overlap": 60, "chunk_tokens": 100}, "0 to 50"),
    ],
)
def test_attributes_that_split_nothing_are_refused(attributes: Any, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        register(declare(**attributes))


def test_words_are_counted_where_there_is_no_embedder() -> None:
    assert count_words(["", "one", " two  words "]) == [0, 1, 2]
