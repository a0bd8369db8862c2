"""Fused ranks and highlights, as pure functions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_obc_ai.services._fusion import fuse, rank_score
from django_obc_ai.services._highlights import MAXIMUM_HIGHLIGHTS, highlights_of, share_of

RANKINGS = st.lists(st.lists(st.integers(0, 60), unique=True, max_size=40), min_size=1, max_size=3)


@given(RANKINGS, st.integers(1, 20), st.data())
def test_each_item_comes_once_in_the_order_of_its_score(
    rankings: list[list[int]], depth: int, data: st.DataObject
) -> None:
    weights = [data.draw(st.floats(0.1, 4)) for _ in rankings]
    found = fuse(rankings, weights, depth=depth)
    assert sorted(found) == sorted({item for ranking in rankings for item in ranking})
    scores = {
        item: sum(
            rank_score(ranking.index(item), weight)
            for ranking, weight in zip(rankings, weights, strict=True)
            if item in ranking[:depth]
        )
        for item in found
    }
    assert [scores[item] for item in found] == sorted(scores.values(), reverse=True)
    # Whoever is at least as good in every ranking, and better in one, comes first.
    head = [ranking[:depth] for ranking in rankings]
    if all(head) and len({ranking[0] for ranking in head}) == 1:
        assert found[0] == head[0][0]


@given(st.lists(st.integers(), unique=True, max_size=50), st.integers(1, 10))
def test_one_ranking_stays_as_it_is(ranking: list[int], depth: int) -> None:
    assert fuse([ranking], [1.0], depth=depth) == ranking
    assert fuse([ranking, ranking], [1.0, 0.5], depth=depth) == ranking


@given(RANKINGS, st.integers(1, 20), st.integers(0, 20))
def test_what_is_read_further_adds_to_the_end(
    rankings: list[list[int]], depth: int, more: int
) -> None:
    weights = [1.0] * len(rankings)
    whole = fuse(rankings, weights, depth=depth)
    first = fuse(
        [rankings[0][: depth + more]] + [each[:depth] for each in rankings[1:]],
        weights,
        depth=depth,
    )
    assert whole[: len(first)] == first


def test_what_both_find_wins_over_the_first_of_one() -> None:
    assert fuse([["a", "b"], ["c", "b"]], [1.0, 1.0])[0] == "b"
    assert fuse([["a"], ["b"]], [1.0, 2.0]) == ["b", "a"]
    assert fuse([["a"], ["b"]], [1.0, 1.0]) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "query", "found"),
    [
        ("Two rivers, one market", "river market", ["rivers", "market"]),
        ("river market day", "market river", ["river market"]),
        ("Sto. Nin\u0303o", "NI\u00d1O", ["Nin\u0303o"]),
        ("the river of the north", "the river", ["river"]),
        ("<b>river</b>", "river", ["river"]),
        ("riverside", "river", []),
        ("river", "", []),
        ("", "river", []),
        ("river", "<script>", []),
    ],
)
def test_highlights_are_the_words_of_the_query(text: str, query: str, found: list[str]) -> None:
    assert [text[start:end] for start, end in highlights_of(text, query)] == found


@given(st.text(), st.text())
def test_highlights_rise_do_not_overlap_and_are_few(text: str, query: str) -> None:
    spans = highlights_of(text * 40, query + text[:5])
    flat = [offset for span in spans for offset in span]
    assert flat == sorted(flat)
    assert all(0 <= start < end <= len(text * 40) for start, end in spans)
    assert len(spans) <= MAXIMUM_HIGHLIGHTS


def test_the_share_of_a_query_depends_on_the_two_texts_alone() -> None:
    assert share_of("a river", "rivers market") == 0.5
    assert share_of("a river", "") == 0.0
    assert share_of("", "river") == 0.0
