"""Taking addresses, phone numbers and keys out of texts before they are stored.

Every pattern here runs in time that grows with the length of the text alone: what may repeat
is bounded, possessive, or cannot start again inside what it has just walked through.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from django_obc_ai.conf import EMBEDDED_BACKENDS, get_settings
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.types.settings import LogSettings

#: Of each text so many characters are kept, what was taken out not counted.
MOST_CHARACTERS = 100_000
#: Read beyond that, so that what begins before the end is recognised, and dropped afterwards.
_MARGIN = 2_000
_LEAST_SECRET = 8
_SECRET = re.compile(r"(?:^|_)(?:key|secret|token|password)$", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"://[^/?#@\s:]{0,200}:([^/?#@\s]{1,500})@")

_SPACE = r"[ \t\u00a0\u2009\u202f./\u2010-\u2013-]{0,3}"
_GAP = r"[ \t\u00a0\u2009\u202f.()/\u2010-\u2013-]{0,3}"  # brackets, too
_PHONE = re.compile(
    r"(?<![\w+.,-])\(?(?:"
    rf"(?:\+|00)?63{_GAP}9(?:{_GAP}\d){{9}}"  # Philippine mobile: +63 917 123 4567
    rf"|0{_GAP}9(?:{_GAP}\d){{9}}"  # 0917-123-4567
    rf"|(?:\+|00)63{_GAP}\d(?:{_GAP}\d){{7,8}}"  # Philippine landline: +63 (2) 8123 4567
    rf"|0\d{{1,3}}(?!\d){_GAP}\d{{3,4}}(?!\d){_GAP}\d{{4}}"  # (02) 8123 4567, (064) 421-1234
    r"|0[2-8]\d{8}"  # 0281234567
    rf"|(?:\+|00)1{_GAP}\d(?:{_GAP}\d){{9}}"  # +1 (212) 555-0100
    rf"|(?:\+|00)[1-9](?:{_GAP}\d){{2,6}}(?:{_SPACE}\d){{4,8}}"  # any other country's
    rf"|\d{{3}}\){_GAP}\d{{3}}(?!\d){_GAP}\d{{4}}"  # (212) 555-0100
    r"|\d{3}-\d{3}-\d{4}"
    r")(?!\d)"
)
_EMAIL = re.compile(r"(?<![\w.+'-])[\w.+'-]++(?:@|%40)[\w-]++(?:\.[\w-]++)++")
_KEYS = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?s:.)*?"
    r"(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)"
    r"|\bAIza[\w-]{20,}|\bAQ\.[\w-]{20,}"  # Google
    r"|\bsk-[\w-]{16,}"  # OpenAI and others
    r"|\b(?:gsk|xai|hf|gh[opsu]|github_pat|glpat|xox[abprs])[_-][\w-]{16,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"  # Amazon
    r"|(?<![\w.-])eyJ[\w-]{8,}+\.[\w-]{8,}+(?:\.[\w-]++)?"  # JSON Web Tokens
    r"|(?i:\bbearer[ \t]{1,5}[\w.~+/=-]{8,})"
    r"|(?i:(?<![a-z0-9])(?:api[_-]?key|secret|token|passw(?:or)?d)[\"']?[ \t]{0,3}[:=][ \t]{0,3}"
    r"[\"']?[^\s\"',;]{6,})"
)
#: After the keys: an address inside of a key is part of the key.
_BUILT_IN: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("email", _EMAIL, "[e-mail]"),
    ("phone", _PHONE, "[phone]"),
)


def redact(text: str) -> str:
    """Return a text as ``OBC_AI["LOG"]`` says that it may be stored.

    At most the first 100,000 characters; the built-in redactions go first, then the
    project's patterns, then its function.

    Raises:
        ConfigurationError: ``redact_with`` names nothing that can be called, or returned
            no text.
        Exception: Whatever that function raises.
    """
    log, length = get_settings().log, len(text)
    text = text[: MOST_CHARACTERS + _MARGIN].replace("\0", "")
    text = text.encode(errors="replace").decode()  # half a character is stored nowhere
    if "keys" in log.redact:
        text = without_keys(text)
    for name, pattern, mark in _BUILT_IN:
        if name in log.redact:
            text = pattern.sub(mark, text)
    for pattern in log.redact_patterns:
        text = pattern.sub("[redacted]", text)
    if length > MOST_CHARACTERS:
        text = f"{text[:-_MARGIN]} […]"
    function = load_function(log)
    if function is not None:
        text = function(text)
        if not isinstance(text, str):
            raise ConfigurationError(
                f"OBC_AI['LOG']['redact_with'] returned {type(text).__name__}, not text.",
                hint="Return the text as it may be stored.",
            )
    return text


def without_keys(text: str) -> str:
    """Return a text without this project's own keys, and without what looks like one."""
    for secret in sorted(_own_secrets(), key=len, reverse=True):
        text = text.replace(secret, "[key]")
    return _KEYS.sub("[key]", text)


def load_function(log: LogSettings) -> Callable[[str], Any] | None:
    """Return the project's own function, or None if there is none.

    Raises:
        ConfigurationError: The setting names nothing that can be called.
    """
    found = log.redact_with
    if isinstance(found, str):
        try:
            found = import_string(found)
        except ImportError as error:
            raise ConfigurationError(
                f"OBC_AI['LOG']['redact_with'] cannot be imported: {error}.",
                hint="Give the dotted path of a function that takes a text and returns one.",
                check_id="E003",
            ) from error
    if found is not None and not callable(found):
        raise ConfigurationError(
            f"OBC_AI['LOG']['redact_with'] names {type(found).__name__}, which cannot be called.",
            hint="Give the dotted path of a function that takes a text and returns one.",
        )
    return found


def _own_secrets() -> Iterator[str]:
    """Yield the keys and passwords of this project's settings."""
    known = get_settings()
    specs = [spec for family in EMBEDDED_BACKENDS for spec in known.backends(family).values()]
    for value in [
        settings.SECRET_KEY,
        *(each for spec in specs for each in _secrets(spec.options)),
    ]:
        if isinstance(value, str) and len(value) >= _LEAST_SECRET:
            yield value


def _secrets(options: Mapping[str, Any]) -> Iterator[Any]:
    for name, value in options.items():
        if _SECRET.search(name):
            yield value
        elif isinstance(value, Mapping):
            yield from _secrets(value)
        elif isinstance(value, str):
            yield from _URL_PASSWORD.findall(value)
