"""Taking secrets out of what a cassette keeps, before it is written."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

from django.conf import settings

from django_obc_ai.conf import get_settings
from django_obc_ai.gateway.redaction import without_keys

KEY = "[key]"
SCRUBBED = "[scrubbed]"
_LEAST_SECRET = 8
#: Names of settings, options, headers and fields whose text is a secret.
_SECRET_NAME = re.compile(
    r"(?:^|[_-])(?:key|secret|token|password|authorization|cookie)(?:_fallbacks)?$", re.IGNORECASE
)
_URL_PASSWORD = re.compile(r"://[^/?#@\s:]{0,200}:([^/?#@\s]{1,500})@")
#: A header that somebody wrote into a text: the whole of its value.
_HEADER = re.compile(
    r"(?i)\b((?:proxy-)?authorization|x-[a-z-]{0,30}key)"
    r"([\"']?[ \t]{0,3}[:=][ \t]{0,3}[\"']?)(?:[a-z]{1,20}[ \t]{1,5})?[^\s\"',]{4,}"
)


class Scrubber:
    """Replaces keys, headers, the secrets of the settings and what a test declares.

    What is equal before is equal after, so that requests can be compared as they were written.
    """

    def __init__(self, patterns: Iterable[str | re.Pattern[str]] = ()) -> None:
        """Read the settings as they are now, and take further patterns; a text is one, too."""
        self._secrets = _settings_secrets()
        own = (re.compile(each) for each in patterns)
        self._patterns = [*get_settings().log.redact_patterns, *own]

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, KEY)
        text = without_keys(_HEADER.sub(rf"\1\2{KEY}", text))
        for pattern in self._patterns:
            text = pattern.sub(SCRUBBED, text)
        return text

    def value(self, value: Any, name: str = "") -> Any:  # Any: JSON
        """Return a value as JSON holds it, without secrets, however deep; keys of dicts, too.

        Text that stands under a name like ``api_key`` or ``Authorization`` is a secret whole.
        """
        if isinstance(value, str):
            return KEY if _SECRET_NAME.search(name) else self._perhaps_json(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(each, str(key)) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(each, name) for each in value]
        return value

    def pieces(self, pieces: Sequence[str]) -> list[str]:
        """Return the pieces of a stream without secrets; they join to the scrubbed text.

        Pieces between which a secret goes on become one.
        """
        whole = "".join(pieces)
        wanted = self.text(whole)
        alone = [self.text(each) for each in pieces]
        if "".join(alone) == wanted:
            return alone
        kept, start, end = [], 0, 0
        for piece in pieces:
            end += len(piece)
            if self.text(whole[:end]) + self.text(whole[end:]) == wanted:
                kept.append(self.text(whole[start:end]))
                start = end
        return kept if "".join(kept) == wanted else [wanted]

    def _perhaps_json(self, text: str) -> str:
        """Scrub field by field where a text is JSON, so that it still is afterwards."""
        if text.lstrip()[:1] not in ("{", "["):
            return self.text(text)
        try:
            found = json.loads(text)
        except ValueError:
            return self.text(text)
        clean = self.value(found)
        return text if clean == found else json.dumps(clean, ensure_ascii=False)


def _settings_secrets() -> list[str]:
    """Return what Django's settings keep secret, as it is and as URLs and JSON write it."""
    found = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that Django will drop one is not the reader's fault
        for name in dir(settings):
            if name.isupper():
                found |= set(_texts_below(getattr(settings, name), name))
    long = {each for each in found if len(each) >= _LEAST_SECRET}
    written = {
        form for each in long for form in (each, quote(each, safe=""), json.dumps(each)[1:-1])
    }
    return sorted(written, key=len, reverse=True)


def _texts_below(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _texts_below(each, str(key))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _texts_below(each, name)
    elif isinstance(value, str) and _SECRET_NAME.search(name):
        yield value
    elif isinstance(value, str):
        for password in _URL_PASSWORD.findall(value):
            yield from (password, unquote(password))
