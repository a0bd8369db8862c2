"""Splitting texts: pieces fit, nothing is lost, and what belongs together stays together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_obc_ai.indexes.chunking import MAX_CHUNK_CHARACTERS, split_text

#: Much white space and many ends of sentences, so that every boundary is met.
DENSE = st.text(st.sampled_from(" \n.ab"), max_size=40)
TEXT = st.one_of(DENSE, st.lists(DENSE, max_size=6).map("\n\n".join), st.text(max_size=200))
LIMIT = st.integers(1, 30)


def solid(text: str) -> str:
    return "".join(text.split())


@given(TEXT, LIMIT)
def test_no_piece_is_longer_than_the_limit_or_empty(text: str, limit: int) -> None:
    for piece in split_text(text, limit):
        assert 0 < len(piece) <= limit


@given(TEXT, LIMIT)
def test_all_but_white_space_is_kept_in_order(text: str, limit: int) -> None:
    assert solid("".join(split_text(text, limit))) == solid(text)


@given(TEXT, LIMIT)
def test_pieces_have_no_white_space_at_their_ends(text: str, limit: int) -> None:
    for piece in split_text(text, limit):
        assert piece == piece.strip()


@given(TEXT, LIMIT)
def test_pieces_stand_in_the_text_as_they_are(text: str, limit: int) -> None:
    at = 0
    for piece in split_text(text, limit):
        at = text.index(piece, at) + len(piece)


@given(TEXT, LIMIT)
def test_a_piece_is_not_split_again(text: str, limit: int) -> None:
    for piece in split_text(text, limit):
        assert split_text(piece, limit) == [piece]


@given(TEXT)
def test_a_text_that_fits_is_one_piece(text: str) -> None:
    assert split_text(text, max(1, len(text))) == ([text.strip()] if text.strip() else [])


@pytest.mark.parametrize("text", ["", " ", "\n\n \t\n"])
def test_white_space_alone_has_no_pieces(text: str) -> None:
    assert split_text(text, 3) == []


def test_paragraphs_stay_together_where_they_fit() -> None:
    text = "One two.\n\nThree four.\n \nFive six seven eight."
    assert split_text(text, 25) == ["One two.\n\nThree four.", "Five six seven eight."]


def test_sentences_stay_together_where_they_fit() -> None:
    text = "One two. Three four! Five six? Seven"
    assert split_text(text, 20) == ["One two. Three four!", "Five six? Seven"]
    assert split_text(text, 11) == ["One two.", "Three four!", "Five six?", "Seven"]


def test_lines_end_sentences() -> None:
    assert split_text("first line\nsecond line", 12) == ["first line", "second line"]


def test_a_point_inside_a_word_ends_nothing() -> None:
    assert split_text("RA 11054 sec. 3.14 of it", 20) == ["RA 11054 sec.", "3.14 of it"]


def test_words_are_cut_only_if_they_alone_are_too_long() -> None:
    assert split_text("short " + "x" * 25, 10) == ["short", "x" * 10, "x" * 10, "x" * 5]


def test_long_text_uses_the_shipped_limit() -> None:
    pieces = split_text("barangay " * 1_000)
    assert len(pieces) == 5
    assert all(len(piece) <= MAX_CHUNK_CHARACTERS for piece in pieces)


def test_a_long_text_is_split_in_reasonable_time_at_any_limit() -> None:
    text = "word " * 100_000
    assert len(split_text(text, 10)) == 50_000
    assert len(split_text(text.replace(" ", ""), 10)) == 40_000
