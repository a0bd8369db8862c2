"""First process of a machine in a folder: takes in whoever nobody waits for.

It ends, and everything on that machine with it, when its standard input does. See _kit_machine.py.
"""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress


def main() -> None:
    """Wait."""
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], 0.2)[0]:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


if __name__ == "__main__":
    main()
