"""One record, one line: as JSON for machines, as text for people."""

from __future__ import annotations

import json
import logging
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import Any
from uuid import UUID

from django_obc_ai.logs.correlation import NONE

#: What every record has: not told as something of its own.
_KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {
    "asctime", "message", "taskName", "correlation_id", "event",
}  # fmt: skip
_PLAIN = (date, PurePath, time, timedelta, UUID)
_MOST_DEPTH = 5


def _moment(record: logging.LogRecord) -> str:
    """Return when it was logged, in UTC, with milliseconds."""
    at = datetime.fromtimestamp(record.created, tz=UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"


def _simple(value: Any, depth: int = 0) -> Any:
    """Return what JSON can hold; of anything else, such as a request, its class alone."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Decimal):
        return f"{value:f}"  # str() writes a nano-dollar as 1E-9
    if isinstance(value, _PLAIN):
        return str(value)
    if depth < _MOST_DEPTH:
        if isinstance(value, dict):
            return {str(_simple(key)): _simple(each, depth + 1) for key, each in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [_simple(each, depth + 1) for each in value]
    return f"<{type(value).__name__}>"


class JsonFormatter(logging.Formatter):
    """A JSON object in one line of ASCII, whatever the message holds.

    It has ``time``, ``level``, ``logger``, ``message``, ``event`` and ``correlation_id`` ("-" if
    there is none), ``pid``, the record's own fields, and ``exception`` with the traceback. Money
    is text, and so exact. A field that is called like one of these gets an underscore.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        body: dict[str, Any] = {
            "time": _moment(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "event": getattr(record, "event", ""),
            "correlation_id": getattr(record, "correlation_id", NONE),
            "pid": record.process,
        }
        if record.exc_info:
            body["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            body["stack"] = record.stack_info
        for name, value in vars(record).items():
            if name not in _KNOWN:
                body[f"{name}_" if name in body else name] = _simple(value)
        return json.dumps(body, default=lambda value: f"<{type(value).__name__}>")


class TextFormatter(logging.Formatter):
    """``time LEVEL logger [correlation id] event: message``; what follows a record is indented.

    Control characters of a message are escaped, so that no message can look like two records.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and below it the traceback, if there is one."""
        event = getattr(record, "event", "")
        head = f"{_moment(record)} {record.levelname} {record.name}"
        head += f" [{getattr(record, 'correlation_id', NONE)}] "
        lines = [
            head + _escaped(f"{event}: {record.getMessage()}" if event else record.getMessage())
        ]
        if record.exc_info:
            lines += self.formatException(record.exc_info).splitlines()
        if record.stack_info:
            lines += record.stack_info.splitlines()
        return "\n    ".join(map(_escaped, lines))


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    shown = (
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )
    return "".join(shown)
