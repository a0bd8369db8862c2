"""What a word is: how texts and queries are taken apart, so that equal words meet.

Words are runs of letters, digits and underscores, with the marks that belong to them. Case and
accents do not count, nor do English endings, which the Snowball stemmer takes off. Words of other
languages lose one here and there, too, in texts and queries alike, which costs them little. See
docs/howto/hybrid-search.md for what that was compared with.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import Any

#: Raise it with whatever changes the words of a text: words that are kept in files are then
#: found anew.
VERSION = 1
_MARKS = "\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0670\u1ab0-\u1aff"
_WORD = re.compile(rf"(?:\w[{_MARKS}]*)+")
_PLAIN = re.compile(r"\w+")
_stemmers = threading.local()
_QUERY_LENGTH = 4_000
#: Of a longer word the beginning counts: to fold a mile of accents takes its square.
_WORD_LENGTH = 64
_CACHED_LENGTH = 32  # longer words are rare, and texts could fill the memory with them
#: English words that say nothing about what is asked for. A query of nothing else keeps them.
_STOP_WORDS = (
    "a an and are as at be by can do does for from has have how in is it of on or that the this"
    " to was were what which with"
)


@lru_cache(maxsize=1)
def made_with() -> str:
    """Return what the words of a text depend on, besides the text."""
    from importlib.metadata import version  # slow to import

    stemmer = version("snowballstemmer")
    return f"words {VERSION}, snowballstemmer {stemmer}, Unicode {unicodedata.unidata_version}"


def words_of(text: str) -> list[int]:
    """Return the words of a text in order, each as a hash of 64 bits."""
    found: list[int] = []
    for match in _WORD.findall(text):
        found += hashes_of(match)
    return found


def query_words(query: str) -> list[int]:
    """Return the words of a query, without words such as "the" unless there are no others.

    Of longer queries, the first 4,000 characters count.
    """
    words = words_of(query[:_QUERY_LENGTH])
    telling = [word for word in words if word not in _stop_hashes()]
    return telling or words


def spans_of(text: str) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Yield where each word of a text begins and ends, and its hashes."""
    for match in _WORD.finditer(text):
        yield match.start(), match.end(), hashes_of(match[0])


def hashes_of(word: str) -> tuple[int, ...]:
    """Return the hash of a word; a few letters, such as ligatures, stand for several words."""
    return _cached(word) if len(word) <= _CACHED_LENGTH else _hashes_of(word)


def _hashes_of(word: str) -> tuple[int, ...]:
    folded = unicodedata.normalize("NFKD", word[:_WORD_LENGTH].casefold())
    plain = "".join(each for each in folded if not unicodedata.combining(each))
    return tuple(_hash(stem(each)) for each in _PLAIN.findall(plain))


_cached = lru_cache(maxsize=65_536)(_hashes_of)


def stem(word: str) -> str:
    """Return a word in lower case without its English endings."""
    return str(_stemmer().stemWord(word)) if word.isascii() and word.isalpha() else word


def _stemmer() -> Any:
    """Return this thread's stemmer: one writes into itself while it works."""
    found = getattr(_stemmers, "english", None)
    if found is None:
        from snowballstemmer.english_stemmer import EnglishStemmer

        found = _stemmers.english = EnglishStemmer()
    return found


def _hash(word: str) -> int:
    return int.from_bytes(blake2b(word.encode("utf-8", "replace"), digest_size=8).digest(), "big")


@lru_cache(maxsize=1)
def _stop_hashes() -> frozenset[int]:
    return frozenset(each for word in _STOP_WORDS.split() for each in hashes_of(word))
