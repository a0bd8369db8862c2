from __future__ import annotations

import pytest

from django_obc_ai.backends.providers import _offline_text as reading
from django_obc_ai.types import Source


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? Four…", ["One.", "Two!", "Three?", "Four…"]),
        ("Near Sto. Niño and Brgy. 5. Next.", ["Near Sto. Niño and Brgy. 5.", "Next."]),
        ("By J. Rizal. Then.", ["By J. Rizal.", "Then."]),
        ("See No. 5 and Art. 3. No. It is not.", ["See No. 5 and Art. 3.", "No.", "It is not."]),
        ("It is approx. two km. Far.", ["It is approx. two km.", "Far."]),
        ('He said "Go." They went.', ['He said "Go."', "They went."]),
        ("First line\n\n- a bullet\n* another", ["First line", "a bullet", "another"]),
        ("مرحبا؟ نعم.", ["مرحبا؟", "نعم."]),
        ("第一。第二！", ["第一。", "第二！"]),  # noqa: RUF001 - full-width marks
        ("Pop. 1,234.5 is right", ["Pop.", "1,234.5 is right"]),
        ("", []),
    ],
)
def test_text_is_split_into_sentences_and_lines(text: str, sentences: list[str]) -> None:
    assert list(reading.split_sentences(text)) == sentences


@pytest.mark.parametrize("joint", ["; ", ", ", " ", ""])
def test_overlong_sentence_is_quoted_in_parts(joint: str) -> None:
    text = joint.join(["word" * 5] * 60)
    parts = list(reading.split_sentences(text))
    assert all(0 < len(part) <= reading.MAX_PASSAGE_CHARACTERS for part in parts)
    assert "".join(parts).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(
    ("word", "singular"),
    [
        ("barangays", "barangay"),
        ("communities", "community"),
        ("boxes", "box"),
        ("classes", "class"),
        ("churches", "church"),
        ("class", "class"),
        ("bus", "bus"),
        ("gas", "gas"),
    ],
)
def test_plurals_are_folded(word: str, singular: str) -> None:
    assert reading.stem(word) == singular


def test_words_of_an_answer_join_to_it() -> None:
    for text in ("", " ", " a b\n\nc ", "one"):
        assert "".join(reading.split_words(text)) == text


def test_rarer_words_and_neighbouring_words_weigh_more() -> None:
    passages = reading.split_passages(
        [
            Source(text="Lanao has a school in the north of Sur"),
            Source(text="Lanao Sur school"),
            Source(text="school school seaweed"),
            Source(text="school"),
        ]
    )
    best = reading.rank(reading.read_terms("school in Lanao Sur"), passages)
    assert [each.passage.number for each in best] == [2, 1, 3, 4]
    assert reading.rank(reading.read_terms("school seaweed"), passages)[0].passage.number == 3
    assert reading.rank(["absent"], passages) == []
