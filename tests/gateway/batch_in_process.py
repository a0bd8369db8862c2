"""One process whose rows wait: ``python -m tests.gateway.batch_in_process JSON``.

JSON holds DATABASES, OBC_AI and pause, the seconds that a row waits. Then a line of its input is
a command: "ask N" makes N calls, "go N" lets N threads make calls for ever, "flush", "fork" forks a
child that asks once and ends, "end" ends in order. The id of each call that was answered is
printed, and "ok" after each command.
"""

from __future__ import annotations

import os
import sys
import threading

from tests.in_process import begin


def main() -> None:
    given = begin()
    from django.db import connections

    from django_obc_ai.gateway import batch
    from django_obc_ai.services.ledger import flush_rows
    from django_obc_ai.services.text import TextService
    from tests.gateway.conftest import ANSWER

    batch._PAUSE_SECONDS = given["pause"]
    batch._LATE_SECONDS = max(batch._LATE_SECONDS, given["pause"])
    given["OBC_AI"]["PROVIDERS"]["default"]["OPTIONS"]["script"] = [ANSWER]

    def ask() -> None:
        result = TextService().generate_text("Q", use_cache=False, max_output_tokens=200)
        # One write, so that a line is whole or not there, whatever happens to this process.
        os.write(1, f"{result.operation_id} {result.success}\n".encode())

    def go() -> None:
        while True:
            ask()

    def fork() -> None:
        connections.close_all()  # as every server does: two processes cannot speak on one
        child = os.fork()
        ask()
        if child == 0:
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0

    def start() -> None:
        threading.Thread(target=go, daemon=True).start()

    commands = {"ask": ask, "go": start, "flush": flush_rows, "fork": fork, "end": sys.exit}
    for line in sys.stdin:
        command, _, number = line.strip().partition(" ")
        for _ in range(int(number or 1)):
            commands[command]()
        os.write(1, b"ok\n")


if __name__ == "__main__":
    main()
