"""Exact and approximate search with FAISS over snapshots on disk.

See `_snapshot_store` for what is held where, and docs/explanation/search-index.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings

from django_obc_ai.backends.snapshots.files import BadSnapshotError
from django_obc_ai.backends.vector_stores._approximate import approximate_of
from django_obc_ai.backends.vector_stores._approximate_search import nearest_approximately
from django_obc_ai.backends.vector_stores._exact import best
from django_obc_ai.backends.vector_stores._pairings import Pairings
from django_obc_ai.backends.vector_stores._scan import Scanner
from django_obc_ai.backends.vector_stores._snapshot_store import VectorSnapshotStore
from django_obc_ai.backends.vector_stores.base import check_queries
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.types import SearchHit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from django_obc_ai.backends.vector_stores._content import Content
    from django_obc_ai.backends.vector_stores._neighbours import Pairing


class FaissVectorStore(VectorSnapshotStore):
    """Cosine search; vectors are on disk and in memory once for all processes."""

    extra: ClassVar[str] = "faiss"
    sdk_module: ClassVar[str] = "faiss"
    can_approximate: ClassVar[bool] = True

    def __init__(
        self,
        *,
        path: str | os.PathLike[str] | None = None,
        threads: int = 2,
        approximate: Mapping[str, Any] | None = None,
    ) -> None:
        """Choose where the files are.

        Args:
            path: Folder of the snapshots, on a local disk; created when first needed. None
                is ``BASE_DIR / "var" / "vectors"``.
            threads: Threads of one search and of a build, at least 1.
            approximate: How to search approximately, where a measured recall allows it; see
                docs/howto/approximate-search.md. None searches exactly.

        Raises:
            ConfigurationError: There is neither a path nor a BASE_DIR.
            ValueError: threads is below 1, or approximate holds what it cannot.
        """
        if path is None:
            base = getattr(settings, "BASE_DIR", None)
            if not base:
                raise ConfigurationError(
                    "FaissVectorStore has no folder for its files.",
                    hint="Give OPTIONS['path'], or set BASE_DIR.",
                    check_id="E004",
                )
            path = Path(base) / "var" / "vectors"
        if threads < 1:
            raise ValueError("threads must be at least 1")
        super().__init__(os.fspath(path))
        self._threads = threads
        self._scanner: Scanner | None = None
        asked = approximate_of(approximate)
        self._pairings = None if asked is None else Pairings(asked, self.import_sdk, threads)

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
        content = self._held(index)
        check_queries(index, vectors, content.dimension)
        scanner = self._get_scanner()
        pairings = None if is_exact else self._pairings
        pairing = None if pairings is None else self._pairing(pairings, index, content)
        if pairings is None or pairing is None:
            found = content.nearest(scanner, vectors, k, allowed_ids)
        else:
            found = nearest_approximately(
                content, pairing, pairings.approximate, scanner, vectors, k, allowed_ids
            )
        return [best(scored, k) for scored in found]

    @property
    def approximate_settings(self) -> str:
        """See `BaseVectorStore.approximate_settings`."""
        return "" if self._pairings is None else self._pairings.approximate.text

    @property
    def approximate_above(self) -> int:
        """See `BaseVectorStore.approximate_above`."""
        return 0 if self._pairings is None else self._pairings.approximate.above

    def approximate_kind(self, index: str) -> str:
        """See `BaseVectorStore.approximate_kind`."""
        content = self._find(index)
        if self._pairings is None or content is None:
            return ""
        pairing = self._pairing(self._pairings, index, content, is_built=False)
        return "" if pairing is None else pairing.neighbours.kind

    def build_approximate(self, index: str) -> str:
        """See `BaseVectorStore.build_approximate`.

        Raises:
            IndexNotReadyError: Its files cannot be written.
        """
        content, pairings = self._find(index), self._pairings
        if pairings is None or content is None or content.count < pairings.approximate.above:
            return ""
        folder = self._folder(index, content.state.index_uuid)
        try:
            self.fold(index)
            pairings.build(index, self._held(index).base, folder)
        except BadSnapshotError as error:
            folder.set_aside(self._held(index).base.folder, str(error))
        except OSError as error:
            raise self._kind.not_writable(index, error) from error
        return self.approximate_kind(index)

    def drop(self, index: str) -> None:
        """See `BaseVectorStore.drop`; the files go too, for all processes."""
        super().drop(index)
        if self._pairings is not None:
            self._pairings.forget(index)

    def close(self) -> None:
        """Forget everything in memory; the files stay."""
        super().close()
        if self._pairings is not None:
            self._pairings.close()
        with self._lock:
            scanner, self._scanner = self._scanner, None
        if scanner is not None:
            scanner.close()

    def _pairing(
        self, pairings: Pairings, index: str, content: Content, *, is_built: bool = True
    ) -> Pairing | None:
        folder = self._folder(index, content.base.state.index_uuid)
        return pairings.of(index, content.base, folder, is_built=is_built)

    def _get_scanner(self) -> Scanner:
        scanner = self._scanner
        if scanner is None:
            scanner = self._scanner = Scanner(self.import_sdk(), self._threads)
        return scanner

    def _after_fork(self) -> None:
        super()._after_fork()
        if self._scanner is not None:
            self._scanner.after_fork()
        if self._pairings is not None:
            self._pairings.after_fork()
