"""Stored text as data in a prompt: it must not look like anything else."""

from __future__ import annotations

import re
import unicodedata

#: Control, format, surrogate, private and unassigned characters.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
#: Letters and signs that are drawn as nothing, and the joiner of graphemes.
_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
#: What can open or close a block, or looks as if it could, and what stands in its place.
_BRACKETS = str.maketrans(
    dict.fromkeys("<\uff1c\ufe64\u2329\u27e8\u3008", "\u2039")
    | dict.fromkeys(">\uff1e\ufe65\u232a\u27e9\u3009", "\u203a")
    | dict.fromkeys('"\uff02', "'")
)
_BREAKS = re.compile(r"\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
#: A line that begins like a turn of a conversation, or like a heading of instructions.
_TURN = re.compile(
    r"^(?=[ \t*_#\[(|:]*(?:system|developer|assistant|model|user|human|ai|tool|function|"
    r"instructions?|inst|admin|important|new rules?)[ \t*_\])|]*(?::|\uff1a|\ufe55|\n|\Z))",
    re.IGNORECASE | re.MULTILINE,
)


def neutralise(text: str) -> str:
    """Return stored text in a form that cannot leave the block it is shown to a model in.

    Brackets of tags, their look-alikes included, are broken; what nobody sees (zero-width and
    control characters, changes of direction, tag characters) is taken out; lines that begin
    like a turn of a conversation are marked as quoted. Words, numbers and lines stay.
    """
    plain = _BREAKS.sub("\n", text)
    return _TURN.sub("\u00bb ", drop_unseen(plain).translate(_BRACKETS))


def drop_unseen(text: str) -> str:
    """Return a text without the characters that nobody sees; line feeds and tabs stay."""
    return "".join(c for c in text if c in "\n\t" or not _is_unseen(c))


def _is_unseen(character: str) -> bool:
    return (
        unicodedata.category(character) in _UNSEEN
        or character in _FILLERS
        or "\ufe00" <= character <= "\ufe0f"  # variation selectors carry hidden bytes
        or "\U000e0100" <= character <= "\U000e01ef"
    )
