"""The REST API and the chat page, as clients, crowds and people meet them.

Every part has a site of its own on real PostgreSQL, with the google-genai SDK and the loopback
Gemini server where questions are asked of a model.

- **Schema**: schemathesis takes the schema that uvicorn serves and makes requests of it, as several
  users: no answer is a 500, none is undocumented, and none holds anything of another user.
- **Streams**: two hundred questions are asked in streams, twenty a second, of uvicorn with one
  process for each of two cores. A plan is made, a query run, and an answer told in 25 pieces over
  five seconds; in a second round over so long that all are open at once. Beside them the provider
  itself is asked the same two things, in the same run. All streams are whole; the first text is at
  most 300 ms later than the provider's own, p95 against p95; and the connections to PostgreSQL,
  looked at twenty times a second, are never more than Django's pools may have. Then clients go
  away at any time. Nothing stays held, what ran to its end is booked as it was billed, and the
  provider's bill accounts for the rest, to the nano-dollar.
- **Browser**: Chromium, under a strict content security policy, uses page and widget by keyboard
  alone; nothing is written to its console, and axe-core finds nothing serious.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import tempfile
from pathlib import Path

PARTS = {"schema": "Schema", "streams": "Streams", "browser": "Browser"}


def prove(name: str, *, is_small: bool) -> tuple[list[str], list[str]]:
    """Return the lines of a part and its faults."""
    from tests.acceptance._api_report import Report

    report = Report()
    part = importlib.import_module(f"tests.acceptance._api_{name}")
    with tempfile.TemporaryDirectory() as folder:
        part.prove(is_small=is_small, folder=folder, report=report)
    return report.lines, report.faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", choices=PARTS)
    options = parser.parse_args()
    out = Path(options.out)
    if options.only:
        lines, faults = prove(options.only, is_small=options.small)
        out.write_text("\n".join([f"## {PARTS[options.only]}", "", *lines, ""]), encoding="utf-8")
        raise SystemExit("\n".join(faults) or 0)
    from tests.acceptance._traffic import each_by_itself

    facts = (
        f"Python {platform.python_version()}, {os.cpu_count()} cores. Command:"
        " `./tests/acceptance/run.sh api`"
    )
    lines = ["# REST API and chat page", "", (__doc__ or "").strip(), "", facts, ""]
    lines += each_by_itself(__file__, tuple(PARTS), is_small=options.small)
    out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
