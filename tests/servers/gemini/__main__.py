"""Run the server by itself:

    python -m tests.servers.gemini --port 0 --script FILE.json

It prints its URL. GET /_journal reads the journal, POST /_script adds to the script (the same JSON
as in the file, see `GeminiServer.load()`), POST /_reset forgets both.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path

from tests.servers.gemini.server import run_gemini


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.servers.gemini")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--script", type=Path, help="JSON file with models and rules")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input closes")
    options = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    if options.until_eof:
        threading.Thread(target=_wait_for_eof, args=(ended,), daemon=True).start()
    with run_gemini(port=options.port) as server:
        if options.script:
            server.load(json.loads(options.script.read_text(encoding="utf-8")))
        print(server.url, flush=True)
        ended.wait()


def _wait_for_eof(ended: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    ended.set()


if __name__ == "__main__":
    main()
