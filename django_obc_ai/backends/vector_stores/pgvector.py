"""Search where the rows are: PostgreSQL with the extension pgvector.

Vectors are in the index's own database, in a table beside the chunks, and change in the same
transaction. A search is one statement, which filters and permissions are a part of. Needs no
package but psycopg 3: see docs/howto/search-in-postgresql.md.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from django.db import DatabaseError, router

from django_obc_ai.backends.vector_stores import _pgvector_feed as feeding
from django_obc_ai.backends.vector_stores import _pgvector_index as graphs
from django_obc_ai.backends.vector_stores import _pgvector_loading as loading
from django_obc_ai.backends.vector_stores import _pgvector_rows as conditions
from django_obc_ai.backends.vector_stores import _pgvector_tables as tables
from django_obc_ai.backends.vector_stores._exact import best
from django_obc_ai.backends.vector_stores._pgvector_search import TableSearch
from django_obc_ai.backends.vector_stores.base import BaseVectorStore, check_queries, not_held
from django_obc_ai.exceptions import IndexNotReadyError
from django_obc_ai.models import IndexState
from django_obc_ai.types import ReplicaState, SearchHit

if TYPE_CHECKING:
    from uuid import UUID

    from django.db import models
    from numpy.typing import NDArray

    from django_obc_ai.backends.vector_stores._exact import Scored
    from django_obc_ai.backends.vector_stores._pgvector_rows import Condition
    from django_obc_ai.backends.vector_stores.base import Batch


class PgvectorVectorStore(BaseVectorStore):
    """Cosine search in the database of the indexed model."""

    is_in_database: ClassVar[bool] = True
    can_approximate: ClassVar[bool] = True

    def __init__(
        self,
        *,
        type: str = "vector",  # noqa: A002 - an option's name
        approximate: Mapping[str, Any] | None = None,
        maintenance_work_mem: str = "",
        parallel_workers: int | None = None,
    ) -> None:
        """Choose how vectors are kept and searched.

        Args:
            type: "vector", 4 bytes a component, or "halfvec", 2 bytes; exact search returns the
                same chunks from both.
            approximate: {"kind": "hnsw", "above": 50_000, "m": 16, "ef_construction": 64,
                "ef_search": 100}; every name may be left out. None builds no index.
            maintenance_work_mem: Memory of a build of that index, such as "2GB"; "" is the
                server's setting. Builds are slow where the graph does not fit.
            parallel_workers: Further processes of a build; None is the server's setting.

        Raises:
            ValueError: An option is out of range.
        """
        if type not in tables.HNSW_DIMENSIONS:
            raise ValueError("type must be 'vector' or 'halfvec'")
        if parallel_workers is not None and not 0 <= parallel_workers <= 1_024:
            raise ValueError("parallel_workers must be 0 to 1,024")
        self._type = type
        self._hnsw = graphs.hnsw_of(approximate)
        self._settings: dict[str, str] = {}
        if maintenance_work_mem:
            self._settings["maintenance_work_mem"] = maintenance_work_mem
        if parallel_workers is not None:
            self._settings["max_parallel_maintenance_workers"] = str(parallel_workers)
        self._alias = ""
        self._pinned: loading.Held | None = None

    def using(self, database: str) -> Self:
        """Return this store for the indexes of a database, an alias of ``DATABASES``."""
        bound = copy.copy(self)
        bound._alias = database
        bound._pinned = None
        return bound

    def pinned(self, database: str, state: ReplicaState, dimension: int) -> Self:
        """Return this store for searches of one moment's generation, which it need not look up."""
        bound = self.using(database)
        bound._pinned = loading.Held(state=state, dimension=dimension)
        return bound

    def columns(self, model: type[models.Model], dimension: int) -> tables.Columns:
        """Return what columns a table for vectors of a model's rows has.

        Raises:
            ConfigurationError: The options ask for an index over such vectors that there is not.
        """
        columns = tables.Columns(
            key=conditions.column_type(model), type=self._type, dimension=dimension
        )
        graphs.check_dimension_of_index(self._hnsw, columns)
        return columns

    def state(self, index: str) -> ReplicaState | None:
        """See `BaseVectorStore.state`."""
        held = self._held(index)
        return None if held is None else held.state

    def reset(
        self, index: str, *, dimension: int, batches: Iterable[Batch], state: ReplicaState
    ) -> None:
        """Replace an index's chunks, and its state row: for tests and benchmarks of stores.

        Each chunk is of the object whose key is the chunk's id. An index of a project is
        written by `IndexingService` alone.
        """
        columns = tables.Columns(key=loading.KEY, type=self._type, dimension=dimension)
        loading.reset(self._database, index, batches, state, columns)

    def apply(
        self,
        index: str,
        *,
        ids: NDArray[np.int64],
        vectors: NDArray[np.float32],
        removed: Sequence[int],
        state: ReplicaState,
    ) -> None:
        """Add and remove an index's chunks, like `reset` for tests and benchmarks of stores."""
        held = self._required(index)
        loading.apply(
            self._database, index, held, ids=ids, vectors=vectors, removed=removed, state=state
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
        condition = conditions.ALL
        if allowed_ids is not None:
            condition = conditions.of_ids(np.asarray(allowed_ids, dtype=np.int64).tolist())
        return self._search(index, vectors, k, condition, is_exact=is_exact)

    def search_rows(
        self,
        index: str,
        vectors: NDArray[np.float32],
        k: int,
        rows: models.QuerySet[Any],
        *,
        is_exact: bool = True,
    ) -> list[list[SearchHit]]:
        """See `BaseVectorStore.search_rows`."""
        condition = conditions.of_rows(self._database, rows)
        if condition is None:
            check_queries(index, vectors, self._required(index).dimension)
            return [[] for _ in vectors]
        return self._search(index, vectors, k, condition, is_exact=is_exact)

    @property
    def approximate_settings(self) -> str:
        """See `BaseVectorStore.approximate_settings`."""
        return "" if self._hnsw is None else f"pgvector {self._type} {self._hnsw.settings}"

    @property
    def approximate_above(self) -> int:
        """See `BaseVectorStore.approximate_above`."""
        return 0 if self._hnsw is None else max(1, self._hnsw.above)

    def approximate_kind(self, index: str) -> str:
        """See `BaseVectorStore.approximate_kind`."""
        held = self._held(index)
        return "" if held is None else graphs.held_kind(self._database, held.state.generation)

    def build_approximate(self, index: str) -> str:
        """See `BaseVectorStore.build_approximate`."""
        held = self._required(index)
        return self.prepare(index, held.state.generation)

    def prepare(self, index: str, generation: UUID) -> str:
        """Bring the approximate index of a generation, serving or not, to what options ask for.

        Raises:
            IndexNotReadyError: The generation has no table.
        """
        alias = self._database
        columns = tables.columns_of(alias, generation)
        if columns is None:
            raise not_held(index)
        if self._hnsw is None:
            graphs.drop_index(alias, generation)
            return ""
        graphs.check_dimension_of_index(self._hnsw, columns)
        if loading.count(alias, generation) < max(1, self._hnsw.above):
            return graphs.held_kind(alias, generation)
        return graphs.build(alias, generation, columns, self._hnsw, self._settings)

    def count(self, index: str) -> int:
        """See `BaseVectorStore.count`."""
        held = self._held(index)
        return 0 if held is None else loading.count(self._database, held.state.generation)

    def drop(self, index: str) -> None:
        """See `BaseVectorStore.drop`."""
        for generation in loading.generations_of(self._database, index):
            feeding.let_go(self._database, generation)

    @property
    def _database(self) -> str:
        return self._alias or router.db_for_write(IndexState)

    def _held(self, index: str) -> loading.Held | None:
        if self._pinned is not None:
            return self._pinned
        if not tables.is_postgres(self._database):
            tables.ensure_extension(self._database)  # says what is wrong
        return loading.find(self._database, index)

    def _required(self, index: str) -> loading.Held:
        held = self._held(index)
        if held is None:
            raise not_held(index)
        return held

    def _search(
        self,
        index: str,
        vectors: NDArray[np.float32],
        k: int,
        condition: Condition,
        *,
        is_exact: bool,
    ) -> list[list[SearchHit]]:
        held = self._required(index)
        check_queries(index, vectors, held.dimension)
        ef_search = (self._hnsw or graphs.Hnsw()).ef_search
        search = TableSearch(self._database, held.state.generation, ef_search=ef_search)
        found: list[list[SearchHit]] = []
        try:
            for query in vectors:
                scored: Scored | None = None
                if not is_exact and query.any():
                    scored = search.by_index(query, k, condition)
                if scored is None or len(scored[0]) < k:
                    scored = search.exact(query, k, condition)
                found.append(best(scored, k))
        except DatabaseError as error:
            if not tables.is_missing_table(error):
                raise
            feeding.note_missing(self._database, held.state.generation)
            raise IndexNotReadyError(
                f"The table of the index {index!r} was dropped just now. Try again."
            ) from error
        return found
