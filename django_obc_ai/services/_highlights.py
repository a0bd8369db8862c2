"""Where in a text the words of a query are."""

from __future__ import annotations

from django_obc_ai.backends.lexical_stores.words import query_words, spans_of

#: Nobody looks at more of them, and a text may be one word a thousand times.
MAXIMUM_HIGHLIGHTS = 100


def highlights_of(text: str, query: str) -> tuple[tuple[int, int], ...]:
    """Return (start, end) of the words in a text that the query holds.

    Words are compared as searches compare them: case, accents and English endings do not
    count. Neighbours with nothing but spaces between them are one span.

    Args:
        text: The text.
        query: Any text.

    Returns:
        Offsets in characters, rising, without overlap; at most `MAXIMUM_HIGHLIGHTS`.
    """
    wanted = set(query_words(query))
    found: list[tuple[int, int]] = []
    if not wanted:
        return ()
    for start, end, words in spans_of(text):
        if wanted.isdisjoint(words):
            continue
        if found and text[found[-1][1] : start].isspace():
            found[-1] = (found[-1][0], end)
        elif len(found) == MAXIMUM_HIGHLIGHTS:
            break
        else:
            found.append((start, end))
    return tuple(found)


def share_of(text: str, query: str) -> float:
    """Return how much of a query's distinct words a text holds, in [0, 1], to two decimals."""
    wanted = set(query_words(query))
    held = {word for _, _, words in spans_of(text) for word in words}
    return round(len(wanted & held) / len(wanted), 2) if wanted else 0.0
