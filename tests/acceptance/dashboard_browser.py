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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.acceptance._browser_site import POLICY, Site, fill, serve

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WIDE, NARROW = (1280, 900), (360, 740)
CHARTS = ("spend", "calls", "times")
#: What axe-core finds in the markup of Django's own admin: rule, and where it lies.
OF_DJANGO: dict[str, str] = {}
#: Each thing that takes the focus must look another way while it has it.
_FOCUSABLE = (
    "#ai-dashboard :is(a[href], button, input, select, summary, [tabindex='0'])"
)  # fmt: skip


@dataclass
class Result:
    """What was seen, in words, and what was wrong."""

    lines: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    of_django: set[str] = field(default_factory=set)

    def expect(self, is_right: bool, fault: str) -> None:
        if not is_right:
            self.faults.append(fault)


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


def is_drawn(page: Any, name: str) -> int:
    """How many colours a chart's canvas holds."""
    return int(
        page.evaluate(
            """(name) => {
              const canvas = document.querySelector(`[data-chart=${name}] canvas`);
              const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
              const seen = new Set();
              for (let at = 0; at < data.length; at += 4)
                if (data[at + 3] === 255) seen.add((data[at] << 16) | (data[at + 1] << 8) | data[at + 2]);
              return seen.size;
            }""",
            name,
        )
    )


def look_for_axe(page: Any, source: str, result: Result, where: str) -> None:
    """Run axe-core in the page, past the policy that binds the page's own scripts."""
    tools = page.context.new_cdp_session(page)
    for script in (source, "void 0"):
        tools.send("Runtime.evaluate", {"expression": script})
    answer = tools.send(
        "Runtime.evaluate",
        {
            "expression": "axe.run(document, {resultTypes: ['violations']})"
            ".then((found) => found.violations.map(({id, impact, help, nodes}) =>"
            " ({id, impact, help, nodes: nodes.map((n) => ({html: n.html, target: n.target.join(' '),"
            " why: n.failureSummary}))})))",
            "awaitPromise": True,
            "returnByValue": True,
        },
    )
    if "exceptionDetails" in answer:
        raise SystemExit(f"axe-core failed: {answer['exceptionDetails']}")
    for rule in answer["result"]["value"]:
        for node in rule["nodes"]:
            said = f"{rule['id']} ({rule['impact']}): {node['html'][:140]}"
            if is_of_django(page, rule["id"], node["target"]):
                result.of_django.add(f"{rule['id']} ({rule['impact']}), `{OF_DJANGO[rule['id']]}`")
            elif rule["impact"] in ("serious", "critical"):
                why = node["why"].replace("\n", " ")
                result.faults.append(f"axe on {where}: {said} [{node['target']}] {why}")


def is_of_django(page: Any, rule: str, target: str) -> bool:
    if rule not in OF_DJANGO:
        return False
    script = "([target, place]) => Boolean(document.querySelector(target)?.closest(place))"
    return bool(page.evaluate(script, [target, OF_DJANGO[rule]]))


def walk(page: Any, result: Result, where: str) -> int:
    """Tab through the page; return how many stops of the dashboard were made."""
    wanted = page.evaluate(
        """(focusable) => {
          const all = [...document.querySelectorAll(focusable)].filter((e) => e.checkVisibility());
          all.forEach((each, number) => { each.dataset.stop = number; });
          return all.length;
        }""",
        _FOCUSABLE,
    )
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    seen: dict[str, str] = {}
    for _ in range(wanted * 3 + 80):  # a field for dates has several stops of its own
        page.keyboard.press("Tab")
        stop = page.evaluate(
            """() => {
              const e = document.activeElement, s = getComputedStyle(e), b = e.getBoundingClientRect();
              const outline = s.outlineStyle !== "none" && parseFloat(s.outlineWidth) > 0;
              const isIn = b.bottom > 0 && b.top < innerHeight && b.right > 0 && b.left < innerWidth;
              return [e.dataset.stop ?? "", outline && isIn ? "" : `${e.outerHTML.slice(0, 90)}`];
            }"""
        )
        if stop[0]:
            seen.setdefault(*stop)
        elif len(seen) == wanted:
            break
    result.expect(len(seen) == wanted, f"{where}: {wanted - len(seen)} stops were not reached")
    for hidden in filter(None, seen.values()):
        result.faults.append(f"{where}: no visible focus on {hidden}")
    return len(seen)


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
    page.wait_for_selector("[data-chart=calls][data-drawn]")
    page.wait_for_load_state("networkidle")
    box = page.locator("[data-chart=spend] canvas").bounding_box()
    with page.expect_navigation():
        page.mouse.click(box["x"] + box["width"] * 0.55, box["y"] + box["height"] * 0.84)
    result.expect("created_at__gte" in page.url, f"{where}: a bar led to {page.url}")


def visit(page: Any, url: str) -> None:
    page.goto(url, wait_until="networkidle")


def see(
    browser: Any, site: Site, result: Result, *, state: str, key: str, is_small: bool, axe: str
) -> dict[str, int]:
    """Look at all pages in one state of the ledger."""
    pages = {"dashboard": "", "operations": "../", "budgets": "../../budget/"}
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
                            is_drawn(page, chart) >= least, f"{where}: {chart} is not drawn"
                        )
                    sticks_out = "document.documentElement.scrollWidth > innerWidth + 1"
                    result.expect(not page.evaluate(sticks_out), f"{where}: wider than the window")
                page.screenshot(path=f"{SHOTS}/{where.replace(', ', '-')}.png", full_page=True)
                look_for_axe(page, axe, result, where)
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
        crowded = see(browser, site, result, state="crowded", key=key, **shared)
        print_page(browser, site, result)
        browser.close()
    axe = AXE_SCRIPT.partition("axe v")[2].split()[0]
    lines = [
        *("# The dashboard in a browser", "", (__doc__ or "").strip(), ""),
        f"- Chromium {version}, axe-core {axe}, policy `{POLICY}`",
        f"- {count:,} operations. Command: `./tests/acceptance/run.sh dashboard_browser`",
        f"- {empty['views'] + crowded['views']} views; {crowded['stops']} stops of the Tab key on the"
        f" crowded dashboard, {empty['stops']} on the empty one",
        f"- Took {time.monotonic() - began:.0f} s",
        "",
        *(["In Django's own markup, left out:", ""] if result.of_django else []),
        *(f"- {each}" for each in sorted(result.of_django)),
        *([""] if result.of_django else []),
        *(["Wrong:", "", *(f"- {each}" for each in result.faults)] if result.faults else ["Nothing was wrong."]),
        "",
    ]  # fmt: skip
    Path(options.out).write_text("\n".join(lines), encoding="utf-8")
    print(f"Screenshots: {SHOTS}", file=sys.stderr)
    if result.faults:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
