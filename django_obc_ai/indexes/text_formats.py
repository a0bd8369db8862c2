"""What an index may declare of how its texts are split; without the code that splits them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from django_obc_ai.conf import suggest
from django_obc_ai.exceptions import ConfigurationError

if TYPE_CHECKING:
    from django_obc_ai.indexes.base import VectorIndex

#: Where an index names no size and its embedder takes in more.
DEFAULT_CHUNK_TOKENS = 400
#: What needs no package; `chunking` has the rules of each.
FORMATS = ("text", "markdown", "code")
#: What begins the format of a language that is parsed.
PREFIX = "code:"
LANGUAGE = re.compile(r"code:[a-z][a-z0-9_]{0,40}")


def check_attributes(index_class: type[VectorIndex], where: str) -> None:
    """Refuse attributes that no text can be split by.

    Raises:
        ConfigurationError: text_format, chunk_tokens or chunk_overlap is none.
    """
    text_format, size = index_class.text_format, index_class.chunk_tokens
    if text_format not in FORMATS and not LANGUAGE.fullmatch(str(text_format)):
        raise ConfigurationError(
            f"The index {where} has the text_format {text_format!r}.",
            hint=f"{suggest(str(text_format), FORMATS)} Give {', '.join(FORMATS)}, or"
            " code: and a language, such as code:python.",
        )
    if size is not None and (type(size) is not int or size < 1):
        raise ConfigurationError(
            f"The index {where} has the chunk_tokens {size!r}.",
            hint="Give at least 1, or None for what the embedder takes in.",
        )
    most = (size or DEFAULT_CHUNK_TOKENS) // 2
    overlap = index_class.chunk_overlap
    if type(overlap) is not int or not 0 <= overlap <= most:
        raise ConfigurationError(
            f"The index {where} has the chunk_overlap {overlap!r}.",
            hint=f"Give 0 to {most}, which is half of a piece.",
        )
