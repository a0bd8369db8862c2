"""Texts to embed and the vectors that come back, whoever makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django_obc_ai.exceptions import BadResponseError, InvalidRequestError
from django_obc_ai.types import EmbeddingRequest, Usage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def check_texts(request: EmbeddingRequest, limit: int) -> None:
    """Refuse what a service would refuse or misread.

    Raises:
        InvalidRequestError: There are no texts, more than the limit, or one is empty.
    """
    count = len(request.texts)
    if not 1 <= count <= limit:
        raise InvalidRequestError(
            f"One call embeds 1 to {limit} texts, not {count}. Divide them into batches."
        )
    for number, text in enumerate(request.texts):
        if not text.strip():
            raise InvalidRequestError(f"Text {number} of {count} is empty.")


def unit_rows(
    rows: Sequence[Sequence[float] | None], request: EmbeddingRequest, usage: Usage | None
) -> NDArray[np.float32]:
    """Return an embedding's rows as (n, d) float32 of unit length; cut vectors are not.

    Raises:
        BadResponseError: There is not one row per text, or rows differ in length, are empty
            or hold values that are no numbers.
    """
    import numpy as np

    lengths = {len(row or ()) for row in rows}
    if len(rows) != len(request.texts) or len(lengths) != 1 or 0 in lengths:
        raise BadResponseError(
            f"The provider returned {len(rows)} vectors, of {sorted(lengths)} components, for"
            f" {len(request.texts)} texts. None of them is used.",
            usage=usage,
        )
    vectors = np.asarray(rows, dtype=np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(norms).all():
        raise BadResponseError("The provider returned a vector that is no number.", usage=usage)
    np.divide(vectors, norms, out=vectors, where=norms > 0)
    return vectors
