"""Headers of safety, as they arrive over TLS: each once, and right."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from deploy.verify.checks import Failed, Suite
from deploy.verify.context import Context
from deploy.verify.decisions import hsts_fault
from deploy.verify.security_asking import FREE_MESSAGE, patiently, programme, staff
from deploy.verify.site import Answer, Visitor

_STATIC = re.compile(r'(?:href|src)="(/static/[^"]+\.(?:css|js))"')
_NONCE = re.compile(r"'nonce-([^']+)'")
#: All that scripts and styles may come from: the site itself, or what the page names one by one.
_OWN = re.compile(r"'(?:self|none|report-sample|nonce-[^']+|sha(?:256|384|512)-[^']+)'")
_SCRIPTS = ("script-src", "style-src", "script-src-elem", "script-src-attr", "style-src-elem",
            "style-src-attr", "worker-src")  # fmt: skip
#: What else is loaded, or asked: an answer could send what it knows there.
_LOADED = ("default-src", "connect-src", "img-src", "font-src", "media-src", "frame-src")
_REFERRER = ("same-origin", "no-referrer", "strict-origin", "strict-origin-when-cross-origin")
PAGES = "header-pages"


@dataclass(frozen=True, slots=True)
class Page:
    """One answer that is looked at.

    Attributes:
        is_static: Given by the proxy itself, from a file.
        again: A second answer to the same question, to compare.
    """

    name: str
    answer: Answer
    again: Answer | None = None
    is_static: bool = False


def add(suite: Suite) -> None:
    """Add the checks."""
    suite.check(PAGES, "Pages of each kind arrive", needs=("people",))(header_pages)
    for name, title, look in (
        ("header-hsts", "Strict-Transport-Security", strict_transport_security),
        ("header-csp", "Content-Security-Policy", content_security_policy),
        ("header-sniffing", "X-Content-Type-Options", no_sniffing),
        ("header-frames", "X-Frame-Options", no_frames),
        ("header-referrer", "Referrer-Policy", referrer_policy),
        ("header-opener", "Cross-Origin-Opener-Policy", opener_policy),
        ("header-server", "Nobody says which version serves", no_versions),
    ):
        suite.check(name, title, needs=(PAGES,))(look)


def header_pages(context: Context) -> str:
    """Ask for a page of each kind."""
    anybody = Visitor(context.address)
    person, visitor = staff(context)
    program = programme(context, person)
    home = anybody.get("/")
    found = _STATIC.search(home.text)
    if found is None:
        raise Failed("the page / names no static file: has collectstatic run?")
    pages = [
        Page("the page /", home, anybody.get("/")),
        Page("the search page", anybody.get("/search/")),
        Page("the login of the admin", anybody.get("/admin/login/"), anybody.get("/admin/login/")),
        Page("the admin", visitor.get("/admin/")),
        Page("the chat page", visitor.get("/chat/"), visitor.get("/chat/")),
        Page("the API", patiently(lambda: program.get("/api/usage/"))),
        Page("the API without login", anybody.get("/api/usage/")),
        Page("a page that is not there", anybody.get("/obc-verify-there-is-none/")),
        Page("the stream", patiently(lambda: _stream(program))),
        Page("a static file", anybody.get(found[1]), is_static=True),
    ]
    for page, status in zip(pages, (200, 200, 200, 200, 200, 200, 401, 404, 200, 200), strict=True):
        if page.answer.status != status:
            raise Failed(f"{page.name} answers {page.answer.status} and not {status}")
    if not pages[-2].answer.header("content-type").startswith("text/event-stream"):
        raise Failed("the stream is none: see log/streams.log")
    context.seen[PAGES] = pages
    return f"{len(pages)} of them"


def _stream(program: Visitor) -> Answer:
    return program.send("/api/chat/stream/", {"message": FREE_MESSAGE}, Accept="text/event-stream")


def strict_transport_security(context: Context) -> str:
    """Look at Strict-Transport-Security."""
    fault = partial(hsts_fault, site=context.configured())
    return _once(context, "Strict-Transport-Security", fault, "SecurityMiddleware")


def content_security_policy(context: Context) -> str:
    """Look at Content-Security-Policy, and whether nonces are used once."""
    fault = partial(policy_fault, named=_named())
    told = _once(context, "Content-Security-Policy", fault, "the middleware of the policy")
    nonces = 0
    for page in context.seen[PAGES]:
        if page.again is not None:
            first, second = (
                set(_NONCE.findall(each.header("content-security-policy")))
                for each in (page.answer, page.again)
            )
            nonces += len(first)
            if first & second:
                raise Failed(
                    f"Content-Security-Policy has the same nonce in two answers of {page.name}:"
                    " whoever has read one can run scripts in the other. Is the page cached?"
                )
    return f"{told}; {'no nonce is used' if not nonces else 'nonces are used once'}"


def parse_policy(value: str) -> dict[str, list[str]]:
    """Return the sources of each directive; as in browsers, the first of a name counts."""
    found: dict[str, list[str]] = {}
    for part in value.split(";"):
        words = part.split()
        if words:
            found.setdefault(words[0].lower(), [word.lower() for word in words[1:]])
    return found


def policy_fault(value: str, named: Mapping[str, list[str]] | None = None) -> str:
    """Return what is wrong with a policy, "" for nothing.

    Args:
        named: Sources that the settings name, by directive; they may be loaded, but not run.
    """
    policy = parse_policy(value)
    for name in _SCRIPTS:
        sources = _sources(policy, name)
        if sources is None:
            return f"has neither {name} nor default-src: any script may run"
        for source in sources:
            if not _OWN.fullmatch(source):
                return f"lets {source} into {name}"
    if wrong := _loaded_fault(policy, named or {}):
        return wrong
    objects = _sources(policy, "object-src")
    if objects is None or objects not in (["'none'"], []):
        return "does not say object-src 'none'"
    for name, good in (
        ("base-uri", (["'none'"], ["'self'"])),
        ("frame-ancestors", (["'none'"],)),
        ("form-action", (["'self'"], ["'none'"])),
    ):
        if policy.get(name) not in good:
            wanted = " or ".join(" ".join(each) for each in good)
            return f"does not say {name} {wanted}"
    return ""


def _loaded_fault(policy: Mapping[str, list[str]], named: Mapping[str, list[str]]) -> str:
    """Return from where things may come, or whom scripts may ask, that nobody has named."""
    for name in _LOADED:
        sources = _sources(policy, name)
        if sources is None:
            return f"has neither {name} nor default-src: anything may be loaded"
        for source in sources:
            is_wide = "*" in source or source.endswith(":")
            is_named = source in (_sources(named, name) or ()) and not is_wide
            if source not in ("'self'", "'none'", "data:") and not is_named:
                return f"lets {source} into {name}"
    return ""


def _named() -> dict[str, list[str]]:
    """Return the sources that the settings name, as Django or django-csp has them."""
    from django.conf import settings

    found = getattr(settings, "CONTENT_SECURITY_POLICY", {}).get("DIRECTIVES") or getattr(
        settings, "SECURE_CSP", {}
    )
    return {
        name: [str(each).lower() for each in sources]
        for name, sources in found.items()
        if isinstance(sources, (list, tuple, set))
    }


def _sources(policy: Mapping[str, list[str]], name: str) -> list[str] | None:
    """Return what holds for a kind of thing: its own directive, else the more general one."""
    for each in (name, name.removesuffix("-elem").removesuffix("-attr"), "default-src"):
        if each in policy:
            return policy[each]
    return None


def no_sniffing(context: Context) -> str:
    """Look at X-Content-Type-Options, of static files, too."""
    return _once(
        context, "X-Content-Type-Options", _is("nosniff"), "SecurityMiddleware", is_static=True
    )


def no_frames(context: Context) -> str:
    """Look at X-Frame-Options."""
    return _once(context, "X-Frame-Options", _is("deny"), "XFrameOptionsMiddleware")


def referrer_policy(context: Context) -> str:
    """Look at Referrer-Policy."""
    return _once(context, "Referrer-Policy", _is(*_REFERRER), "SecurityMiddleware")


def opener_policy(context: Context) -> str:
    """Look at Cross-Origin-Opener-Policy."""
    return _once(context, "Cross-Origin-Opener-Policy", _is("same-origin"), "SecurityMiddleware")


def no_versions(context: Context) -> str:
    """Look for versions of programs."""
    for page in context.seen[PAGES]:
        for name in ("server", "x-powered-by", "via", "x-aspnet-version", "x-generator"):
            for value in page.answer.all(name):
                if name != "server" or re.search(r"\d", value):
                    raise Failed(
                        f"{page.name} comes with {name}: {value}, which tells what can be"
                        " attacked: server_tokens off of conf/nginx-site.conf"
                    )
    names = {page.answer.header("server") or "none" for page in context.seen[PAGES]}
    return f"Server: {', '.join(sorted(names))}; no X-Powered-By"


def _is(*good: str) -> Callable[[str], str]:
    return lambda value: (
        "" if value.lower() in good else f"is {value!r} and not {' or '.join(good)}"
    )


def _once(
    context: Context,
    name: str,
    fault: Callable[[str], str],
    sender: str,
    *,
    is_static: bool = False,
) -> str:
    """Look at one header on all pages.

    Args:
        fault: What is wrong with a value, "" for nothing.
        sender: Who sends it, to be looked at where it is missing.
        is_static: Whether static files have it, too.
    """
    pages: list[Page] = [p for p in context.seen[PAGES] if is_static or not p.is_static]
    lacking = [page.name for page in pages if not page.answer.all(name)]
    if lacking:
        raise Failed(f"{name} is missing on {', '.join(lacking)}: is {sender} in MIDDLEWARE?")
    for page in pages:
        values = page.answer.all(name)
        if len(values) > 1:
            raise Failed(
                f"{name} comes {len(values)} times on {page.name}: the site sends it, so remove it"
                " from the proxy's configuration"
            )
        if wrong := fault(values[0]):
            raise Failed(f"{name} of {page.name} {wrong}")
    return f"{pages[0].answer.header(name)[:60]}, on {len(pages)} kinds of pages"
