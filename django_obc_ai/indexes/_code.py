"""Program text that is parsed: semantic-text-splitter with a grammar of tree-sitter."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module, metadata
from typing import Any

from django_obc_ai.exceptions import MissingDependencyError
from django_obc_ai.indexes._structures import code_cuts
from django_obc_ai.indexes.chunking import Counter, Span, Splitter, count_characters
from django_obc_ai.indexes.text_formats import PREFIX

#: The parser looks at longer texts more than once for each piece; they are parsed in parts.
_PART_CHARACTERS = 100_000


def parsed_spans(text: str, language: str, *, limit: int, count: Counter) -> Iterator[Span]:
    """Yield spans of program text that hold whole functions, blocks and statements.

    Args:
        text: The program text.
        language: As its grammar is named: python for the package tree-sitter-python.
        limit: Tokens that a span has at most, as far as the grammar allows.
        count: Counts tokens.

    Raises:
        MissingDependencyError: The extra or the grammar is not installed.
    """
    splitter_class, grammar = load(language)
    splitter = splitter_class.from_callback(grammar, lambda part: count([part])[0], limit)
    for start, end in _parts(text):
        for offset, piece in splitter.chunk_indices(text[start:end]):
            yield start + offset, start + offset + len(piece)


def _parts(text: str) -> Iterator[Span]:
    if len(text) <= _PART_CHARACTERS:
        yield 0, len(text)
        return
    whole = Splitter(text, limit=_PART_CHARACTERS, count=count_characters, overlap=0)
    yield from whole.pack(code_cuts)


def load(language: str) -> tuple[Any, Any]:  # of packages without types
    """Return the class that splits and the grammar of a language.

    Raises:
        MissingDependencyError: One of them is not installed.
    """
    try:
        splitter_class = import_module("semantic_text_splitter").CodeSplitter
    except ImportError as error:
        raise MissingDependencyError(
            f"The text_format {PREFIX}{language} needs the package semantic-text-splitter.",
            hint='Run: python -m pip install "django-obc-ai[chunking]". Or take the text_format'
            " 'code', which needs none.",
            check_id="E005",
        ) from error
    package = _package(language)
    try:
        module = import_module(package.replace("-", "_"))
        make = getattr(module, "language", None) or getattr(module, f"language_{language}")
    except (ImportError, AttributeError) as error:
        raise MissingDependencyError(
            f"The text_format {PREFIX}{language} needs the grammar of the package {package}.",
            hint=f"Run: python -m pip install {package}. Or take the text_format 'code', which"
            " needs none.",
            check_id="E005",
        ) from error
    return splitter_class, make()


@lru_cache(maxsize=64)
def versions(language: str) -> tuple[str, ...]:
    """Return the installed versions of what cuts a language's text; other ones cut otherwise."""
    found = []
    for package in ("semantic-text-splitter", _package(language)):
        try:
            found.append(metadata.version(package))
        except metadata.PackageNotFoundError:
            found.append("")
    return tuple(found)


def _package(language: str) -> str:
    return f"tree-sitter-{language.replace('_', '-')}"
