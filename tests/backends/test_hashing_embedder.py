"""The lexical embedder: what it matches, and what its fitted weights change."""

from __future__ import annotations

import numpy as np
import pytest
from django.test import SimpleTestCase
from hypothesis import given
from hypothesis import strategies as st

from django_obc_ai.backends.embedders import BaseEmbedder
from django_obc_ai.backends.embedders.hashing import MINIMUM_DIMENSION, HashingEmbedder
from django_obc_ai.exceptions import DimensionMismatchError
from django_obc_ai.testing import EmbedderContract

NAMES = ["Poblacion", "Malingao", "Talitay", "Kapatagan", "Bongao", "Sapa", "Lamion", "Panglima"]
CORPUS = [f"Barangay {name} {number}" for name in NAMES for number in range(25)]


class DefaultHashingEmbedderTests(EmbedderContract, SimpleTestCase):
    def make_embedder(self) -> BaseEmbedder:
        return HashingEmbedder()


class WideHashingEmbedderTests(EmbedderContract, SimpleTestCase):
    def make_embedder(self) -> BaseEmbedder:
        return HashingEmbedder(dimension=3_000)


def cosine(first: str, second: str, state: bytes = b"") -> float:
    one, other = HashingEmbedder().embed_documents([first, second], state=state)
    return float(one @ other)


@pytest.mark.parametrize("dimension", [MINIMUM_DIMENSION - 1, 0, -1_024, 10**9])
def test_a_dimension_out_of_range_is_refused(dimension: int) -> None:
    with pytest.raises(ValueError, match=f"dimension {dimension} is "):
        HashingEmbedder(dimension=dimension)


def test_the_smallest_dimension_is_the_default() -> None:
    assert HashingEmbedder().dimension == MINIMUM_DIMENSION == 1_024


def test_the_identity_names_the_dimension() -> None:
    identities = {HashingEmbedder(dimension=size).identity for size in (1_024, 1_025, 2_048)}
    assert len(identities) == 3


def test_it_says_that_it_is_lexical_and_fitted() -> None:
    assert HashingEmbedder.is_lexical
    assert HashingEmbedder.is_fitted


def test_fitted_weights_lower_what_common_words_count() -> None:
    state = HashingEmbedder().fit(CORPUS)
    first, second = "Barangay Poblacion", "Barangay Talitay"
    assert cosine(first, second, state) < cosine(first, second) / 2
    assert cosine(first, "Poblacion", state) > cosine(first, "Poblacion")
    assert cosine("Poblacion", first, state) > cosine("Barangay", first, state)


def test_an_empty_corpus_fits_nothing() -> None:
    assert HashingEmbedder().fit([]) == b""
    assert HashingEmbedder().fit(iter(())) == b""


def test_a_corpus_is_read_once_and_lazily() -> None:
    texts = iter(CORPUS)
    assert HashingEmbedder().fit(texts) == HashingEmbedder().fit(CORPUS)
    assert list(texts) == []


def test_a_state_of_another_form_is_refused() -> None:
    for size in (1, MINIMUM_DIMENSION + 1):
        state = np.ones(size, dtype="<f4").tobytes()
        with pytest.raises(DimensionMismatchError, match="rebuild_vector_index"):
            HashingEmbedder().embed_documents(["Poblacion"], state=state)


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("Peñablanca", "penablanca"),
        ("Datu Odin Sinsuat", "DATU ODIN SINSUAT"),
        ("Ma'guindanáo", "ma'guindanao"),
        ("Pen\u0303ablanca", "Peñablanca"),  # the same letters, composed otherwise
        ("Straße", "STRASSE"),
        ("\uff21\uff22\uff23", "abc"),  # full-width letters
    ],
)
def test_accents_case_and_forms_of_letters_fold(written: str, folded: str) -> None:
    assert cosine(written, folded) == pytest.approx(1.0)


def test_a_misspelt_name_is_nearer_than_another_name() -> None:
    assert cosine("Maguindanao", "Magindanao") > 0.3
    assert cosine("Maguindanao", "Magindanao") > 3 * abs(cosine("Maguindanao", "Zamboanga"))


def test_other_words_for_the_same_thing_do_not_match() -> None:
    embedder = HashingEmbedder()
    assert cosine("mangingisda", "fisherman") < embedder.minimum_similarity


def test_unrelated_texts_stay_below_the_least_similarity() -> None:
    vectors = HashingEmbedder().embed_documents(NAMES)
    scores = (vectors @ vectors.T)[~np.eye(len(NAMES), dtype=bool)]
    assert scores.max() < HashingEmbedder.minimum_similarity


@pytest.mark.parametrize("text", ["", "   \n\t", "!?… —", "()[]"])
def test_a_text_without_words_is_a_zero_vector(text: str) -> None:
    state = HashingEmbedder().fit(CORPUS)
    assert not HashingEmbedder().embed_documents([text], state=state).any()


def test_word_order_and_repetition_matter_little() -> None:
    assert cosine("Poblacion Marawi", "Marawi Poblacion") == pytest.approx(1.0)
    assert cosine("rice rice rice fish", "rice fish") > 0.8


@given(st.lists(st.text(max_size=60), max_size=6), st.booleans())
def test_every_row_has_unit_length_or_is_zero(texts: list[str], is_fitted: bool) -> None:
    embedder = HashingEmbedder()
    vectors = embedder.embed_documents(texts, state=embedder.fit(texts) if is_fitted else b"")
    assert vectors.shape == (len(texts), 1_024)
    assert vectors.dtype == np.float32
    for length in np.linalg.norm(vectors, axis=1):
        assert length == pytest.approx(1.0, abs=1e-5) or length == 0.0
