"""The chat page and the widget in Chromium, under a strict content security policy.

The site runs under uvicorn and once more under WSGI, the model is the real SDK's of Google against
a loopback server. The policy also demands trusted types.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.acceptance.dashboard_browser import find_chromium, install


def prove(*, is_small: bool, folder: str, report: Any) -> None:
    """Look at everything and use everything; screenshots stay in a folder that is named."""
    if not find_chromium():
        report.line("- SKIPPED: there is no Chromium on PATH (on Debian: apt-get install chromium)")
        return
    if importlib.util.find_spec("uvicorn") is None:
        raise SystemExit("The proof needs uvicorn, of the dependency group test.")
    install()
    shots = os.environ.get("OBC_AI_SHOTS") or tempfile.mkdtemp(prefix="chat-")
    for kind in ("uvicorn", "wsgi"):
        # Each in a process of its own: Django is set up once in a process.
        here = Path(folder) / f"browser-{kind}"
        here.mkdir(parents=True, exist_ok=True)
        told = here / "told.json"
        command = [sys.executable, __file__, "--kind", kind, "--shots", shots, "--out", str(told)]
        done = subprocess.run([*command, "--folder", str(here), *(["--small"] * is_small)])
        if not told.exists():
            report.fault(f"the browser under {kind} ended with {done.returncode}")
            continue
        found = json.loads(told.read_text(encoding="utf-8"))
        for line in found["lines"]:
            report.line(line)
        for fault in found["faults"]:
            report.fault(fault)
    report.line(f"- Screenshots: {len(list(Path(shots).glob('*.png')))}")
    print(f"Screenshots: {shots}", file=sys.stderr)


def main() -> None:
    """Use the site of one kind; see prove()."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--kind", choices=("uvicorn", "wsgi"), default="uvicorn")
    parser.add_argument("--only", nargs="*", help="names of uses; looks")
    for name in ("out", "folder", "shots"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    from axe_playwright_python.base import AXE_SCRIPT
    from playwright.sync_api import sync_playwright

    from tests.acceptance._api_looks import look_at_all
    from tests.acceptance._api_site import STRICT, serve_chat
    from tests.acceptance._api_uses import UNDER_WSGI, USES
    from tests.acceptance._browser_probes import Result

    Path(options.shots).mkdir(parents=True, exist_ok=True)
    result, lines, is_async = Result(), [], options.kind == "uvicorn"
    with (
        serve_chat(options.folder, is_async=is_async) as site,
        sync_playwright() as tools,
    ):
        browser = tools.chromium.launch(
            executable_path=shutil.which(find_chromium()) or find_chromium(),
            args=["--no-sandbox"] if os.geteuid() == 0 else [],
        )
        uses = {name: use for name, use in USES.items() if is_async or name in UNDER_WSGI}
        if options.only:
            uses = {name: use for name, use in uses.items() if name in options.only}
        for name, use in uses.items():
            before = len(result.faults)
            try:
                use(browser, site, result)
            except Exception as error:
                result.faults.append(f"{name}: {str(error)[:600]}")
            print(f"{options.kind}, {name}: {len(result.faults) - before} faults", flush=True)
        lines.append(f"- Under {options.kind}: {'; '.join(uses)}")
        if is_async and (not options.only or "looks" in options.only):
            count = look_at_all(
                browser, site, result, is_small=options.small, axe=AXE_SCRIPT, shots=options.shots
            )
            axe = AXE_SCRIPT.partition("axe v")[2].split()[0]
            lines.append(f"- Chromium {browser.version}, axe-core {axe}: {count} states looked at")
            lines.append(f"- The policy: `{STRICT}`")
        browser.close()
    found = {"lines": lines, "faults": result.faults}
    Path(options.out).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
