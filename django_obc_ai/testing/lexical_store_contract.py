"""The contract suite of lexical stores.

Mix it into a ``unittest.TestCase`` (or a Django one) and say how to make the backend.
"""

from __future__ import annotations

import threading
import unittest
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from django_obc_ai.backends.lexical_stores.base import BaseLexicalStore
from django_obc_ai.exceptions import IndexNotReadyError
from django_obc_ai.types import ReplicaState

if TYPE_CHECKING:
    _Case = unittest.TestCase
else:
    _Case = object

_WORDS = [f"word{chr(97 + n)}" for n in range(20)]


def _moment(version: int = 1) -> ReplicaState:
    return ReplicaState(
        index_uuid=uuid.UUID(int=1), generation=uuid.UUID(int=2), version=version, stamp="s"
    )


def _texts(seed: int, count: int) -> list[str]:
    chance = np.random.default_rng(seed)
    rows = (chance.choice(_WORDS, size=chance.integers(1, 12)) for _ in range(count))
    return [" ".join(row) for row in rows]


class LexicalStoreContract(_Case):
    """What every lexical store must do."""

    def make_store(self) -> BaseLexicalStore:
        """Return a fresh, empty store."""
        raise NotImplementedError

    def reopened(self, store: BaseLexicalStore) -> BaseLexicalStore:
        """Close a store with files and return another one over the same files."""
        store.close()
        # Any: they take their folder as "path"; override this for one that does not.
        again: Any = type(store)
        reopened: BaseLexicalStore = again(path=store.path)
        return reopened

    def _fill(self, store: BaseLexicalStore, held: dict[int, str], version: int = 1) -> None:
        ids = np.array(list(held), dtype=np.int64)
        store.reset("places", batches=[(ids, list(held.values()))], state=_moment(version))

    def _found(self, store: BaseLexicalStore, query: str, k: int = 10, allowed: Any = None) -> Any:
        return [hit.id for hit in store.search("places", [query], k, allowed)[0]]

    def _assert_like_fresh(self, store: BaseLexicalStore, held: dict[int, str]) -> None:
        """Every search is what a store finds that was given all at once."""
        fresh = self.make_store()
        self._fill(fresh, held)
        queries = [*_WORDS[:6], "worda wordb wordc", "nothing", ""]
        for allowed in (None, list(held)[::3]):
            for k in (1, 10, 1_000):
                self.assertEqual(
                    store.search("places", queries, k, allowed),
                    fresh.search("places", queries, k, allowed),
                )
        self.assertEqual(store.count("places"), len(held))

    def test_texts_are_found_by_their_words_and_by_nothing_else(self) -> None:
        store = self.make_store()
        self._fill(store, {1: "a river market", 2: "the coast", 3: "market day"})
        self.assertEqual(sorted(self._found(store, "market")), [1, 3])
        self.assertEqual(self._found(store, "river market")[0], 1)
        self.assertEqual(self._found(store, "mountain"), [])
        self.assertEqual(self._found(store, "mark"), [])
        self.assertEqual(self._found(store, ""), [])
        self.assertEqual(store.search("places", [], 3), [])

    def test_case_accents_and_plurals_do_not_count(self) -> None:
        store = self.make_store()
        self._fill(store, {1: "Barangay Sto. Ni\u00f1o", 2: "two rivers"})
        for query in ("STO. NINO", "sto nin\u0303o"):
            self.assertEqual(self._found(store, query), [1])
        self.assertEqual(self._found(store, "River"), [2])

    def test_a_rarer_word_and_a_shorter_text_count_more(self) -> None:
        store = self.make_store()
        self._fill(store, {1: "market rice", 2: "market shark", 3: "market", 4: "market rice"})
        self.assertEqual(self._found(store, "rice shark")[0], 2)
        self.assertEqual(self._found(store, "market")[0], 3)
        scores = [hit.score for hit in store.search("places", ["market rice"], 10)[0]]
        self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertTrue(all(score > 0 for score in scores))

    def test_ties_go_by_rising_id(self) -> None:
        store = self.make_store()
        self._fill(store, dict.fromkeys((9, 3, 7, 1, 5), "river"))
        self.assertEqual(self._found(store, "river", 3), [1, 3, 5])

    def test_only_allowed_ids_are_found(self) -> None:
        store = self.make_store()
        self._fill(store, dict(enumerate(_texts(1, 300))))
        some = [each for each in self._found(store, "worda", 300) if each % 7 == 0]
        forms: Sequence[Any] = (some, some[::-1], np.array(some), [*some, *some, -1, 10**12])
        for form in forms:
            self.assertEqual(self._found(store, "worda", 300, form), some)
        self.assertEqual(self._found(store, "worda", 300, []), [])

    def test_changes_leave_what_a_fresh_store_would_hold(self) -> None:
        store, held = self.make_store(), dict(enumerate(_texts(2, 200)))
        self._fill(store, held)
        chance = np.random.default_rng(5)
        for version in range(2, 40):
            ids = np.unique(chance.integers(0, 600, size=chance.integers(0, 30)))
            texts = _texts(version, len(ids))
            removed = chance.integers(0, 600, size=chance.integers(0, 30)).tolist()
            store.apply("places", ids=ids, texts=texts, removed=removed, state=_moment(version))
            held |= dict(zip(ids.tolist(), texts, strict=True))
            held = {number: text for number, text in held.items() if number not in removed}
            self.assertEqual(store.state("places"), _moment(version))
            if version % 6 == 0:
                self._assert_like_fresh(store, held)
        everything = list(held)
        none = np.array([], dtype=np.int64)
        store.apply("places", ids=none, texts=[], removed=everything, state=_moment(40))
        self.assertEqual((store.count("places"), self._found(store, "worda")), (0, []))

    def test_batches_are_one_content(self) -> None:
        store, held = self.make_store(), dict(enumerate(_texts(3, 250)))
        pairs = list(held.items())
        batches = [
            (np.array([number for number, _ in part]), [text for _, text in part])
            for part in (pairs[100:], pairs[:40], pairs[40:100], [])
        ]
        batches[-1] = (np.array([], dtype=np.int64), [])
        store.reset("places", batches=iter(batches), state=_moment())
        self._assert_like_fresh(store, held)

    def test_a_reset_that_fails_midway_changes_nothing(self) -> None:
        store = self.make_store()
        self._fill(store, {1: "river"})

        def broken() -> Iterator[Any]:
            yield np.array([2]), ["coast"]
            raise RuntimeError("the database went away")

        with self.assertRaisesRegex(RuntimeError, "went away"):
            store.reset("places", batches=broken(), state=_moment(2))
        self.assertEqual(store.state("places"), _moment())
        self.assertEqual((self._found(store, "river"), self._found(store, "coast")), ([1], []))

    def test_what_is_on_disk_comes_back_and_nothing_else(self) -> None:
        store, held = self.make_store(), dict(enumerate(_texts(4, 120)))
        self._fill(store, held)
        if store.path is None:
            with store.filling("empty", _moment()):
                store.load("empty", _moment(), lambda _: True)
            self.assertIsNone(store.state("empty"))
            return
        again = self.reopened(store)
        with again.filling("places", _moment()):
            again.load("places", _moment(), lambda found: found == _moment())
        self.assertEqual(again.state("places"), _moment())
        self._assert_like_fresh(again, held)
        again.drop("places")
        again = self.reopened(again)
        again.load("places", _moment(), lambda _: True)
        self.assertIsNone(again.state("places"))

    def test_an_index_that_is_not_held_is_named(self) -> None:
        store = self.make_store()
        self.assertIsNone(store.state("nowhere"))
        self.assertEqual(store.count("nowhere"), 0)
        store.drop("nowhere")
        with self.assertRaisesRegex(IndexNotReadyError, "nowhere"):
            store.search("nowhere", ["river"], 1)
        with self.assertRaisesRegex(IndexNotReadyError, "nowhere"):
            store.apply("nowhere", ids=np.array([1]), texts=["a"], removed=[], state=_moment())

    def test_indexes_do_not_mix_and_can_be_dropped(self) -> None:
        store = self.make_store()
        self._fill(store, {1: "river", 2: "river"})
        store.reset("other", batches=[(np.array([5]), ["river"])], state=_moment())
        self.assertEqual(self._found(store, "river"), [1, 2])
        store.drop("other")
        self.assertIsNone(store.state("other"))
        self.assertEqual(store.count("places"), 2)
        empty = store.make_empty()
        self.assertIsNone(empty.state("places"))

    def test_any_text_is_taken(self) -> None:
        store = self.make_store()
        strange = ["\x00", "\ud800 lone", "\ufdfa" * 3, "x" * 10_000, "n\u0303" * 50, "٣ ೬", "🏝️"]
        self._fill(store, dict(enumerate(strange)))
        self.assertEqual(store.count("places"), len(strange))
        for query in strange:
            self._found(store, query)

    def test_searches_beside_changes_are_never_torn(self) -> None:
        store = self.make_store()
        current = list(range(64))
        self._fill(store, dict.fromkeys(current, "river"))
        problems: list[str] = []
        is_done = threading.Event()

        def search() -> None:
            while not is_done.is_set():
                found = self._found(store, "river", 1_000)
                if len(set(found)) != 64 or len({each // 1_000 for each in found}) != 1:
                    problems.append(f"{len(found)} hits")

        with ThreadPoolExecutor(3) as pool:
            searches = [pool.submit(search) for _ in range(3)]
            try:
                for version in range(2, 60):
                    fresh = [version * 1_000 + number for number in range(64)]
                    store.apply(
                        "places",
                        ids=np.array(fresh),
                        texts=["river"] * 64,
                        removed=current,
                        state=_moment(version),
                    )
                    current = fresh
            finally:
                is_done.set()
            for each in searches:
                each.result()
        self.assertEqual(problems, [])
