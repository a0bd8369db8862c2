"""Splitting texts: pieces fit, nothing is lost, offsets are right, edits stay local."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_obc_ai.indexes.chunking import (
    MAX_CHARACTERS_PER_TOKEN,
    TextSpan,
    count_characters,
    count_words,
    fits_surely,
    split_text,
)
from django_obc_ai.indexes.text_formats import FORMATS

#: Much white space and many marks, so that every boundary is met.
DENSE = st.text(st.sampled_from(" \n.ab#`-|A1>\t"), max_size=60)
TEXT = st.one_of(DENSE, st.lists(DENSE, max_size=6).map("\n\n".join), st.text(max_size=200))
FORMAT = st.sampled_from(sorted(FORMATS))


def odd_count(texts: Sequence[str]) -> list[int]:
    """A tokenizer whose counts do not add up: pairs of characters, and one more for some."""
    return [-(-len(text) // 2) + (len(text) % 7 == 3) for text in texts]


COUNT = st.sampled_from([count_words, count_characters, odd_count])
SIZES = st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n // 2)))


def split(text: str, limit: int = 10, **options: Any) -> list[str]:
    return [piece.text for piece in split_text(text, limit=limit, **options)]


@given(TEXT, SIZES, COUNT, FORMAT)
def test_pieces_fit_and_hold_the_whole_text(
    text: str, sizes: tuple[int, int], count: Any, text_format: str
) -> None:
    limit, overlap = sizes
    pieces = split_text(text, limit=limit, overlap=overlap, count=count, text_format=text_format)
    covered = 0
    kept = []
    for piece in pieces:
        assert text[piece.start : piece.end] == piece.text == piece.text.strip() != ""
        assert count([piece.text])[0] <= limit or len(piece.text) == 1
        assert len(piece.text) <= limit * MAX_CHARACTERS_PER_TOKEN
        if piece.start < covered:
            assert count is odd_count or count([text[piece.start : covered]])[0] <= overlap
        kept.append(text[max(covered, piece.start) : piece.end])
        assert piece.end > covered
        covered = piece.end
    assert "".join("".join(kept).split()) == "".join(text.split())
    assert [each.start for each in pieces] == sorted({each.start for each in pieces})
    again = split_text(text, limit=limit, overlap=overlap, count=count, text_format=text_format)
    assert again == pieces


@given(TEXT, st.integers(1, 30), COUNT, FORMAT)
def test_a_piece_is_not_split_again(text: str, limit: int, count: Any, text_format: str) -> None:
    for piece in split_text(text, limit=limit, count=count, text_format=text_format):
        if len(piece.text) > 1:
            assert split(piece.text, limit, count=count, text_format=text_format) == [piece.text]


@given(TEXT, st.integers(1, 400))
def test_what_fits_surely_fits(text: str, limit: int) -> None:
    if fits_surely(text, limit):
        assert len(text.encode("utf-8", "replace")) < limit


@pytest.mark.parametrize("text", ["", " ", "\n\n \t\n"])
def test_white_space_alone_has_no_pieces(text: str) -> None:
    assert split_text(text, limit=3) == []


def test_a_text_that_surely_fits_is_not_counted() -> None:
    def count(texts: Sequence[str]) -> list[int]:
        raise AssertionError(texts)

    assert split_text("  Barangay Poblacion, Parañaque\n", limit=60, count=count) == [
        TextSpan(text="Barangay Poblacion, Parañaque", start=2, end=31)
    ]


@pytest.mark.parametrize("overlap", [-1, 6])
def test_sizes_out_of_range_are_refused(overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap"):
        split_text("a", limit=10, overlap=overlap)
    with pytest.raises(ValueError, match="0 tokens"):
        split_text("a", limit=0)
    with pytest.raises(ValueError, match="'prose' is none of"):
        split_text("a", limit=10, text_format="prose")


def test_paragraphs_stay_together_where_they_fit() -> None:
    text = "One two. Three.\n\nFour five six.\n \nSeven eight nine ten."
    assert split(text, 6) == ["One two. Three.\n\nFour five six.", "Seven eight nine ten."]


def test_sentences_stay_together_where_they_fit() -> None:
    text = "One two. Three four! Five six? Seven"
    assert split(text, 2) == ["One two.", "Three four!", "Five six?", "Seven"]


def test_words_are_cut_only_if_they_alone_are_too_long() -> None:
    pieces = split("short " + "x" * 25, 10, count=count_characters)
    assert pieces[0] == "short"
    assert "".join(pieces[1:]) == "x" * 25


def test_accents_and_joined_signs_are_not_torn_apart() -> None:
    family = "\U0001f469\u200d\U0001f469\u200d\U0001f467\ufe0f"
    for piece in split(family * 40, 20, count=count_characters)[:-1]:
        assert piece.startswith("\U0001f469")
    for piece in split("e\u0301" * 40, 9, count=count_characters):
        assert piece.startswith("e")
        assert piece.endswith("\u0301")


def test_overlap_takes_whole_sentences_and_else_words() -> None:
    text = "One two three. Four five. Six seven eight nine. Ten eleven."
    found = split(text, 6, overlap=2)
    assert any(piece.startswith("Four five. Six") for piece in found)
    words = " ".join(f"w{n}" for n in range(40))
    pieces = split_text(words, limit=10, overlap=3)
    for before, after in pairwise(pieces):
        assert len(words[after.start : before.end].split()) == 3


def prose(seed: int, paragraphs: int) -> str:
    chance = random.Random(seed)
    words = "ang barangay of the coast lungsod market fishing sa upland rice road school".split()
    made = []
    for _ in range(paragraphs):
        sentences = (
            " ".join(chance.choices(words, k=chance.randint(4, 20))).capitalize() + "."
            for _ in range(chance.randint(1, 9))
        )
        made.append(" ".join(sentences))
    return "\n\n".join(made)


@pytest.mark.parametrize("overlap", [0, 20])
def test_an_edit_changes_the_pieces_around_it_alone(overlap: int) -> None:
    text = prose(1, 250)
    chance = random.Random(2)
    old = set(split(text, 100, overlap=overlap))
    changed = []
    for _ in range(8):
        place = text.index(" ", chance.randrange(len(text) - 100))
        edited = f"{text[:place]} and something new here{text[place:]}"
        changed.append(len([p for p in split(edited, 100, overlap=overlap) if p not in old]))
    assert len(old) > 100
    assert sum(changed) / len(changed) < 4
    assert max(changed) < 12


HOSTILE = {
    "one word": "a" * 300_000,
    "dots": "." * 300_000,
    "dots apart": ". " * 50_000,
    "one line": "a " * 50_000,
    "white space": "a" + " \n" * 200_000 + "b",
    "closers": (".)" * 9 + " ") * 10_000,
    "quotes": ">" * 200_000,
    "ticks": "`" * 200_000,
    "fences": "```\n" * 30_000,
    "headings": "# \n" * 30_000,
    "underlines": "a\n=\n" * 30_000,
    "rows": "|" * 100_000 + "\n|" * 20_000,
    "accents": "a" + "\u0301" * 100_000,
    "NUL": "\x00 " * 20_000,
    "surrogates": "\ud800 " * 20_000,
    "long letters": "\ufdfa " * 20_000,
    "deep": "".join(" " * n + "x\n" for n in range(600)),
}


@pytest.mark.parametrize("text_format", sorted(FORMATS))
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_cost_counting_in_proportion_to_their_length(
    name: str, text_format: str
) -> None:
    text, counted = HOSTILE[name], 0

    def count(texts: Sequence[str]) -> list[int]:
        nonlocal counted
        counted += sum(map(len, texts))
        return count_words(texts)

    pieces = split_text(text, limit=50, count=count, text_format=text_format)
    assert "".join("".join(piece.text for piece in pieces).split()) == "".join(text.split())
    assert counted < 12 * len(text) + 10_000
    assert len(pieces) < len(text) / 40 + 3
