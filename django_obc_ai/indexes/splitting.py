"""How an index splits its texts: its attributes, its embedder's tokens, parsed program text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_obc_ai.backends.embedders import BaseEmbedder, embedders
from django_obc_ai.indexes import _code
from django_obc_ai.indexes.chunking import Splitter, TextSpan, split_text
from django_obc_ai.indexes.text_formats import DEFAULT_CHUNK_TOKENS, FORMATS, PREFIX

if TYPE_CHECKING:
    from django_obc_ai.indexes.base import VectorIndex


def split(index: VectorIndex, text: str) -> list[TextSpan]:
    """Return the pieces of an object's text; see `VectorIndex.split`."""
    if not text.strip():
        return []
    embedder = embedders[index.embedder]
    limit = limit_of(index, embedder)
    overlap = min(index.chunk_overlap, limit // 2)
    if index.text_format in FORMATS:
        return split_text(
            text,
            limit=limit,
            count=embedder.count_tokens,
            overlap=overlap,
            text_format=index.text_format,
        )
    language = index.text_format.removeprefix(PREFIX)
    splitter = Splitter(text, limit=limit, count=embedder.count_tokens, overlap=overlap)
    return splitter.whole() or splitter.spans(
        _code.parsed_spans(text, language, limit=limit - overlap, count=embedder.count_tokens)
    )


def limit_of(index: VectorIndex, embedder: BaseEmbedder) -> int:
    """Return how many tokens a piece may have: never more than the embedder takes in."""
    wanted = index.chunk_tokens or DEFAULT_CHUNK_TOKENS
    most = embedder.max_tokens
    return wanted if most is None else max(1, min(wanted, most))


def identity_of(index: VectorIndex) -> list[str | int | None]:
    """Return what changes the pieces of an index, besides its embedder and the chunker."""
    parts: list[str | int | None] = [index.text_format, index.chunk_tokens, index.chunk_overlap]
    if index.text_format in FORMATS:
        return parts
    return [*parts, *_code.versions(index.text_format.removeprefix(PREFIX))]


def check_packages(index: VectorIndex) -> None:
    """Refuse an index whose texts need a package that is missing.

    Raises:
        ConfigurationError: It names the package.
    """
    if index.text_format not in FORMATS:
        _code.load(index.text_format.removeprefix(PREFIX))
