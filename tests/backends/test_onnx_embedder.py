"""The ONNX embedder computes what the model's mathematics say, and takes no other model."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.test import SimpleTestCase

from django_obc_ai.backends.embedders import BaseEmbedder
from django_obc_ai.backends.embedders.onnx import OnnxEmbedder
from django_obc_ai.exceptions import BadResponseError, ConfigurationError
from django_obc_ai.testing import EmbedderContract
from tests.backends import onnx_models as models
from tests.extras import requires
from tests.subprocesses import run_python

pytestmark = [requires("onnxruntime"), requires("tokenizers"), requires("onnx")]

TEXTS = [
    "Barangay Poblacion, Marawi City", "rice", "Where is the coastal fishing village?",
    "mountain coffee farm : lungsod ng Cotabato, pamilihan", "quite unknown words",
]  # fmt: skip
WEIGHTS = models.make_weights()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save(tmp_path_factory.mktemp("onnx"), WEIGHTS)


@requires("onnxruntime")
@requires("tokenizers")
@requires("onnx")
class OnnxEmbedderTests(EmbedderContract, SimpleTestCase):
    pooling = "mean"

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.folder = models.save(
            Path(tempfile.mkdtemp()), WEIGHTS, is_pooled=cls.pooling == "model"
        )
        cls.addClassCleanup(shutil.rmtree, cls.folder)

    def make_embedder(self) -> BaseEmbedder:
        return OnnxEmbedder(path=self.folder, pooling=self.pooling, threads=1)


class ClsOnnxEmbedderTests(OnnxEmbedderTests):
    pooling = "cls"


class PooledOnnxEmbedderTests(OnnxEmbedderTests):
    pooling = "model"


def ids_of(text: str) -> list[int]:
    return list(models.make_tokenizer().encode(text).ids)


def by_numpy(text: str, pooling: str) -> Any:
    states = models.forward(WEIGHTS, ids_of(text))
    return models.unit(states.mean(axis=0) if pooling == "mean" else states[0])


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_are_those_of_the_forward_pass_in_numpy(folder: Path, pooling: str) -> None:
    found = OnnxEmbedder(path=folder, pooling=pooling).embed_documents(TEXTS)
    wanted = np.array([by_numpy(text, pooling) for text in TEXTS])
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_vector_that_the_model_pools_itself_is_taken_as_it_is(tmp_path: Path) -> None:
    embedder = OnnxEmbedder(path=models.save(tmp_path, WEIGHTS, is_pooled=True), pooling="model")
    wanted = np.array([by_numpy(text, "cls") for text in TEXTS])
    np.testing.assert_allclose(embedder.embed_documents(TEXTS), wanted, atol=1e-5)


def test_prefixes_are_put_before_queries_and_documents(folder: Path) -> None:
    embedder = OnnxEmbedder(path=str(folder), query_prefix="query: ", document_prefix="passage: ")
    wanted = [by_numpy("query: rice", "mean"), by_numpy("passage: rice", "mean")]
    found = [embedder.embed_queries(["rice"])[0], embedder.embed_documents(["rice"])[0]]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_long_text_is_cut(folder: Path) -> None:
    embedder = OnnxEmbedder(path=folder, max_tokens=6)
    long = "rice farm village coffee " * 2_000
    # Two of the six tokens are those around the text.
    wanted = embedder.embed_documents(["rice farm village coffee"])
    np.testing.assert_allclose(embedder.embed_documents([long]), wanted, atol=1e-5)


def test_more_texts_than_a_batch_keep_their_order(folder: Path) -> None:
    texts = [" ".join(models.WORDS[4 + n % 9 :][: 1 + n % 7]) for n in range(100)]
    found = OnnxEmbedder(path=folder).embed_documents(texts)
    wanted = np.array([by_numpy(text, "mean") for text in texts])
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("integer", ["INT64", "INT32"])
def test_the_dimension_is_the_models_even_if_it_does_not_say_it(
    tmp_path: Path, integer: str
) -> None:
    folder = models.save(tmp_path, WEIGHTS, is_open=True, integer=integer)
    embedder = OnnxEmbedder(path=folder)
    assert embedder.dimension == models.SIZE
    np.testing.assert_allclose(
        embedder.embed_documents(["rice"])[0], by_numpy("rice", "mean"), atol=1e-5
    )


def test_a_quantized_model_sees_each_text_alone(folder: Path, tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    quantization.quantize_dynamic(folder / "model.onnx", tmp_path / "model.onnx")
    shutil.copy(folder / "tokenizer.json", tmp_path)
    embedder = OnnxEmbedder(path=tmp_path)
    together = embedder.embed_documents(TEXTS)
    alone = np.concatenate([embedder.embed_documents([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    exact = OnnxEmbedder(path=folder).embed_documents(TEXTS)
    assert (together * exact).sum(axis=1).min() > 0.95


def test_the_identity_follows_contents_and_options_and_not_the_path(
    folder: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(folder, tmp_path / "moved")
    other = models.save(tmp_path / "other", models.make_weights(8))
    spoken = shutil.copytree(folder, tmp_path / "spoken")
    (spoken / "tokenizer.json").write_text((spoken / "tokenizer.json").read_text() + "\n")
    beside = shutil.copytree(folder, tmp_path / "beside")
    (beside / "model.onnx_data").write_bytes(b"weights")
    same = OnnxEmbedder(path=folder).identity
    assert OnnxEmbedder(path=moved, threads=1, minimum_similarity=0.5).identity == same
    different = [
        OnnxEmbedder(path=other),
        OnnxEmbedder(path=spoken),
        OnnxEmbedder(path=beside),
        OnnxEmbedder(path=folder, pooling="cls"),
        OnnxEmbedder(path=folder, max_tokens=100),
        OnnxEmbedder(path=folder, query_prefix="query: "),
        OnnxEmbedder(path=folder, document_prefix="query: "),
    ]
    assert len({same, *(each.identity for each in different)}) == 8
    assert str(folder) not in same


def test_a_file_of_another_hash_is_refused_before_it_runs(folder: Path, tmp_path: Path) -> None:
    right = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert OnnxEmbedder(path=folder, sha256=right.upper()).embed_documents(["rice"]).any()
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    (damaged / "model.onnx").write_bytes(b"no model at all")
    for use in (lambda e: e.identity, lambda e: e.dimension, lambda e: e.embed_queries(["rice"])):
        with pytest.raises(ConfigurationError, match="SHA-256"):
            use(OnnxEmbedder(path=damaged, sha256=right))


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_missing_or_broken_file_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    assert OnnxEmbedder(path=folder).check("x") == []
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / name).write_text("{}")
    with pytest.raises(ConfigurationError, match="whole"):
        OnnxEmbedder(path=copy).embed_documents(["rice"])
    (copy / name).unlink()
    embedder = OnnxEmbedder(path=copy)
    with pytest.raises(ConfigurationError, match=rf"OBC_AI.*lacks {name}"):
        embedder.check("OBC_AI['EMBEDDERS']['default']")
    with pytest.raises(ConfigurationError, match=name):
        embedder.embed_documents(["rice"])


def test_a_model_of_another_form_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no output of rank 2"):
        _ = OnnxEmbedder(path=folder, pooling="model").dimension
    inputs = ("input_ids", "attention_mask", "pixels")
    with pytest.raises(ConfigurationError, match="asks for pixels"):
        _ = OnnxEmbedder(path=models.save(tmp_path, WEIGHTS, inputs=inputs)).dimension


def test_a_model_that_fails_is_a_failure_of_ours(folder: Path) -> None:
    # More tokens than the model has positions for.
    with pytest.raises(BadResponseError, match="failed with") as caught:
        OnnxEmbedder(path=folder).embed_documents(["rice " * 100])
    assert not caught.value.retryable
    assert "rice" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "path is empty"),
        ({"path": "x", "pooling": "max"}, "mean, cls, model"),
        ({"path": "x", "max_tokens": 0}, "max_tokens"),
        ({"path": "x", "threads": -1}, "threads"),
        ({"path": "x", "minimum_similarity": 2}, "minimum_similarity"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OnnxEmbedder(**options)


def test_a_forked_process_embeds_the_same(folder: Path) -> None:
    script = f"""
import os
from django_obc_ai.backends.embedders.onnx import OnnxEmbedder
embedder = OnnxEmbedder(path={str(folder)!r}, threads=2)
mine = embedder.embed_documents(["rice", "coffee farm"])
pid = os.fork()
if pid == 0:
    os._exit(0 if (embedder.embed_documents(["rice", "coffee farm"]) == mine).all() else 1)
print("child", os.waitpid(pid, 0)[1])
"""
    done = run_python(["-W", "ignore", "-c", script], cwd=folder)
    assert done.stdout.strip() == "child 0"
