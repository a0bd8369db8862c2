"""What a model may answer from: rows of a query and passages of a search, numbered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django_obc_ai.types import SearchResult, Source
from django_obc_ai.types.chat import Citation, QueryResult

#: What a model is shown; people see all rows of the result.
_MOST_ROWS = 60
_MOST_CELL_CHARACTERS = 300
_MOST_PASSAGE_CHARACTERS = 2_000


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
                url=_url_of(hit.object),
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
    shown = result.rows[:_MOST_ROWS]
    lines = [" | ".join(_cell(each) for each in result.labels)]
    lines += [" | ".join(_cell(each) for each in row) for row in shown]
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


def _url_of(instance: Any) -> str:
    get_absolute_url = getattr(instance, "get_absolute_url", None)
    try:
        url = get_absolute_url() if callable(get_absolute_url) else ""
    except Exception:  # noqa: BLE001 - a source without an address is a source
        return ""
    # The model never writes this; a project's method that does must not run a script either.
    return url if isinstance(url, str) and url.startswith(("/", "https://", "http://")) else ""
