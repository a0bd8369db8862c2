"""The chat in use: by keyboard alone, twice on a page, without JavaScript, and when things fail."""

from __future__ import annotations

from typing import Any

from tests.acceptance._api_scenes import BUSY, DONE, FIELD, NARROW, ask, opened, set_scene
from tests.acceptance._api_site import STRICT, ChatSite
from tests.acceptance._browser_probes import Result

_FOCUS = """() => {
  const here = document.activeElement;
  return here.dataset.obcAiAsk || here.getAttribute("aria-label") || here.innerText;
}"""
_SEEN = """() => {
  const here = document.activeElement, style = getComputedStyle(here);
  const field = here.closest(".obc-ai-field");
  const isMarked = (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0)
    || (field && getComputedStyle(field).boxShadow !== "none");
  return isMarked || here === document.body ? "" : here.outerHTML.slice(0, 90);
}"""
#: An answer of the server in pieces of one byte, letters of several bytes and ends of lines cut.
_DRIP = """(text) => {
  const real = window.fetch;
  window.fetch = async (address, options) => {
    if (options?.method !== "POST") return real(address, options);
    const bytes = new TextEncoder().encode(text);
    let at = 0;
    const body = new ReadableStream({
      pull(controller) {
        if (at === bytes.length) controller.close();
        else controller.enqueue(bytes.slice(at, ++at));
      },
    });
    return new Response(body, { headers: { "Content-Type": "text/event-stream; charset=utf-8" } });
  };
}"""


def _tab_to(page: Any, wanted: str, result: Result, *, key: str = "Tab") -> None:
    """Press Tab until something has the focus whose name begins so; all on the way shows it."""
    for _ in range(60):
        page.keyboard.press(key)
        unseen = page.evaluate(_SEEN)
        result.expect(not unseen, f"keyboard: no visible focus on {unseen}")
        if str(page.evaluate(_FOCUS)).strip().startswith(wanted):
            return
    raise AssertionError(f"{key} does not lead to {wanted!r}")


def use_keyboard(browser: Any, site: ChatSite, result: Result) -> None:
    """A whole conversation without a pointer."""
    with opened(browser, site, result, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.goto("/corner/")
        _tab_to(page, "Ask about the data", result)
        page.keyboard.press("Enter")
        page.wait_for_selector(f"{FIELD}:focus")
        page.keyboard.type(set_scene(site, "sources"))
        page.keyboard.press("Shift+Enter")
        page.keyboard.press("Enter")
        page.wait_for_selector(DONE)
        page.wait_for_selector(f"{FIELD}:focus")
        said = page.locator("[data-obc-ai-status]").inner_text()
        result.expect("stand by the sea" in said, f"keyboard: a screen reader is told {said!r}")
        _tab_to(page, "Source 1", result, key="Shift+Tab")
        page.keyboard.press("Enter")
        source = page.locator(".obc-ai-source summary:focus")
        result.expect(source.count() == 1, "keyboard: a citation does not lead to its source")
        result.expect("#" not in page.url, f"keyboard: a citation changed the address: {page.url}")
        _tab_to(page, "Copy", result)
        page.keyboard.press("Enter")
        page.wait_for_selector("text=Copied")
        copied = page.evaluate("navigator.clipboard.readText()")
        result.expect("by the sea [1]" in copied, f"keyboard: copied was {copied!r}")
        set_scene(site, "slow")
        _tab_to(page, "How many", result)
        page.keyboard.press("Enter")
        page.wait_for_selector(".obc-ai-turn:last-child .obc-ai-block")
        page.wait_for_selector(f"{FIELD}:focus")
        _tab_to(page, "Stop", result)
        page.keyboard.press("Enter")
        page.wait_for_selector(DONE)
        page.wait_for_selector(f"{FIELD}:focus")
        set_scene(site, "bars")
        _tab_to(page, "Try again", result, key="Shift+Tab")
        page.keyboard.press("Enter")
        page.wait_for_selector(".obc-ai-bars")
        page.keyboard.press("Escape")
        result.expect(page.locator("details.obc-ai[open]").count() == 0, "Escape closes nothing")
        result.expect(page.locator("summary:focus").count() == 1, "closing loses the focus")
        page.goto("/inline/")  # another page of the same tab
        page.wait_for_selector(".obc-ai-inline .obc-ai-bars")
        page.goto("/corner/")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_selector(".obc-ai-bars")
        _tab_to(page, "Open as a page", result, key="Shift+Tab")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        page.wait_for_selector(".obc-ai-page .obc-ai-bars")
        _tab_to(page, "Delete", result)
        page.keyboard.press("Enter")
        _tab_to(page, "Delete it", result)
        with page.expect_navigation():
            page.keyboard.press("Enter")
        result.expect(page.url.endswith("/ai/"), f"deleting led to {page.url}")
        page.goto("/corner/")
        page.locator("details.obc-ai > summary").press("Enter")
        page.wait_for_timeout(300)
        result.expect(page.locator(".obc-ai-turn").count() == 0, "what was deleted is shown")


def use_plainly(browser: Any, site: ChatSite, result: Result) -> None:
    """Ask, see, go on and delete without JavaScript."""
    with opened(browser, site, result, java_script_enabled=False, size=NARROW) as page:
        page.goto("/corner/")
        page.locator("details.obc-ai > summary").click()
        page.locator(FIELD).fill(set_scene(site, "bars"))
        page.locator("[data-obc-ai-send]").click()
        page.wait_for_selector(".obc-ai-page .obc-ai-bars")
        result.expect(not page.locator(".obc-ai-js").first.is_visible(), "dead buttons are shown")
        page.locator(FIELD).fill(set_scene(site, "sources"))
        page.locator("[data-obc-ai-send]").click()
        page.wait_for_selector(".obc-ai-source")
        page.locator(".obc-ai-text a").last.click()
        result.expect("#obc-ai-source-" in page.url, "a citation leads nowhere")
        page.locator(".obc-ai-delete summary").click()
        page.locator(".obc-ai-delete button").click()
        page.wait_for_selector(".obc-ai-welcome")


def use_forbidden(browser: Any, site: ChatSite, result: Result) -> None:
    """Where the page's policy lets nobody set HTML, what works without JavaScript works."""
    with opened(browser, site, Result()) as page:  # the console tells of the refusal

        def forbid(route: Any) -> None:
            answer = route.fetch(max_redirects=0)
            policy = STRICT.replace("trusted-types obc-ai", "trusted-types 'none'")
            route.fulfill(
                response=answer, headers={**answer.headers, "content-security-policy": policy}
            )

        page.route("**/inline/", forbid)
        page.goto("/inline/")
        page.locator(FIELD).first.fill(set_scene(site, "bars"))
        page.locator("[data-obc-ai-send]").first.click()
        page.wait_for_selector(".obc-ai-page .obc-ai-bars")
        result.expect("/inline/" not in page.url, "a page that forbids it was changed")


def use_twice(browser: Any, site: ChatSite, result: Result) -> None:
    """Two chats on one page keep out of each other's way."""
    with opened(browser, site, result) as page:
        page.goto("/inline/")
        ask(page, site, "sources", root=".obc-ai-inline")
        page.locator(".obc-ai-widget > summary").click()
        page.wait_for_selector(".obc-ai-widget .obc-ai-source")
        page.locator(".obc-ai-widget .obc-ai-text a").first.click()
        own = page.locator(".obc-ai-widget .obc-ai-source summary:focus").count()
        result.expect(own == 1, "a citation leads into the other chat")
        ask(page, site, "line", root=".obc-ai-widget")
        turns = [
            page.locator(f"{each} .obc-ai-turn").count()
            for each in (".obc-ai-inline", ".obc-ai-widget")
        ]
        result.expect(turns == [2, 4], f"two chats hold {turns} messages")


def use_pieces(browser: Any, site: ChatSite, result: Result) -> None:
    """A stream that was cut anywhere, with other ends of lines and comments, is read."""
    html = '<div class=\\"obc-ai-text\\" data-obc-ai-text>Ñañá ₱52 ✓ \\u2028 {}</div>'
    events = [
        ": a sign of life", 'event: block\ndata: {"number":0,"html":"<p>Sa ₱52</p>"}',
        "event: answer\ndata:{\ndata: \"html\":\"" + html + "\"}",
    ]  # fmt: skip
    for end in ("\n", "\r\n", "\r"):
        text = "".join(each.replace("\n", end) + end + end for each in events)
        with opened(browser, site, result) as page:
            page.goto("/inline/")
            page.evaluate(_DRIP, text)
            ask(page, site, "line", root=".obc-ai-inline")
            told = page.locator(".obc-ai-inline .obc-ai-reply").inner_text()
            result.expect("Ñañá ₱52 ✓" in told, f"pieces with {end!r}: {told!r}")


def use_badly(browser: Any, site: ChatSite, result: Result) -> None:
    """Refusals, lost connections and ended sessions are said, and nothing typed is lost."""
    with opened(browser, site, result, may_fail=True) as page:
        page.goto("/inline/")
        notice, retry = ".obc-ai-inline .obc-ai-notice", ".obc-ai-inline .obc-ai-notice button"

        def fails(name: str, wanted: str) -> None:
            ask(page, site, "line", root=".obc-ai-inline")
            told = page.locator(notice).inner_text()
            result.expect(wanted in told, f"{name}: {told!r}")
            kept = page.locator(f".obc-ai-inline {FIELD}").input_value()
            result.expect(kept.startswith("How many"), f"{name}: {kept!r} is left of the question")

        def answered(status: int, body: str, **headers: str) -> Any:
            kind = {"content-type": "application/json", **headers}
            return lambda route: route.fulfill(status=status, body=body, headers=kind)

        stream, detail = "text/event-stream", '{"detail": "That was too often."}'
        for name, handler, wanted in (
            ("429", answered(429, detail, **{"Retry-After": "1"}), "That was too often."),
            ("500", answered(500, "<h1>Oh</h1>", **{"content-type": "text/html"}), "went wrong"),
            ("broken JSON", answered(400, "{"), "went wrong"),
            ("no network", lambda route: route.abort(), "broke off"),
            ("an early end", answered(200, ":\n\n", **{"content-type": stream}), "broke off"),
            ("a page to log in", answered(302, "", Location="/admin/login/"), "session has ended"),
        ):  # fmt: skip
            page.route("**/ai/", handler)
            fails(name, wanted)
            page.unroute("**/ai/")
        page.context.set_offline(True)
        fails("offline", "You are offline.")
        page.context.set_offline(False)
        page.locator(retry).click()
        page.wait_for_selector(".obc-ai-inline .obc-ai-line")
        kept = page.locator(f".obc-ai-inline {FIELD}").input_value()
        result.expect(not kept, f"asked again, and {kept!r} is left in the field")
        # An old page: its token is that of another secret.
        page.evaluate("document.querySelector('[name=csrfmiddlewaretoken]').value = 'a'.repeat(64)")
        ask(page, site, "sources", root=".obc-ai-inline")
        result.expect(page.locator(notice).count() == 0, "an old token is not renewed")
        # Deleted elsewhere: the question begins a new conversation.
        page.evaluate("document.querySelector('[name=conversation]').value = crypto.randomUUID()")
        ask(page, site, "line", root=".obc-ai-inline")
        page.locator(retry).click()
        page.wait_for_selector(".obc-ai-inline .obc-ai-turn:last-child .obc-ai-line")
        page.context.clear_cookies()
        fails("logged out", "session has ended")
        link = page.locator(f"{notice} a").get_attribute("href")
        result.expect("/admin/login/" in (link or ""), f"logged out: the link leads to {link}")


def use_hastily(browser: Any, site: ChatSite, result: Result) -> None:
    """Asking twice asks once; leaving ends the answer, and coming back shows what there is."""
    with opened(browser, site, result) as page:
        page.goto("/corner/")
        page.locator("details.obc-ai > summary").click()
        ask(page, site, "slow", is_awaited=False)
        page.wait_for_selector(BUSY)
        page.locator(FIELD).fill("And again?")
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        count = page.locator(".obc-ai-question").count()
        result.expect(count == 1, f"{count} questions were asked at once")
        page.wait_for_selector(".obc-ai-block")
        page.goto("/inline/")
        page.go_back()
        if page.locator("details.obc-ai[open]").count() == 0:
            page.locator("details.obc-ai > summary").click()
        page.wait_for_selector(".obc-ai-question")
        set_scene(site, "line")
        page.locator(FIELD).fill("And each year?")
        page.keyboard.press("Enter")
        page.wait_for_selector(".obc-ai-line")
        page.locator("[data-obc-ai-new]").click()
        result.expect(page.locator(".obc-ai-turn").count() == 0, "a new conversation is not empty")


def use_page(browser: Any, site: ChatSite, result: Result) -> None:
    """The page knows the conversation that it began; what was stopped stands once, and says so."""
    with opened(browser, site, result) as page:
        page.goto("/ai/")
        result.expect(
            page.locator("details.obc-ai").count() == 0, "the page has a chat in a corner"
        )
        ask(page, site, "slow", is_awaited=False)
        for _ in range(2):
            page.wait_for_selector(".obc-ai-turn:last-child .obc-ai-block")
            page.locator("[data-obc-ai-stop]").click()
            page.locator(".obc-ai-notice button").click()  # again
        page.wait_for_selector(".obc-ai-turn:last-child .obc-ai-block")
        page.locator("[data-obc-ai-stop]").click()
        page.wait_for_selector(".obc-ai-delete")
        title, heading = page.title(), page.locator("h1").inner_text()
        result.expect("slowly" in title and "slowly" in heading, f"the page is called {title!r}")
        here = page.locator(".obc-ai-side [aria-current]").get_attribute("href")
        result.expect(page.url.endswith(str(here)), f"the list is at {here}, the page {page.url}")
        ask(page, site, "line")
        for when in ("at once", "later"):
            count = page.locator(".obc-ai-question").count()
            result.expect(count == 2, f"{when} {count} questions stand there, not 2")
            result.expect(page.locator(".obc-ai-notice").count() == 1, f"{when} nothing is said")
            page.reload()
        set_scene(site, "bars")
        page.locator(".obc-ai-notice a").click()
        page.wait_for_selector(".obc-ai-bars")


def use_scrolling(browser: Any, site: ChatSite, result: Result) -> None:
    """Who scrolls up is left there; below a long question the answer is in sight."""
    with opened(browser, site, result) as page:
        page.goto("/corner/")
        page.locator("details.obc-ai > summary").click()
        size = page.locator(".obc-ai").evaluate(
            "(each) => parseFloat(getComputedStyle(each).fontSize)"
        )
        result.expect(size >= 16, f"the text has {size} pixels on a page that made its own small")
        ask(page, site, "bars")
        ask(page, site, "slow", is_awaited=False)
        page.wait_for_selector(".obc-ai-turn:last-child .obc-ai-block")
        scroll = page.locator("[data-obc-ai-scroll]")
        scroll.evaluate("(each) => each.scrollTo(0, 40)")
        told = page.locator(".obc-ai-turn:last-child").inner_text()
        page.wait_for_function(
            "(told) => document.querySelector('.obc-ai-turn:last-child').innerText > told", arg=told
        )
        at = scroll.evaluate("(each) => each.scrollTop")
        result.expect(at == 40, f"somebody who scrolled up is at {at}, not at 40")
        page.locator("[data-obc-ai-stop]").click()
        set_scene(site, "bars")
        page.locator(FIELD).fill("Which of these?\n" + "Lamitan\n" * 60 + "And why?")
        page.keyboard.press("Enter")
        page.wait_for_selector(".obc-ai-turn:last-child .obc-ai-bars")
        place, frame = (page.locator(each).bounding_box() for each in _LAST_AND_FRAME)
        is_seen = place["y"] < frame["y"] + frame["height"] / 2
        result.expect(is_seen, f"the answer to a long question begins at {place}, below {frame}")


_LAST_AND_FRAME = (".obc-ai-turn:last-child .obc-ai-text", "[data-obc-ai-scroll]")
USES = {
    "keyboard": use_keyboard,
    "no JavaScript": use_plainly,
    "no HTML allowed": use_forbidden,
    "two on a page": use_twice,
    "cut anywhere": use_pieces,
    "failures": use_badly,
    "haste": use_hastily,
    "page": use_page,
    "scrolling": use_scrolling,
}
UNDER_WSGI = ("keyboard", "no JavaScript", "haste")
