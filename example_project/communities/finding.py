"""Searching communities, and asking about what was found."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from communities.models import Community, Province
from django_obc_ai.backends.embedders import embedders
from django_obc_ai.services.search import SimilaritySearchService
from django_obc_ai.services.text import TextService
from django_obc_ai.types import GenerationResult, SearchResult, Source

RESULTS = 10
_MARKER = re.compile(r"\[(\d+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPart:
    """A piece of an answer: plain text, or a reference to a source if it has a number."""

    text: str = ""
    number: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CitedSource:
    """A community that the answer rests on, under the number that the answer uses."""

    number: int
    community: Community


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a question, ready to be shown.

    Attributes:
        paragraphs: The answer's text, in paragraphs of parts.
        cited: The sources it names, by number.
    """

    question: str
    result: GenerationResult
    paragraphs: tuple[tuple[AnswerPart, ...], ...]
    cited: tuple[CitedSource, ...]


def find(query: str, *, user: Any, province: Province | None = None) -> list[SearchResult]:
    """Return the communities nearest to the query, best first, `RESULTS` at most.

    Raises:
        ObcAIError: The index cannot be searched, for example because it was never built.
    """
    return SimilaritySearchService().search(
        "communities",
        query,
        user=user,
        k=RESULTS,
        filters={"municipality__province": province} if province else None,
    )


def is_lexical() -> bool:
    """Return whether the site's embedder matches spelling and not meaning."""
    return embedders["default"].is_lexical


def ask(question: str, results: Sequence[SearchResult], *, user: Any) -> Answer:
    """Ask the text service a question about communities that were found.

    The service checks its cache and the budget, logs the call with its tokens and cost,
    and returns a failed result instead of raising if there is no answer.
    """
    communities: list[Community] = [result.object for result in results]
    result = TextService().generate_text(
        question,
        user=user,
        module="communities",
        operation_type="analysis",
        sources=[Source(title=str(each), text=each.describe()) for each in communities],
    )
    paragraphs = tuple(
        split_markers(text, source_count=len(communities)) for text in result.text.split("\n\n")
    )
    parts = itertools.chain.from_iterable(paragraphs)
    numbers = {part.number for part in parts if part.number is not None}
    return Answer(
        question=question,
        result=result,
        paragraphs=paragraphs,
        cited=tuple(
            CitedSource(number=number, community=communities[number - 1])
            for number in sorted(numbers)
        ),
    )


def split_markers(text: str, *, source_count: int) -> tuple[AnswerPart, ...]:
    """Split an answer at its [n] markers; a number that names no source is dropped."""
    parts = []
    for position, piece in enumerate(_MARKER.split(text)):
        if position % 2 == 0:
            if piece:
                parts.append(AnswerPart(text=piece))
        elif 1 <= int(piece) <= source_count:
            parts.append(AnswerPart(number=int(piece)))
    return tuple(parts)
