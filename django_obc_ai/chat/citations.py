"""What a model may answer from, numbered, and what of its answer holds against that."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django_obc_ai.chat.inert import InertText
from django_obc_ai.chat.numbers import find_foreign_numbers
from django_obc_ai.chat.wording import say
from django_obc_ai.types import SearchResult, Source
from django_obc_ai.types.chat import Citation, QueryResult

#: What a model is shown; people see all rows of the result.
_MOST_ROWS = 60
_MOST_CELL_CHARACTERS = 300
_MOST_CHARACTERS = 24_000
_MOST_PASSAGE_CHARACTERS = 2_000
#: A model that says it has done something; it cannot do anything.
_CLAIM = re.compile(
    r"\b(?:I|we)(?:['\u2019]ve| have| just| now| successfully)*"
    r" (?:deleted|removed|erased|updated|changed|modified|edited|created|added|inserted|saved|sent"
    r"|granted|approved)\b"
    r"|\b(?:rows?|records?|e-?mails?|messages?) (?:has|have|were|was) (?:now |just )?(?:been )?"
    r"(?:deleted|removed|erased|updated|changed|modified|inserted|saved|sent)\b"
    r"|\b(?:binura|nabura|tinanggal|inalis|binago|nabago|dinagdag|idinagdag|ipinadala|pinadala"
    r"|na-?delete|na-?update)(?: na)? (?:ko|namin)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedText:
    """A model's answer as it may be shown.

    Attributes:
        text: Plain text without links, with the numbers of sources that there are.
        citations: The sources that it names.
        warnings: What was found wrong with it, in words for people.
    """

    text: str
    citations: tuple[Citation, ...]
    warnings: tuple[str, ...]


def resolve(
    text: str,
    sources: Sequence[Citation],
    *,
    result: QueryResult | None = None,
    known: Iterable[str] = (),
    language: str = "en",
) -> ResolvedText:
    """Check a model's answer against its sources.

    Args:
        text: As the model wrote it.
        sources: What it was shown.
        result: The rows among these.
        known: Other texts that the answer may take numbers from, such as the question.
        language: Of the warnings, "en" or "tl".
    """
    inert = InertText([each.number for each in sources])
    shown = inert.feed(text) + inert.finish()
    warnings = []
    if inert.dropped:
        named = ", ".join(f"[{each}]" for each in inert.dropped)
        warnings.append(say("no_source", language, named))
    if inert.is_changed:
        warnings.append(say("markup", language))
    if _CLAIM.search(shown):
        warnings.append(say("claim", language))
    passages = [each.text for each in sources if each.object is not None]
    results = [] if result is None else [result]
    foreign = find_foreign_numbers(shown, results, known=[*known, *passages])
    if foreign:
        warnings.append(say("foreign_numbers", language, ", ".join(foreign)))
    return ResolvedText(
        text=shown,
        citations=tuple(each for each in sources if each.number in inert.cited),
        warnings=tuple(warnings),
    )


def number_sources(
    result: QueryResult | None, found_by: str, hits: Sequence[SearchResult]
) -> list[Citation]:
    """Return the sources of an answer in order: the rows first, then what was found."""
    sources = []
    if result is not None:
        sources.append(Citation(number=1, title=found_by, text=write_rows(result)))
    for number, hit in enumerate(hits, start=len(sources) + 1):
        sources.append(
            Citation(
                number=number,
                title=str(hit.object)[:200],
                text=hit.text[:_MOST_PASSAGE_CHARACTERS],
                url=url_of(hit.object),
                object=hit.object,
            )
        )
    return sources


def to_model(sources: Sequence[Citation]) -> list[Source]:
    """Return the same sources as a model is shown them: without addresses and objects."""
    return [Source(text=each.text, title=each.title) for each in sources]


def to_json(sources: Sequence[Citation]) -> list[dict[str, Any]]:
    """Return what is stored with an answer: of rows only that they were cited."""
    return [
        {
            "number": each.number,
            "title": each.title,
            "text": "" if each.object is None else each.text,
            "url": each.url,
        }
        for each in sources
    ]


def write_rows(result: QueryResult) -> str:
    """Return rows as text, one a line; a cell cannot look like another cell or line."""
    lines = [" | ".join(_cell(each) for each in result.labels)]
    length = 0
    shown: list[str] = []
    for row in result.rows[:_MOST_ROWS]:
        line = " | ".join(_cell(each) for each in row)
        length += len(line)
        if length > _MOST_CHARACTERS and shown:
            break
        shown.append(line)
    lines += shown
    total = result.total
    if total is not None and total > len(shown):
        lines.append(f"({len(shown)} of {total} rows)")
    elif result.is_cut or len(shown) < len(result.rows):
        lines.append(f"({len(shown)} rows; there are more)")
    elif not shown:
        lines.append("(no rows)")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    words = " ".join(text.split()).replace("|", "\N{BROKEN BAR}")
    return words if len(words) <= _MOST_CELL_CHARACTERS else f"{words[:_MOST_CELL_CHARACTERS]}…"


def url_of(instance: Any) -> str:
    """Return the page of an object, or "" where it has none that a link may lead to."""
    get_absolute_url = getattr(instance, "get_absolute_url", None)
    try:
        url = str(get_absolute_url()) if callable(get_absolute_url) else ""
    except Exception:  # noqa: BLE001 - a source without an address is a source
        return ""
    # The model never writes this; a project's method that does must not run a script either.
    return url if url.startswith(("/", "https://", "http://")) else ""
