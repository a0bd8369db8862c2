"""Take docs/images/chat.png: the widget on the example's first page, in Chromium.

    python tests/acceptance/_chat_image.py VAR

VAR is a folder that example_project/scripts/demo.sh has filled (OBC_SITE_VAR).
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def main() -> None:
    from playwright.sync_api import sync_playwright

    from tests.acceptance.dashboard_browser import find_chromium, install

    install()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    environment = {**os.environ, "OBC_SITE_VAR": sys.argv[1]}
    manage = [sys.executable, str(ROOT / "example_project" / "manage.py")]
    site = subprocess.Popen([*manage, "runserver", "--noreload", address], env=environment)
    try:
        with sync_playwright() as tools:
            browser = tools.chromium.launch(
                executable_path=find_chromium(),
                args=["--no-sandbox"] if os.geteuid() == 0 else [],
            )
            page = browser.new_page(viewport={"width": 1280, "height": 860}, color_scheme="light")
            wait_for(port)
            page.goto(f"http://{address}/")
            page.click("summary.obc-ai-opener")
            page.fill(".obc-ai-widget textarea", "Communities per province")
            page.keyboard.press("Enter")
            page.wait_for_selector(".obc-ai-widget [data-obc-ai-answer] svg")
            page.screenshot(path=ROOT / "docs" / "images" / "chat.png")
            browser.close()
    finally:
        site.terminate()
        site.wait()


def wait_for(port: int) -> None:
    for _ in range(300):
        with socket.socket() as trying:
            if trying.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit("The example did not start.")


if __name__ == "__main__":
    main()
