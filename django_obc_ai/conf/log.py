"""``OBC_AI["LOG"]``: where operations wait, and whether their texts are kept, and how."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from django.conf import settings

from django_obc_ai.conf.values import (
    as_function,
    as_mapping,
    as_positive,
    only_keys,
    suggest,
    wrong_type,
)
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.types.settings import LogSettings

#: What can be taken out of stored texts without a pattern of one's own.
REDACTIONS = ("email", "phone", "keys")
#: How rows are written: each by its call, or together a moment later.
ROWS = ("each", "batched")
_KEYS = (
    "spool", "rows", "operation_days", "store_content", "content_days", "redact", "redact_patterns",
    "redact_with",
)  # fmt: skip


def parse_log(value: Any, where: str) -> LogSettings:
    """Return ``OBC_AI["LOG"]``, completed with defaults.

    Raises:
        ConfigurationError: Something in it is wrong.
    """
    entry = as_mapping(value, where)
    only_keys(entry, _KEYS, where)
    base = getattr(settings, "BASE_DIR", None)
    spool = entry.get("spool", Path(base) / "var" / "obc_ai_spool" if base else None)
    if spool is not None and (not isinstance(spool, (str, Path)) or not str(spool)):
        raise wrong_type(f"{where}['spool']", spool, "the path of a folder, or None")
    rows = entry.get("rows", "each")
    if not isinstance(rows, str):
        raise wrong_type(f"{where}['rows']", rows, " or ".join(map(repr, ROWS)))
    if rows not in ROWS:
        raise ConfigurationError(
            f"{where}['rows'] has the unknown value {rows!r}.", hint=suggest(rows, ROWS)
        )
    store_content = entry.get("store_content", False)
    if not isinstance(store_content, bool):
        raise wrong_type(f"{where}['store_content']", store_content, "True or False")
    return LogSettings(
        spool=None if spool is None else Path(spool),
        rows=rows,
        operation_days=_days(entry.get("operation_days"), f"{where}['operation_days']"),
        store_content=store_content,
        content_days=_days(entry.get("content_days", 30), f"{where}['content_days']"),
        redact=_names(entry.get("redact", REDACTIONS), f"{where}['redact']"),
        redact_patterns=_patterns(entry.get("redact_patterns", ()), f"{where}['redact_patterns']"),
        redact_with=as_function(entry.get("redact_with"), f"{where}['redact_with']"),
    )


def _days(value: Any, where: str) -> int | None:
    wanted = "whole days above 0, or None"
    return None if value is None else int(as_positive(value, where, int, wanted))


def _names(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise wrong_type(where, value, "a list of names")
    for number, name in enumerate(value):
        if not isinstance(name, str):
            raise wrong_type(f"{where}[{number}]", name, "a name")
        if name not in REDACTIONS:
            raise ConfigurationError(
                f"{where} has the unknown name {name!r}.", hint=suggest(name, REDACTIONS)
            )
    return tuple(value)


def _patterns(value: Any, where: str) -> tuple[re.Pattern[str], ...]:
    if not isinstance(value, (list, tuple)):
        raise wrong_type(where, value, "a list of regular expressions")
    found = []
    for number, text in enumerate(value):
        at = f"{where}[{number}]"
        if not isinstance(text, str) or not text:
            raise wrong_type(at, text, "a regular expression as text")
        try:
            pattern = re.compile(text)
        except re.error as error:
            raise ConfigurationError(
                f"{at} is no regular expression: {error}.", hint="See the module re of Python."
            ) from None
        if pattern.match(""):
            raise ConfigurationError(
                f"{at} matches an empty text, and so would be found everywhere.",
                hint="Let it ask for at least one character.",
            )
        found.append(pattern)
    return tuple(found)
