"""A vector store that keeps each index in one file, so that a new process starts warm."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import secrets
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np

from django_obc_ai.backends.vector_stores import BaseVectorStore
from django_obc_ai.exceptions import DimensionMismatchError, IndexNotReadyError
from django_obc_ai.types import ReplicaState, SearchHit

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    """One immutable moment of an index: a search that holds it is never disturbed.

    Attributes:
        ids: (n,) int64.
        vectors: (n, d) float32.
    """

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    state: ReplicaState


class FileVectorStore(BaseVectorStore):
    """Exact search in memory, saved after every change."""

    is_persistent = True

    def __init__(self, *, path: str | Path) -> None:
        """Keep the folder; files are read at the first use."""
        self.path = str(path)
        self._folder = Path(path)
        self._moments: dict[str, _Moment] = {}
        self._lock = threading.RLock()

    def state(self, index: str) -> ReplicaState | None:
        """See `BaseVectorStore.state`."""
        moment = self._find(index)
        return None if moment is None else moment.state

    def reset(
        self,
        index: str,
        *,
        dimension: int,
        batches: Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]],
        state: ReplicaState,
    ) -> None:
        """See `BaseVectorStore.reset`."""
        ids = [np.empty(0, dtype=np.int64)]
        vectors = [np.empty((0, dimension), dtype=np.float32)]
        for batch_ids, batch_vectors in batches:
            _check(index, batch_vectors, dimension)
            ids.append(np.asarray(batch_ids, dtype=np.int64))
            vectors.append(batch_vectors)
        moment = _Moment(ids=np.concatenate(ids), vectors=np.concatenate(vectors), state=state)
        with self._lock:
            self._keep(index, moment)

    def apply(
        self,
        index: str,
        *,
        ids: NDArray[np.int64],
        vectors: NDArray[np.float32],
        removed: Sequence[int],
        state: ReplicaState,
    ) -> None:
        """See `BaseVectorStore.apply`."""
        with self._lock:
            old = self._held(index)
            _check(index, vectors, old.vectors.shape[1])
            gone = np.asarray(removed, dtype=np.int64)
            stays = ~np.isin(old.ids, np.concatenate([gone, ids]))
            comes = ~np.isin(ids, gone)
            self._keep(
                index,
                _Moment(
                    ids=np.concatenate([old.ids[stays], ids[comes]]),
                    vectors=np.concatenate([old.vectors[stays], vectors[comes]]),
                    state=state,
                ),
            )

    def search(
        self,
        index: str,
        vectors: NDArray[np.float32],
        k: int,
        allowed_ids: Sequence[int] | NDArray[np.int64] | None = None,
        *,
        is_exact: bool = True,
    ) -> list[list[SearchHit]]:
        """See `BaseVectorStore.search`."""
        moment = self._held(index)
        _check(index, vectors, moment.vectors.shape[1])
        ids, matrix = moment.ids, moment.vectors
        if allowed_ids is not None:
            is_allowed = np.isin(ids, np.asarray(allowed_ids, dtype=np.int64))
            ids, matrix = ids[is_allowed], matrix[is_allowed]
        found = []
        for scores in np.clip(vectors @ matrix.T, -1.0, 1.0):
            best = np.lexsort((ids, -scores))[:k]
            found.append([SearchHit(id=int(ids[i]), score=float(scores[i])) for i in best])
        return found

    def count(self, index: str) -> int:
        """See `BaseVectorStore.count`."""
        moment = self._find(index)
        return 0 if moment is None else len(moment.ids)

    def drop(self, index: str) -> None:
        """See `BaseVectorStore.drop`."""
        with self._lock:
            self._moments.pop(index, None)
            self._file(index).unlink(missing_ok=True)

    def _held(self, index: str) -> _Moment:
        moment = self._find(index)
        if moment is None:
            raise IndexNotReadyError(f"The vector store does not hold the index {index!r}.")
        return moment

    def _find(self, index: str) -> _Moment | None:
        moment = self._moments.get(index)
        if moment is None:
            with self._lock:
                moment = self._moments.get(index) or _load(self._file(index))
                if moment is not None:
                    self._moments[index] = moment
        return moment

    def _keep(self, index: str, moment: _Moment) -> None:
        self._moments[index] = moment
        _save(self._file(index), moment)

    def _file(self, index: str) -> Path:
        # A hash: the index's name may hold characters that file systems do not take.
        return self._folder / f"{hashlib.sha256(index.encode()).hexdigest()[:32]}.index"


def _check(index: str, vectors: NDArray[np.float32], dimension: int) -> None:
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise DimensionMismatchError(
            f"Vectors of shape {vectors.shape} do not fit the index {index!r}, whose vectors"
            f" have {dimension} components."
        )


def _save(file: Path, moment: _Moment) -> None:
    """Write beside the file, then take its place at once; readers see the old or the new."""
    state = moment.state
    described = json.dumps(
        [str(state.index_uuid), str(state.generation), state.version, state.stamp]
    )
    content = io.BytesIO()
    np.savez(content, ids=moment.ids, vectors=moment.vectors, state=np.array(described))
    body = content.getvalue()
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(f".{secrets.token_hex(8)}.new")
    fresh.write_bytes(hashlib.sha256(body).digest() + body)
    fresh.replace(file)


def _load(file: Path) -> _Moment | None:
    """Return what a file holds; None if there is none or it is damaged.

    The chunk table is the truth, so a damaged file costs a reload and nothing else.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    digest, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        logger.warning("The file %s is damaged and is ignored.", file.name)
        return None
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
        index_uuid, generation, version, stamp = json.loads(str(arrays["state"]))
        return _Moment(
            ids=arrays["ids"],
            vectors=arrays["vectors"],
            state=ReplicaState(
                index_uuid=UUID(index_uuid),
                generation=UUID(generation),
                version=version,
                stamp=stamp,
            ),
        )
