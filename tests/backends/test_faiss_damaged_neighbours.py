"""Approximate indexes whose files were damaged: they are set aside, and search goes on exactly."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_obc_ai.backends.vector_stores import _neighbours
from django_obc_ai.backends.vector_stores.faiss import FaissVectorStore
from tests.backends.faiss_in_process import advance, fill, find_approximate_problem, graph
from tests.backends.test_faiss_files import aside, empty, flip_bit, lengthen, truncate
from tests.backends.test_faiss_neighbours import asked, indexes, waited
from tests.extras import requires

pytestmark = requires("faiss")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaissVectorStore]:
    monkeypatch.setattr(_neighbours, "_ROWS_PER_CANDIDATE", 0)  # it is used for few rows, too
    store = graph(str(tmp_path))
    fill(store, 1)
    assert store.build_approximate("places") == "HNSW, M 8"
    yield store
    store.close()


@pytest.mark.parametrize("name", ["ids.i64", "vectors.f32", "index.faiss", "manifest.json"])
@pytest.mark.parametrize("harm", [flip_bit, truncate, lengthen, empty, Path.unlink])
def test_damage_is_set_aside_and_search_goes_on_exactly(
    name: str, harm: Any, store: FaissVectorStore, tmp_path: Path
) -> None:
    (index,) = indexes(tmp_path)
    store.close()
    path = index / name
    content = path.read_bytes()
    path.unlink()  # the snapshot's own file is not harmed
    path.write_bytes(content)
    harm(path)
    assert find_approximate_problem(store) == ""
    assert len(aside(tmp_path)) == 1
    waited(store)
    assert store.approximate_kind("places") == "HNSW, M 8"
    assert find_approximate_problem(store) == ""


def test_a_file_that_is_written_into_while_it_is_mapped_is_not_searched(
    store: FaissVectorStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_approximate_problem(store) == ""
    (index,) = indexes(tmp_path)
    with (index / "index.faiss").open("r+b") as file:
        file.seek(500)
        file.write(b"\xff\xff\xff\x7f" * 20)
    found = asked(store, monkeypatch)
    assert store.approximate_kind("places") == ""
    assert find_approximate_problem(store) == ""
    assert (found, len(aside(tmp_path))) == ([], 1)


def test_large_files_are_compared_after_they_were_touched(
    store: FaissVectorStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_neighbours, "ALWAYS_VERIFIED_BYTES", 0)
    compared: list[int] = []
    original = _neighbours.sum_of
    monkeypatch.setattr(_neighbours, "sum_of", lambda data: [compared.append(1), original(data)][1])

    def reopen() -> int:
        compared.clear()
        store.close()
        assert store.approximate_kind("places")
        return len(compared)

    (index,) = indexes(tmp_path)
    assert reopen() == 0
    os.utime(index / "index.faiss")
    assert [reopen(), reopen()] == [3, 0]
    advance(store, 2)  # a link of the snapshot's goes: that alone does not count
    assert store.approximate_kind("places")
    assert reopen() == 0


def test_what_this_version_of_faiss_cannot_read_is_set_aside(
    store: FaissVectorStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faiss: Any = store.import_sdk()
    store.close()

    def refuse(*_: Any) -> Any:
        raise RuntimeError("Index type 0x12345678 not recognized\nand more")

    with monkeypatch.context() as patch:
        patch.setattr(faiss, "read_index", refuse)
        assert store.approximate_kind("places") == ""
    assert len(aside(tmp_path)) == 1
