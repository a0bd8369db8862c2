"""One part of approximate_search.py, in a process of its own: build, measure, judge."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import _approximate_stores as stores
from tests.benchmarks._approximate_bare import Way, bare_ways
from tests.benchmarks._approximate_data import PARTS, Cache, Data, Part, read_data
from tests.benchmarks._approximate_database import database, fill
from tests.benchmarks._approximate_rounds import measure, middle, ratio, spread, table
from tests.benchmarks._approximate_whole import whole_ways

#: Gates: a store in the bare one's time, and how much less it may find.
FAISS_GATE, PGVECTOR_GATE, LESS = 1.3, 1.5, 0.005


def run(arguments: argparse.Namespace) -> None:
    """Build what is missing; measure, unless only building was asked for; write the section."""
    part = PARTS[arguments.measure]
    print(f"{part.title}", flush=True)
    cache = Cache(part)
    data = read_data(part, cache, arguments.onnx and Path(arguments.onnx))
    bare, notes = bare_ways(part, data, cache)
    with database(part, cache) as dsn:
        fill(data, cache)
        ours, missing = stores.ways(part, data, cache, dsn)
        if arguments.build:
            return
        measure([*bare, *ours], data, part)
        pairs = whole_ways(part, data, dsn, bare)
        measure([way for pair in pairs for way in pair], data, part)
    lines, claims = _section(part, data, [*bare, *ours], pairs)
    arguments.out.write_text(
        json.dumps({"lines": lines, "claims": claims, "notes": [*notes, *missing]})
    )


def _section(
    part: Part, data: Data, ways: Sequence[Way], pairs: Sequence[tuple[Way, Way]]
) -> tuple[list[str], list[tuple[str, bool]]]:
    lines = [
        f"## {part.title}",
        "",
        _told(part, data),
        "",
        *table(ways),
        "",
    ]
    claims: list[tuple[str, bool]] = []
    rows = []
    for mine, other, gate in (
        ("FaissVectorStore, approximate", "bare faiss HNSW", FAISS_GATE),
        ("PgvectorVectorStore, approximate", "bare SQL of pgvector", PGVECTOR_GATE),
    ):
        way = next((each for each in ways if each.name == mine), None)
        same = way and next((w for w in ways if w.name == other and w.ef == way.ef), None)
        if way is None or same is None:
            claims.append((f"{part.title}: {mine} beside {other}: measured", False))
            continue
        found = ratio(way, same)
        rows.append(_row(way, same))
        claim = f"{part.title}: {mine} within {gate} of {other}: {found:.2f}"
        claims.append((claim, found <= gate))
        claims.append(
            (f"{part.title}: {mine} finds what {other} finds", way.recall >= same.recall - LESS)
        )
        rows += [_row(way, each) for each in _others(way, ways) if gate == FAISS_GATE]
    if rows:
        lines += [
            "Beside each other, with the same parameters and efSearch:",
            "",
            "| | beside | ratio of p50 | least to largest of a round | recall@10, beside |",
            "| --- | --- | --- | --- | --- |",
            *rows, "",
        ]  # fmt: skip
    if pairs:
        lines += [
            "Whole searches, by vectors alone:",
            "",
            "| | beside | p50 ms, beside | ratio of p50 | least to largest | recall@10, beside |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for service, by_hand in pairs:
            times = f"{middle(service, 50):.2f}, {middle(by_hand, 50):.2f}"
            lines.append(
                f"| {service.name} | {by_hand.name} | {times} | {ratio(service, by_hand):.2f} |"
                f" {spread(service, by_hand)} | {service.recall:.4f}, {by_hand.recall:.4f} |"
            )
    return lines, claims


def _told(part: Part, data: Data) -> str:
    return (
        f"{len(data.vectors):,} x 384, M {part.m} and efConstruction {part.ef_construction}"
        f" (pgvector: {part.pgvector_m} and {part.pgvector_ef_construction}), k = 10;"
        f" {part.rounds} rounds of {part.searches} questions; recall by {len(data.questions)}."
        f" Measured on {time.strftime('%d %B %Y, %H:%M', time.gmtime())} UTC."
    )


def _row(way: Way, other: Way) -> str:
    return (
        f"| {way.name} | {other.name}, efSearch {other.ef} | {ratio(way, other):.2f} |"
        f" {spread(way, other)} | {way.recall:.4f}, {other.recall:.4f} |"
    )


def _others(way: Way, ways: Sequence[Way]) -> list[Way]:
    """Return the other libraries with the same graph and efSearch."""
    names = ("bare hnswlib", "bare usearch, float16")
    return [each for each in ways if each.name in names and each.ef == way.ef]
