"""The dashboard and the admin's lists in Chromium, behind a strict content security policy.

The page is opened empty and crowded, in light and dark, 1280 and 360 pixels wide. In each:

1. the console stays silent: no message, no error, no violation of the policy, no failed request;
2. every chart is drawn, in more than one colour;
3. nothing sticks out to the side of the window;
4. each link, field, button and table is reached with the Tab key and shows that it has the focus;
   tables open with the Enter key, and a chart leads to the list behind a bar;
5. axe-core finds nothing serious or critical, but in what is Django's own (listed below).

Then the page is printed. Without a Chromium on PATH nothing is done; none is downloaded.
Screenshots go to a folder that is named at the end, or to that of --shots.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.acceptance._browser_probes import Result, count_colours, run_axe, walk
from tests.acceptance._browser_site import POLICY, Site, fill, fill_background, serve

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WIDE, NARROW = (1280, 900), (360, 740)
CHARTS = ("spend", "calls", "times")


@contextmanager
def opened(browser: Any, site: Site, result: Result, *, scheme: str, size: Any) -> Iterator[Any]:
    """A page of a logged-in user; what it says on the console becomes a fault."""
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": size[0], "height": size[1]}
    )
    context.add_cookies([{"name": "sessionid", "value": site.session, "url": site.url}])
    context.add_init_script(
        "addEventListener('securitypolicyviolation',"
        " (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`))"
    )
    page = context.new_page()

    def told(what: str, message: str) -> None:
        result.faults.append(f"{what} on {page.url}: {message}")

    page.on("console", lambda each: told("console", each.text))
    page.on("pageerror", lambda each: told("error", str(each)))
    page.on("requestfailed", lambda each: told("failed request", each.url))
    page.on(
        "response", lambda each: told("answer", each.url) if each.status >= 400 else None
    )  # fmt: skip
    yield page
    context.close()


def operate(page: Any, site: Site, result: Result, where: str) -> None:
    """Open a table, choose other days and follow a bar, all without a pointer but the last."""
    summary = page.locator("[data-chart=spend] summary")
    summary.focus()
    page.keyboard.press("Enter")
    result.expect(
        page.locator("[data-chart=spend] table").is_visible(), f"{where}: no table opened"
    )
    page.locator("select[name=by]").focus()
    page.keyboard.type("user")
    page.locator("#ai-dashboard button").focus()
    with page.expect_navigation():
        page.keyboard.press("Enter")
    result.expect("by=user" in page.url, f"{where}: the form was not sent: {page.url}")
    page.wait_for_selector("[data-load] [data-table]")
    canvas = page.locator("[data-chart=spend] canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    with page.expect_navigation():
        canvas.click(position={"x": box["width"] * 0.55, "y": box["height"] * 0.8})
    result.expect("created_at__gte" in page.url, f"{where}: a bar led to {page.url}")


def visit(page: Any, url: str) -> None:
    page.goto(url)
    if page.locator("#ai-dashboard").count():
        page.wait_for_selector("[data-chart=times][data-drawn]")
        page.wait_for_selector("[data-load] [data-table]")


def see(
    browser: Any, site: Site, result: Result, *, state: str, key: str, is_small: bool, axe: str
) -> dict[str, int]:
    """Look at all pages in one state of the ledger."""
    pages = {"dashboard": "", "operations": "../", "budgets": "../../budget/", "jobs": "../../job/"}
    if key:
        pages["operation"] = f"../{key}/change/"
    looks = [("light", WIDE), ("dark", NARROW)]
    if not is_small:
        looks += [("dark", WIDE), ("light", NARROW)]
    base, stops = f"{site.url}/admin/django_obc_ai/aioperation/dashboard/", 0
    for scheme, size in looks:
        with opened(browser, site, result, scheme=scheme, size=size) as page:
            for name, path in pages.items():
                where = f"{name}, {state}, {scheme}, {size[0]} px"
                visit(page, base + path)
                if name == "dashboard":
                    for chart in CHARTS:
                        least = 3 if state == "crowded" else 2
                        result.expect(
                            count_colours(page, chart) >= least, f"{where}: {chart} is not drawn"
                        )
                    sticks_out = "document.documentElement.scrollWidth > innerWidth + 1"
                    result.expect(not page.evaluate(sticks_out), f"{where}: wider than the window")
                page.screenshot(path=f"{SHOTS}/{where.replace(', ', '-')}.png", full_page=True)
                run_axe(page, axe, result, where)
            if scheme == "light" or not is_small:
                visit(page, base)
                stops = max(stops, walk(page, result, where))
            if state == "crowded" and (scheme, size) == ("light", WIDE):
                operate(page, site, result, where)
    return {"views": len(looks) * len(pages), "stops": stops}


def print_page(browser: Any, site: Site, result: Result) -> None:
    """Print the page that is dark on the screen."""
    with opened(browser, site, result, scheme="dark", size=WIDE) as page:
        visit(page, f"{site.url}/admin/django_obc_ai/aioperation/dashboard/")
        page.emulate_media(media="print", color_scheme="dark")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.screenshot(path=f"{SHOTS}/printed.png", full_page=True)
        colours = page.evaluate(
            "[document.body, document.querySelector('#ai-dashboard')]"
            ".map((e) => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color])"
        )
        result.expect(colours[0][0] == "rgb(255, 255, 255)", f"printed on {colours[0][0]}")
        result.expect(colours[1][1] == "rgb(51, 51, 51)", f"printed in {colours[1][1]}")
        hidden = page.locator(".ai-ranges").is_visible()
        result.expect(not hidden, "what cannot be used on paper is printed")


def _listed(title: str, entries: list[str]) -> list[str]:
    return [title, "", *(f"- {each}" for each in entries), ""] if entries else []


SHOTS = ""


def find_chromium() -> str:
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), "")


def install() -> None:
    """Bring Playwright and axe-core, which no other test needs, into this environment."""
    if importlib.util.find_spec("axe_playwright_python") is None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--group", "browser"], check=True)
        importlib.invalidate_caches()


def main() -> None:
    global SHOTS
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    parser.add_argument("--shots", help="a folder for the screenshots")
    options = parser.parse_args()
    chromium = find_chromium()
    if not chromium:
        print("SKIPPED: there is no Chromium on PATH (on Debian: apt-get install chromium).")
        return
    install()
    from axe_playwright_python.base import AXE_SCRIPT
    from playwright.sync_api import sync_playwright

    SHOTS = options.shots or tempfile.mkdtemp(prefix="dashboard-")
    Path(SHOTS).mkdir(parents=True, exist_ok=True)
    began, result, count = time.monotonic(), Result(), 2_000 if options.small else 20_000
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = ""
    with tempfile.TemporaryDirectory() as folder, serve(folder) as site, sync_playwright() as tools:
        browser = tools.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        version, shared = browser.version, {"is_small": options.small, "axe": AXE_SCRIPT}
        empty = see(browser, site, result, state="empty", key="", **shared)
        key = site.apart(lambda: fill(count))
        site.apart(lambda: fill_background() or True)
        crowded = see(browser, site, result, state="crowded", key=key, **shared)
        print_page(browser, site, result)
        browser.close()
    axe = AXE_SCRIPT.partition("axe v")[2].split()[0]
    views, stops = empty["views"] + crowded["views"], (crowded["stops"], empty["stops"])
    lines = [
        *("# The dashboard in a browser", "", (__doc__ or "").strip(), ""),
        f"- Chromium {version}, axe-core {axe}; {count:,} operations; {views} views",
        f"- Stops of the Tab key: {stops[0]} on the crowded dashboard, {stops[1]} on the empty one",
        f"- Took {time.monotonic() - began:.0f} s: `./tests/acceptance/run.sh dashboard_browser`",
        *("", "The policy:", "", "```text", POLICY.replace("; ", ";\n"), "```", ""),
        *_listed("In Django's own markup, left out:", sorted(result.of_django)),
        *(_listed("Wrong:", result.faults) or ["Nothing was wrong.", ""]),
    ]
    Path(options.out).write_text("\n".join(lines), encoding="utf-8")
    print(f"Screenshots: {SHOTS}", file=sys.stderr)
    if result.faults:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
