"""Measure what the app adds to ``django.setup()``: under 50 ms, 10 MiB, no heavy module.

Fresh processes with and without the app, in turn; the medians are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import django

LIMIT_MS = 50
LIMIT_MIB = 10


def probe(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.startup_probe", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    runs = 5 if options.small else 40
    probe()
    probe("--without")
    pairs = [(probe(), probe("--without")) for _ in range(runs)]
    added: dict[str, float] = {}
    for unit in ("ms", "kib"):
        with_app, without = (statistics.median(p[side][unit] for p in pairs) for side in (0, 1))
        added[unit] = with_app - without
        added[f"{unit} without"] = without
    loaded = sorted({name for with_app, _ in pairs for name in with_app["loaded"]})
    mib = added["kib"] / 1024
    machine = (
        f"Python {platform.python_version()}, Django {django.get_version()},"
        f" {os.cpu_count()} cores, {runs} runs each."
        " Command: `./tests/acceptance/run.sh startup`"
    )
    lines = [
        "# What the app adds to start-up",
        "",
        (__doc__ or "").strip(),
        "",
        machine,
        "",
        "| `django.setup()` | without the app | the app adds | limit |",
        "|---|---|---|---|",
        f"| time | {added['ms without']:.1f} ms | {added['ms']:.1f} ms | {LIMIT_MS} ms |",
        f"| memory | {added['kib without'] / 1024:.1f} MiB | {mib:.1f} MiB | {LIMIT_MIB} MiB |",
        "",
        f"Heavy modules loaded: {', '.join(loaded) or 'none'}.",
        "",
    ]
    Path(options.out).write_text("\n".join(lines), encoding="utf-8")
    # At reduced size, as in CI, the clock decides nothing.
    is_slow = added["ms"] >= LIMIT_MS and not options.small
    if loaded or is_slow or mib >= LIMIT_MIB:
        raise SystemExit("A limit is passed.")


if __name__ == "__main__":
    main()
