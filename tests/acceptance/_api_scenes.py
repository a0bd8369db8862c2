"""What is asked in the browser, how it is planned and answered, and a page that is watched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.acceptance._api_site import ChatSite
from tests.acceptance._browser_probes import Result

WIDE, NARROW = (1280, 800), (360, 740)
BUSY = "[data-obc-ai-log][aria-busy=true]"
DONE = "[data-obc-ai-log][aria-busy=false]"
FIELD = "[data-obc-ai-form] textarea"
_COUNT = {"function": "count", "path": "", "alias": "count"}
_SUM = {"function": "sum", "path": "count", "alias": "households"}
_PLACES = {"kind": "query", "model": "testapp.Place"}
_SURVEYS = {"kind": "query", "model": "testapp.Survey"}
_LIST = ["title", "date", "year", "count", "budget", "status", "place.name"]

#: By name: question, plan, text, how the model answers.
SCENES: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "bars": (
        "How many places are there in each province?",
        {**_PLACES, "group_by": ["province"], "aggregate": [_COUNT], "order_by": ["-count"]},
        (
            "**Lanao del Sur** has the most places, 19 of 52 [1].\n\n- Maguindanao del Norte"
            " follows with 13,\n- then Sulu with 9 and Basilan with 7.\n\nTawi-Tawi has the"
            " fewest: 4 [1]."
        ),
        {"chunks": 12, "chunk_interval_seconds": 0.1},
    ),
    "line": (
        "How many households were asked each year?",
        {**_SURVEYS, "group_by": ["year"], "aggregate": [_SUM], "order_by": ["year"]},
        "The number went up until 2020 and down since [1].",
        {},
    ),
    "sources": (
        "Which houses stand by the sea?",
        {"kind": "search", "search": "house by the sea", "index": "places"},
        (
            "Some houses stand by the sea [1], more of them in Sulu [2, 3].\n\n### What they are"
            " called\n\n1. Their names say `House by the sea`.\n2. One name comes first [1]."
        ),
        {},
    ),
    "table": (
        "Which surveys were made?",
        {**_SURVEYS, "fields": _LIST, "limit": 30},
        "There are 60 surveys; these are the first 30 [1].",
        {},
    ),
    "refusal": (
        "Who will win the election?",
        {"kind": "refuse", "reason": "The data hold places and surveys, not elections."},
        "",
        {},
    ),
    "broken": (
        "How many places are there?",
        {**_PLACES, "aggregate": [_COUNT]},
        "There are 52 places in all five provinces. " * 4,
        {"chunks": 8, "chunk_interval_seconds": 0.05, "cut": "rst", "cut_after": 2},
    ),
    "slow": (
        "Tell me of all places, slowly.",
        {**_PLACES, "aggregate": [_COUNT]},
        "There are **52 places** in all [1]. " * 20,
        {"chunks": 100, "chunk_interval_seconds": 0.2},
    ),
}


def set_scene(site: ChatSite, name: str) -> str:
    """Let the model play a scene; return the question."""
    question, plan, text, how = SCENES[name]
    site.will(plan, text, **how)
    return question


def ask(page: Any, site: ChatSite, name: str, *, is_awaited: bool = True, root: str = "") -> None:
    """Ask what a scene begins with."""
    question = set_scene(site, name)
    box = page.locator(f"{root} {FIELD}").first
    box.fill(question)
    box.press("Enter")
    if is_awaited:
        page.wait_for_selector(f"{root} {DONE}")


@dataclass
class Watched:
    """What a page said on its console, and which answers it got."""

    result: Result
    may_fail: bool = False
    said: list[str] = field(default_factory=list)

    def note(self, what: str, page: Any, text: str) -> None:
        # Chromium itself says of each refused request that it was refused.
        if self.may_fail and ("Failed to load resource" in text or what != "console"):
            return
        self.result.faults.append(f"{what} on {page.url}: {text}")


@contextmanager
def opened(
    browser: Any, site: ChatSite, result: Result, *, may_fail: bool = False, **options: Any
) -> Iterator[Any]:
    """A page of somebody of the staff; what it says on the console becomes a fault."""
    size = options.pop("size", WIDE)
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, base_url=site.url, **options
    )
    context.add_cookies([{"name": "sessionid", "value": site.session, "url": site.url}])
    if options.get("java_script_enabled", True):
        context.add_init_script(
            "addEventListener('securitypolicyviolation',"
            " (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`))"
        )
    page, watched = context.new_page(), Watched(result, may_fail)
    page.set_default_timeout(15_000)
    page.on("console", lambda each: watched.note("console", page, each.text))
    page.on("pageerror", lambda each: result.faults.append(f"error on {page.url}: {each}"))
    page.on("response", lambda r: watched.note("answer", page, r.url) if r.status >= 400 else None)
    yield page
    context.close()


Step = Callable[[Any, ChatSite, Result], None]
