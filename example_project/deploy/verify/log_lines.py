"""Which lines of a log tell of an error, whoever wrote them."""

from __future__ import annotations

import json
import re

#: Of lines that are no JSON: Python's, nginx's, PostgreSQL's, supervisord's.
ERRORS = re.compile(
    r"\b(?:ERROR|CRITICAL|CRIT|FATAL|PANIC)\b|\[(?:error|crit|alert|emerg)\]|^Traceback \("
    r"|exited: .*not expected|entered FATAL state"
)
#: What supervisord says at every start: of its socket, which only the site's user opens.
_USUAL = ("running without any HTTP authentication", "Supervisor is running as root")


def errors(text: str) -> list[str]:
    """Return the lines that tell of errors, without what a prompt might have left in them."""
    found = []
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if record.get("level") in ("ERROR", "CRITICAL"):
                told = f"{record.get('logger')} {record.get('event')}: {record.get('message')}"
                found.append(" ".join(told.split())[:300])
        elif line[:1].strip() and ERRORS.search(line[:120]) and not _is_usual(line):
            found.append(line[:300])
    return found


def _is_usual(line: str) -> bool:
    return any(each in line for each in _USUAL)
