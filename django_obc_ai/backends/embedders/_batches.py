"""Texts to batches and back: what every embedder that asks a model has to get right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from django_obc_ai.exceptions import BadResponseError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def clean(text: str) -> str:
    """Return the text without what C strings and UTF-8 cannot hold: NUL and lone surrogates."""
    return text.replace("\x00", " ").encode("utf-8", "replace").decode("utf-8")


def embed_in_batches(
    texts: Sequence[str],
    embed: Callable[[list[str]], NDArray[np.float32]],
    *,
    dimension: int,
    batch_size: int,
    by_length: bool = False,
) -> NDArray[np.float32]:
    """Embed texts a batch at a time, in their order; blank ones get a zero vector.

    Args:
        texts: n texts.
        embed: Takes one batch, of which no text is blank, and returns a vector for each.
        dimension: Components that each vector must have.
        batch_size: Texts a batch, at least 1.
        by_length: Put texts of like length together, for models that pad to the longest.

    Returns:
        (n, dimension) float32, rows L2-normalised or zero.

    Raises:
        BadResponseError: A batch came back with another number or size of vectors, or with
            values that are no numbers.
    """
    rows = [row for row, text in enumerate(texts) if text.strip()]
    if by_length:
        rows.sort(key=lambda row: len(texts[row]))
    vectors = np.zeros((len(texts), dimension), dtype=np.float32)
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        found = np.asarray(embed([texts[row] for row in batch]), dtype=np.float32)
        if found.shape != (len(batch), dimension):
            raise BadResponseError(
                f"{len(batch)} texts were embedded into {found.shape}, not"
                f" ({len(batch)}, {dimension}). None of them is used."
            )
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        if not np.isfinite(lengths).all():
            raise BadResponseError("A text was embedded into values that are no numbers.")
        vectors[batch] = np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 0)
    return vectors
