"""Cookies, sessions, and requests that other sites make browsers send."""

from __future__ import annotations

import re
import secrets
from http.cookies import SimpleCookie
from urllib.parse import urlencode

from deploy.verify.checks import Failed, Suite
from deploy.verify.context import Context
from deploy.verify.security_asking import (
    FREE_MESSAGE,
    conversations_of,
    form_token,
    patiently,
    send_form,
    session_of,
    staff,
    stranger,
    told,
)
from deploy.verify.site import Answer, Visitor

_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
_FOREIGN = "https://evil.example"


def add_people(suite: Suite) -> None:
    """Add what all checks with users build on."""
    add = suite.check
    add("stores", "Database and Redis answer", needs=("settings",))(stores)
    add("people", "Users can be made, and log in", needs=("site", "stores"))(people)


def add(suite: Suite) -> None:
    """Add the checks."""
    add = suite.check
    add("cookies", "Cookies are Secure, HttpOnly, SameSite=Strict", needs=("people",))(cookies)
    add("session-login", "A session changes at login", needs=("people",))(session_login)
    add("session-logout", "A session ends at logout", needs=("people",))(session_logout)
    add("csrf-form", "A forged form is refused", needs=("people",))(csrf_form)
    add("csrf-api", "A forged call of the API is refused", needs=("people",))(csrf_api)


def stores(context: Context) -> str:
    """Ask the database and Redis."""
    from django.core.cache import cache
    from django.db import connection

    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except Exception as error:  # noqa: BLE001 - each database has errors of its own
        kind = connection.vendor
        raise Failed(
            f"the database ({kind}) does not answer ({type(error).__name__}): is it running, and"
            " DATABASE_URL right?"
        ) from None
    key, value = "obc-verify", secrets.token_hex(8)
    try:
        cache.set(key, value, 60)
        found = cache.get(key)
    except Exception as error:  # noqa: BLE001 - as above
        raise Failed(
            f"Redis does not answer ({type(error).__name__}): is it running, and REDIS_URL right?"
        ) from None
    if found != value:
        raise Failed("the cache does not keep what it is given, so nothing is counted: see CACHES")
    context.seen["stores"] = True
    return f"{connection.vendor} and the cache"


def people(context: Context) -> str:
    """Make users, and log in as one."""
    staff(context)
    return "obc-verify-... for as long as this runs"


def cookies(context: Context) -> str:
    """Log in, and read the lines that set cookies."""
    from django.conf import settings

    person, _ = staff(context)
    visitor = stranger(context)
    lines = visitor.get("/admin/login/").all("set-cookie")
    lines += visitor.post(
        "/admin/login/", username=person.name, password=person.password, next="/admin/"
    ).all("set-cookie")
    for name in (settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME):
        own = [line for line in lines if line.startswith(f"{name}=")]
        if not own:
            raise Failed(f"no cookie {name} is set at /admin/login/")
        for line in own:
            _check_cookie(name, line)
    return f"{len(lines)} lines looked at"


def _check_cookie(name: str, line: str) -> None:
    morsel = SimpleCookie(line)[name]
    kind = "SESSION" if "session" in name else "CSRF"
    for attribute, is_right, setting in (
        ("Secure", bool(morsel["secure"]), f"{kind}_COOKIE_SECURE = True"),
        ("HttpOnly", bool(morsel["httponly"]), f"{kind}_COOKIE_HTTPONLY = True"),
        ("SameSite=Strict", morsel["samesite"].lower() == "strict",
         f'{kind}_COOKIE_SAMESITE = "Strict"'),
        ("Path=/", morsel["path"] == "/", f'{kind}_COOKIE_PATH = "/"'),
    ):  # fmt: skip
        if not is_right:
            raise Failed(f"the cookie {name} is not {attribute}: {setting}")
    if morsel["domain"]:
        raise Failed(f"the cookie {name} is sent to other hosts of {morsel['domain']}, too")


def session_login(context: Context) -> str:
    """Log in with a session that was there before, as a thief would have planted it."""
    person, _ = staff(context)
    planted = session_of(context, person)
    before, token = (planted.cookies[name].value for name in ("sessionid", "csrftoken"))
    boss = context.person("obc-verify-admin", is_superuser=True)
    fields = {"username": boss.name, "password": boss.password, "next": "/admin/"}
    answer = send_form(planted, "/admin/login/", urlencode({**fields, **form_token(planted)}))
    after = planted.cookies["sessionid"].value
    if answer.status != 302 or after == before:
        raise Failed(
            f"after a login (status {answer.status}) the session has the key that it had before:"
            " whoever planted it is logged in, too. Django's login() has to be used"
        )
    if planted.cookies["csrftoken"].value == token:
        raise Failed("after a login the CSRF token is that of before: Django's login() rotates it")
    for what, key in (("the session of before the login", before), ("a made-up key", "a" * 32)):
        if _with_session(context, key).get("/admin/").status == 200:
            raise Failed(f"{what} is logged in")
    return "session and CSRF token are new, the old session is nobody's"


def session_logout(context: Context) -> str:
    """Log out, and come back with the cookie."""
    person, _ = staff(context)
    visitor = session_of(context, person)
    old, token = visitor.cookies["sessionid"].value, form_token(visitor)
    answer = send_form(visitor, "/admin/logout/", urlencode(token))
    thief = _with_session(context, old)
    after = {path: thief.get(path).status for path in ("/admin/", "/chat/", "/api/usage/")}
    if answer.status != 200 or any(status not in (302, 401, 403) for status in after.values()):
        raise Failed(
            f"after logout (status {answer.status}) the old cookie still gets {told(after)}"
        )
    return told(after)


def csrf_form(context: Context) -> str:
    """Send the form of the chat page as another site would make a browser send it."""
    person, visitor = staff(context)
    page = visitor.get("/chat/")
    found = _TOKEN.search(page.text)
    if found is None:
        raise Failed(f"the chat page has no form with a token (status {page.status})")
    right, own = found[1], visitor.address.origin

    def ask(token: str, **headers: str) -> Answer:
        body = f"message={FREE_MESSAGE.replace(' ', '+')}{token}"
        return patiently(lambda: send_form(visitor, "/chat/", body, **headers))

    mine = f"&csrfmiddlewaretoken={right}"
    before = conversations_of(person).count()
    forged = {
        "no token": ask(""),
        "a wrong token": ask(f"&csrfmiddlewaretoken={secrets.token_hex(32)}"),
        "a foreign origin": ask(mine, Origin=_FOREIGN),
        "no origin and a foreign page": ask(mine, Origin=None, Referer=f"{_FOREIGN}/"),
        "a sandboxed page": ask(mine, Origin="null"),
        "plain HTTP": ask(mine, Origin=own.replace("https:", "http:")),
        "no token, of a page that relies on the middleware": send_form(
            visitor, "/search/ask/", "q=upi&question=x"
        ),
    }
    _all_refused({what: each.status for what, each in forged.items()}, "a form")
    if conversations_of(person).count() != before:
        raise Failed("a form that was refused for its token has begun a conversation nevertheless")
    good = ask(mine)
    if good.status not in (200, 302) or conversations_of(person).count() != before + 1:
        raise Failed(f"the right form is refused, too (status {good.status}): see ORIGINS in .env")
    return f"403 to {', '.join(forged)}; the right one is taken"


def csrf_api(context: Context) -> str:
    """Call the API with a session, as another site would make a browser do it."""
    person, visitor = staff(context)
    visitor.get("/chat/")
    body = b'{"message": "%s"}' % FREE_MESSAGE.encode()

    def ask(
        token: str, origin: str = context.address.origin, kind: str = "application/json"
    ) -> Answer:
        headers = {"Content_Type": kind, "Origin": origin}
        if token:
            headers["X_CSRFToken"] = token
        return patiently(lambda: visitor.ask("POST", "/api/chat/", body, **headers))

    right = visitor.cookies["csrftoken"].value
    before = conversations_of(person).count()
    forged = {
        "no token": ask(""),
        "a wrong token": ask(secrets.token_hex(32)),
        "a foreign origin": ask(right, _FOREIGN),
        "a type that needs no consent": ask("", _FOREIGN, "text/plain"),
    }
    _all_refused({what: each.status for what, each in forged.items()}, "a call of /api/chat/")
    preflight = visitor.ask(
        "OPTIONS", "/api/chat/", Origin=_FOREIGN, Access_Control_Request_Method="POST"
    )
    if preflight.all("access-control-allow-origin"):
        raise Failed("/api/chat/ lets other sites read its answers: Access-Control-Allow-Origin")
    if conversations_of(person).count() != before:
        raise Failed("a call that was refused for its token has begun a conversation nevertheless")
    good = ask(right)
    if good.status != 200 or conversations_of(person).count() != before + 1:
        raise Failed(f"the right call is refused, too (status {good.status})")
    return f"403 to {', '.join(forged)}; the right one is taken"


def _all_refused(statuses: dict[str, int], what: str) -> None:
    taken = {how: status for how, status in statuses.items() if status != 403}
    if taken:
        raise Failed(
            f"{what} is not refused with 403 ({told(taken)}): is CsrfViewMiddleware in MIDDLEWARE,"
            " and CSRF_TRUSTED_ORIGINS the site's own alone?"
        )


def _with_session(context: Context, key: str) -> Visitor:
    """Return somebody with a cookie of a session, and no other."""
    cookie: SimpleCookie = SimpleCookie({"sessionid": key})
    return Visitor(context.address, cookies={"sessionid": cookie["sessionid"]})
