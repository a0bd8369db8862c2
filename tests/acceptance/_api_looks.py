"""The chat in all its states, looked at: screenshots, axe-core, what sticks out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.acceptance._api_scenes import NARROW, WIDE, ask, opened
from tests.acceptance._api_site import ChatSite
from tests.acceptance._browser_probes import Result, run_axe

LOOKS = [
    ("light", WIDE, "en-US"), ("dark", NARROW, "fil-PH"), ("light", WIDE, "ar"),
    ("light", NARROW, "en-US"), ("dark", NARROW, "ar"),
    ("dark", WIDE, "fil-PH"), ("light", WIDE, "fil-PH"), ("dark", NARROW, "en-US"),
    ("light", NARROW, "fil-PH"), ("dark", WIDE, "en-US"),
]  # fmt: skip
_STICKS_OUT = """() => {
  const wide = document.documentElement;
  if (wide.scrollWidth > innerWidth + 1) return "the page";
  const scrolls = (each) => each.closest(".obc-ai-frame, pre, .obc-ai-side, .obc-ai-unseen");
  const out = [...document.querySelectorAll(".obc-ai *")].find((each) => {
    const box = each.getBoundingClientRect();
    if (!each.checkVisibility() || !box.width || scrolls(each)) return false;
    return box.right > innerWidth + 1 || box.left < -1;
  });
  return out ? out.outerHTML.slice(0, 90) : "";
}"""
_TOO_SMALL = """() => [...document.querySelectorAll(
  ".obc-ai :is(button, summary, .obc-ai-ask, .obc-ai-tool, .obc-ai-button, .obc-ai-icon)"
)].filter((each) => each.checkVisibility()).map((each) => [each, each.getBoundingClientRect()])
  .filter(([, box]) => box.width && box.height < 43.5)
  .map(([each, box]) => `${each.className} ${box.height}`)"""


class Looker:
    """Looks at one page in each of its states."""

    def __init__(self, page: Any, result: Result, *, where: str, axe: str, shots: str) -> None:
        self._page, self._result = page, result
        self._where, self._axe, self._shots = where, axe, shots
        self.count = 0

    def see(self, through: Callable[[Any, ChatSite, Looker], None], site: ChatSite) -> None:
        """Go through the states of a page; where one does not come, a picture tells more."""
        try:
            through(self._page, site, self)
        except Exception as error:
            self._page.screenshot(path=f"{self._shots}/{self._where.replace(' ', '-')}-FAILED.png")
            self._result.faults.append(f"{self._where}: {str(error)[:600]}")

    def look(self, state: str, *, full_page: bool = False, is_still: bool = True) -> None:
        where = f"{self._where} {state}"
        name = where.replace(" ", "-")
        self._page.screenshot(path=f"{self._shots}/{name}.png", full_page=full_page)
        out = self._page.evaluate(_STICKS_OUT)
        self._result.expect(not out, f"{where}: {out} sticks out")
        if is_still:
            run_axe(self._page, self._axe, self._result, where)
        self.count += 1


def look_at_all(
    browser: Any, site: ChatSite, result: Result, *, is_small: bool, axe: str, shots: str
) -> int:
    """Open widget and page in each look; return how many states were looked at."""
    count = 0
    for scheme, size, locale in LOOKS[:3] if is_small else LOOKS:
        where = f"{scheme} {size[0]} {locale[:3].strip('-')}"
        more = {"has_touch": True} if size == NARROW else {}
        with opened(
            browser, site, result, color_scheme=scheme, size=size, locale=locale, **more
        ) as page:
            looker = Looker(page, result, where=f"widget {where}", axe=axe, shots=shots)
            looker.see(_widget, site)
            count += looker.count
            if size == NARROW:
                small = page.evaluate(_TOO_SMALL)
                result.expect(not small, f"{where}: too small for a finger: {small}")
            looker = Looker(page, result, where=f"page {where}", axe=axe, shots=shots)
            looker.see(_page, site)
            count += looker.count
            lang = page.locator("html").get_attribute("lang")
            result.expect(lang == locale[:3].strip("-"), f"{where}: the page is in {lang}")
    with opened(browser, site, result, forced_colors="active", reduced_motion="reduce") as page:
        looker = Looker(page, result, where="widget forced-colors", axe=axe, shots=shots)
        looker.see(_widget, site)
        moving = page.evaluate("document.getAnimations().length")
        result.expect(not moving, f"{moving} things move, where nothing should")
    return count + looker.count


def _widget(page: Any, site: ChatSite, looker: Looker) -> None:
    page.goto("/corner/")
    looker.look("closed")
    page.locator("details.obc-ai > summary").click()
    page.wait_for_timeout(250)  # until it has slid in
    looker.look("open")
    ask(page, site, "bars", is_awaited=False)
    page.wait_for_selector(".obc-ai-block li")
    looker.look("streaming", is_still=False)
    page.wait_for_selector(".obc-ai-bars")
    looker.look("bars")
    page.locator(".obc-ai-scroll").evaluate("(each) => each.scrollTo(0, each.scrollHeight)")
    looker.look("bars-end")
    ask(page, site, "line")
    looker.look("line")
    ask(page, site, "sources")
    page.locator(".obc-ai-turn:last-child .obc-ai-text a").first.click()
    looker.look("sources")
    ask(page, site, "table")
    looker.look("table")
    ask(page, site, "refusal")
    looker.look("refusal")
    ask(page, site, "broken")
    looker.look("error")
    ask(page, site, "slow", is_awaited=False)
    page.wait_for_selector(".obc-ai-turn:last-child .obc-ai-block")
    page.locator("[data-obc-ai-stop]").click()
    page.wait_for_selector(".obc-ai-notice")
    looker.look("stopped")


def _page(page: Any, site: ChatSite, looker: Looker) -> None:
    page.goto("/ai/")
    looker.look("empty")
    ask(page, site, "sources")
    ask(page, site, "bars", is_awaited=False)
    page.wait_for_selector(".obc-ai-turn:last-child .obc-ai-block")
    looker.look("streaming", is_still=False)
    page.wait_for_selector(".obc-ai-bars")
    looker.look("bars")
    ask(page, site, "table")
    page.reload()
    page.wait_for_selector(".obc-ai-rows")
    looker.look("history")
    page.locator(".obc-ai-delete summary").click()
    looker.look("delete")
