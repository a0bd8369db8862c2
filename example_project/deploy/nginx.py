"""Start nginx under supervisord: ``python -P -m deploy.nginx PROGRAM``.

When nginx is killed, its workers go on with the configuration that they have, and keep the ports;
systemd would end them, supervisord knows nothing of them. They are told to end first, once each has
told its answers, and then this process becomes nginx.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path


def end_leftovers(pid_file: Path) -> None:
    """End the workers of an nginx that is gone.

    Under supervisord it led a process group of its own number, which nobody gets anew while a
    worker is left in the group.
    """
    with suppress(OSError, ValueError):
        group = int(pid_file.read_text("ascii"))
        if group > 1 and not Path(f"/proc/{group}").exists():
            os.killpg(group, signal.SIGQUIT)


def main() -> None:
    """Become nginx."""
    home = Path(os.environ["OBC_SITE_VAR"])
    end_leftovers(home / "run" / "nginx.pid")
    config = str(home / "conf" / "nginx.conf")
    program = sys.argv[1]
    os.execvp(program, [program, "-c", config, "-e", "stderr", "-g", "daemon off;"])  # noqa: S606


if __name__ == "__main__":
    main()
