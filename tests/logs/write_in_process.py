"""Write numbered lines through the handler, from several threads: run by test_handlers.py.

Usage: python -m tests.logs.write_in_process FILE NAME LINES MAX_BYTES BACKUPS [fork]
"""

from __future__ import annotations

import logging
import os
import sys
import threading

from django_obc_ai.logs.handlers import SharedRotatingFileHandler

THREADS = 2


def write(logger: logging.Logger, name: str, lines: int) -> None:
    def work(thread: int) -> None:
        for number in range(lines // THREADS):
            # Longer and shorter than any buffer.
            body = "x" * (20 if number % 50 else 20_000)
            logger.info("%s-%d-%d %s end", name, thread, number, body)

    threads = [threading.Thread(target=work, args=(each,)) for each in range(THREADS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def main(path: str, name: str, lines: int, max_bytes: int, backups: int, *how: str) -> None:
    logger = logging.getLogger("written")
    logger.setLevel("INFO")
    handler = SharedRotatingFileHandler(path, max_bytes=max_bytes, backup_count=backups)
    logger.addHandler(handler)
    if how:  # as a server that loads the project before it forks: children share what is open
        logger.info("parent-%s-0 end", name)
        if os.fork() == 0:
            write(logger, f"{name}child", lines)
            os._exit(0)
    write(logger, name, lines)
    if how:
        os.wait()


if __name__ == "__main__":
    file, label, *numbers = sys.argv[1:]
    main(file, label, *(int(each) for each in numbers[:3]), *numbers[3:])
