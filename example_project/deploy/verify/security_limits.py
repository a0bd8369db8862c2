"""How often somebody may ask: strangers by their address, people by their account."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import urlencode

from deploy.verify.checks import Failed, Skipped, Suite
from deploy.verify.context import Context
from deploy.verify.security_asking import (
    FREE_MESSAGE,
    form_token,
    programme,
    send_form,
    session_of,
    stranger,
    told,
)
from deploy.verify.site import Answer, Visitor

#: More is not asked for, whatever the settings allow.
_MOST = 150
#: Seconds for which a refusal has to hold, so that something can be tried meanwhile.
_LONG_ENOUGH = 20
_TRIES = 5
#: Addresses that a client may write into the header, for documentation alone (RFC 5737).
_CLAIMED = ("203.0.113.7", "198.51.100.9, 203.0.113.8", "127.0.0.1", "192.0.2.1:4711", "::1", "x")


def add(suite: Suite) -> None:
    """Add the checks."""
    add, needs = suite.check, ("people",)
    add("throttle-strangers", "Strangers get 429 at their limit", needs=needs)(strangers)
    add("throttle-forwarded", "X-Forwarded-For of a client changes nothing",
        needs=("throttle-strangers",))(forwarded)  # fmt: skip
    add("throttle-users", "One user gets 429 at the limit", needs=needs)(users)


def strangers(context: Context) -> str:
    """Ask from an address of its own until it is refused."""
    _look_at_proxies()
    for _ in range(_TRIES):
        visitor = stranger(context)
        count, answer = _until_refused(visitor, _least("anon"))
        if answer.status != 429:
            raise Failed(_unlimited("a stranger", count, "anon"))
        wait = _seconds_of(answer)
        until = time.monotonic() + wait
        if wait >= _LONG_ENOUGH:
            break
        time.sleep(wait)  # the minute has just ended, so that one more may be asked already
    elsewhere = stranger(context).get("/api/usage/").status
    if elsewhere == 429:
        raise Failed(
            "strangers are counted as one: another address is refused, too (429). The proxy has to"
            " write X-Forwarded-For, and OBC_SITE_PROXIES to say how many proxies do"
        )
    context.seen["throttled"] = visitor, until
    return f"429 after {count} requests, again in {answer.header('retry-after')} s; not elsewhere"


def forwarded(context: Context) -> str:
    """Claim to come from elsewhere, as an address that is refused."""
    visitor: Visitor
    visitor, until = context.seen["throttled"]
    for claimed in _CLAIMED:
        for name in ("X_Forwarded_For", "X_Real_IP", "Forwarded", "X_Client_IP", "True_Client_IP"):
            value = f"for={claimed}" if name == "Forwarded" else claimed
            answer = visitor.get("/api/usage/", **{name: value})
            if time.monotonic() >= until - 1:
                raise Skipped("the limit has ended meanwhile; is the server busy? Run it again")
            if answer.status != 429:
                raise Failed(
                    f"a client that writes {name.replace('_', '-')} escapes the throttle (status"
                    f" {answer.status}): OBC_SITE_PROXIES is higher than the number of proxies, or"
                    " the proxy passes on what clients write (proxy_set_header of"
                    " conf/nginx-site.conf)"
                )
    return f"still 429 with {len(_CLAIMED)} claims in 5 headers"


def users(context: Context) -> str:
    """Ask as one user until that is refused, also from another address, and as another one."""
    person = context.person("obc-verify-throttle")
    browser = session_of(context, person)
    form = urlencode({"q": "upi", "question": "", **form_token(browser)})
    program = programme(context, person)
    count, answer = _until_refused(program, _least("user"))
    if answer.status != 429:
        raise Failed(_unlimited("a user", count, "user"))
    wait = _seconds_of(answer)
    moved = Visitor(context.address, stranger(context).source, headers=dict(program.headers))
    free = {"message": FREE_MESSAGE}
    statuses = {
        "from another address": _last_of(lambda: moved.get("/api/usage/")),
        "the search": _last_of(lambda: program.send("/api/search/", {"query": "x"})),
        "the stream": _last_of(lambda: program.send("/api/chat/stream/", free)),
        "a page that may cost": _last_of(lambda: send_form(browser, "/search/ask/", form)),
    }
    if open_ones := {what: status for what, status in statuses.items() if status != 429}:
        raise Failed(
            f"a user who is refused is answered nevertheless ({told(open_ones)}): web and streams"
            " have to count in one cache, and pages that may cost to count"
        )
    return f"429 after {count} requests, again in {wait} s; so do {', '.join(statuses)}"


def _last_of(ask: Callable[[], Answer]) -> int:
    """Ask until it is refused, a few times: one each second may be let through meanwhile."""
    for _ in range(_TRIES):
        status = ask().status
        if status == 429:
            break
    return status


def _look_at_proxies() -> None:
    """Do not use up what all strangers share, where they share it."""
    from django_obc_ai.conf import get_settings

    if get_settings().web.trusted_proxies == 0:
        raise Failed(
            'OBC_AI["WEB"]["trusted_proxies"] is 0, so all strangers are counted as one, by the'
            " proxy's address: write OBC_SITE_PROXIES=1"
        )


def _least(name: str) -> int:
    """Return how many requests may be made at once, as the settings say."""
    from django_obc_ai.conf import get_settings

    rates = get_settings().web.throttles
    found = [rate.requests for each in (name, "burst") if (rate := rates[each]) is not None]
    return min(found, default=_MOST)


def _until_refused(visitor: Visitor, least: int) -> tuple[int, Answer]:
    """Ask until that is refused; return how often it was not, and the last answer."""
    count = 0
    while True:
        answer = visitor.get("/api/usage/")
        if answer.status == 429 or count >= min(2 * least + 10, _MOST):
            return count, answer
        count += 1


def _unlimited(who: str, count: int, name: str) -> str:
    return (
        f"{who} was not refused after {count} requests: the throttle is off, or not counted for all"
        f' workers. See "{name}" and "burst" of OBC_AI["WEB"]["throttles"], and CACHES'
    )


def _seconds_of(answer: Answer) -> int:
    """Return after how many seconds to come again."""
    wait = answer.header("retry-after")
    if not wait.isdecimal() or not 0 < int(wait) <= 86_400:
        raise Failed(f"the refusal (429) says no seconds in Retry-After, but {wait!r}")
    return int(wait)
