"""Who gets to what: strangers, other people, staff without rights, forged tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from datetime import timedelta
from typing import Any

from deploy.verify.checks import Failed, Suite
from deploy.verify.context import Context
from deploy.verify.security_asking import (
    FREE_MESSAGE,
    begin_conversation,
    patiently,
    plain,
    programme,
    staff,
    stranger,
    told,
)
from deploy.verify.site import Visitor

#: What nobody gets without a login, and how it is asked for.
CLOSED = (
    ("GET", "/admin/"), ("GET", "/admin/auth/user/"), ("GET", "/admin/django_obc_ai/aioperation/"),
    ("GET", "/admin/django_obc_ai/conversation/"), ("GET", "/admin/django_obc_ai/"),
    ("GET", "/chat/"), ("GET", "/chat/rows/00000000-0000-0000-0000-000000000000.csv"),
    ("POST", "/api/chat/"), ("POST", "/api/chat/stream/"), ("GET", "/api/conversations/"),
    ("POST", "/api/search/"), ("GET", "/api/jobs/"), ("GET", "/api/usage/"), ("GET", "/metrics"),
)  # fmt: skip
#: What staff without a permission do not get.
FOR_SOME = (
    "/admin/auth/user/", "/admin/auth/user/add/", "/admin/django_obc_ai/aioperation/",
    "/admin/django_obc_ai/conversation/", "/admin/django_obc_ai/budget/", "/metrics",
)  # fmt: skip
#: With 429 whoever cannot be counted, since Redis is away.
_REFUSED = (302, 401, 403, 404, 429)


def add(suite: Suite) -> None:
    """Add the checks."""
    add, needs = suite.check, ("people",)
    add("access-strangers", "Without a login nothing private opens", needs=("site",))(strangers)
    add("access-others", "Nobody reads what others asked", needs=needs)(others)
    add("access-admin", "Without rights the admin shows nothing", needs=needs)(admin)
    add("access-metrics", "Metrics want their token", needs=("site",))(metrics)
    add("access-tokens", "Forged and old tokens are refused", needs=needs)(tokens)


def strangers(context: Context) -> str:
    """Ask for everything that is closed."""
    visitor = stranger(context)
    body = json.dumps({"message": FREE_MESSAGE, "query": "x"}).encode()
    open_ones = {}
    for method, path in CLOSED:
        sent = body if method == "POST" else None
        answer = visitor.ask(method, path, sent, Content_Type="application/json")
        is_elsewhere = answer.status == 302 and "/login/" not in answer.header("location")
        if answer.status not in _REFUSED or is_elsewhere:
            open_ones[f"{method} {path}"] = answer.status
    if open_ones:
        raise Failed(
            f"without a login these are answered ({told(open_ones)}): they want 302 to the login,"
            ' 401 or 403. Is OBC_AI["WEB"]["anonymous_scope"] set, or a view open?'
        )
    return f"{len(CLOSED)} addresses refused"


def others(context: Context) -> str:
    """Begin a conversation as one person, and ask for it as others, staff included."""
    owner, other = plain(context), plain(context, "obc-verify-other")
    key = begin_conversation(context, owner)
    own = programme(context, owner).get(f"/api/conversations/{key}/").status
    if own != 200:
        raise Failed(f"one's own conversation is answered with {own} and not 200")
    program = programme(context, other)
    _, visitor = staff(context)
    path = f"/api/conversations/{key}/"
    question = {"message": FREE_MESSAGE, "conversation": key}
    statuses = {
        "read by another": program.get(path).status,
        "gone on with by another": patiently(lambda: program.send("/api/chat/", question)).status,
        "deleted by another": program.ask("DELETE", path).status,
        "read by staff": visitor.get(f"/chat/{key}/").status,
        "told in pieces to another": patiently(
            lambda: program.send("/api/chat/stream/", question, Accept="text/event-stream")
        ).status,
    }
    wrong = {what: status for what, status in statuses.items() if status != 404}
    if wrong:
        raise Failed(f"somebody else's conversation is not refused with 404: {told(wrong)}")
    listed = program.get("/api/conversations/").text
    if key in listed:
        raise Failed("somebody else's conversation is in the list of /api/conversations/")
    if programme(context, owner).get(path).status != 200:
        raise Failed("a conversation is gone after somebody else asked to delete it")
    return "404 to other people, their staff included"


def admin(context: Context) -> str:
    """Ask for pages of the admin as a plain user, and as staff without a permission."""
    person = plain(context, "obc-verify-other")
    outside = stranger(context)
    answer = outside.post(
        "/admin/login/", username=person.name, password=person.password, next="/admin/"
    )
    if answer.status == 302 or "sessionid" in outside.cookies:
        raise Failed("the admin lets in a user who is no member of staff")
    by_token = programme(context, person).get("/admin/")
    if by_token.status != 302:
        raise Failed(f"/admin/ answers {by_token.status} to a plain user's token")
    _, visitor = staff(context)
    open_ones = {}
    for path in FOR_SOME:
        answer = visitor.get(path)
        if answer.status not in (401, 403):
            open_ones[path] = answer.status
    if open_ones:
        raise Failed(f"staff without a permission get {told(open_ones)} and not 403")
    seen = programme(context, person).get("/api/health/").json()
    if "items" in seen:
        raise Failed("/api/health/ tells its parts to a user who may not view the dashboard")
    return f"{len(FOR_SOME)} pages refused to staff without a permission"


def metrics(context: Context) -> str:
    """Ask for the metrics with wrong tokens, and the right one."""
    visitor = Visitor(context.address)
    wrong = {
        "none": {},
        "a wrong one": {"Authorization": f"Bearer {secrets.token_hex(20)}"},
        "an empty one": {"Authorization": "Bearer "},
        "None": {"Authorization": "Bearer None"},
        "another scheme": {"Authorization": "Basic b2JjOm9iYw=="},
        "in the address": {},
    }
    statuses = {
        what: visitor.get(
            "/metrics?token=x" if what == "in the address" else "/metrics", **headers
        ).status
        for what, headers in wrong.items()
    }
    if open_ones := {what: status for what, status in statuses.items() if status != 401}:
        raise Failed(f"/metrics is not refused with 401 to a token: {told(open_ones)}")
    if context.deployment is None or not (token := context.deployment.metrics_token):
        return "401 without a right; there is no OBC_SITE_METRICS_TOKEN, so to every program"
    right = visitor.get("/metrics", Authorization=f"Bearer {token}").status
    if right != 200:
        raise Failed(
            f"/metrics answers {right} to OBC_SITE_METRICS_TOKEN: restart web after it changes"
        )
    return "401 without the token, 200 with it"


def tokens(context: Context) -> str:
    """Change a token in each way that has opened doors elsewhere."""
    person = plain(context)
    right = programme(context, person).headers["Authorization"].removeprefix("Bearer ")
    visitor = stranger(context)  # wrong tokens are counted by address
    forged = forged_tokens(context, person, right)
    statuses = {
        what: visitor.get("/api/usage/", Authorization=f"Bearer {token}").status
        for what, token in forged.items()
    }
    if open_ones := {what: status for what, status in statuses.items() if status != 401}:
        raise Failed(f"/api/usage/ does not refuse a forged token with 401: {told(open_ones)}")
    if (status := visitor.get("/api/usage/", Authorization=f"Bearer {right}").status) != 200:
        raise Failed(f"/api/usage/ answers {status} to the right token")
    return f"401 to {', '.join(forged)}"


def forged_tokens(context: Context, person: Any, right: str) -> dict[str, str]:
    """Return tokens that must not open anything, by what they are."""
    from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

    head, payload, signature = right.split(".")
    claims = json.loads(_decoded(payload))
    boss = context.person("obc-verify-admin", is_superuser=True)
    changed = _encoded({**claims, "user_id": str(boss.user.pk)})
    nothing = _encoded({"alg": "none", "typ": "JWT"})
    hs256 = _encoded({"alg": "HS256", "typ": "JWT"})
    key_of_path = _encoded({"alg": "HS256", "typ": "JWT", "kid": "../../dev/null"})
    old = AccessToken.for_user(person.user)
    old.set_exp(lifetime=-timedelta(seconds=60))
    gone = plain(context, "obc-verify-gone")
    left = str(AccessToken.for_user(gone.user))
    gone.user.is_active = False
    gone.user.save(update_fields=["is_active"])
    return {
        "no algorithm": f"{nothing}.{payload}.",
        "another key": f"{hs256}.{payload}.{_signature(hs256, payload, b'another key')}",
        "an empty key": f"{key_of_path}.{payload}.{_signature(key_of_path, payload, b'')}",
        "another user": f"{head}.{changed}.{signature}",
        "no signature": f"{head}.{payload}.",
        "an expired one": str(old),
        "one for renewal": str(RefreshToken.for_user(person.user)),
        "one of a user who is gone": left,
    }


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _encoded(value: Any) -> str:
    text = json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def _signature(head: str, payload: str, key: bytes) -> str:
    made = hmac.new(key, f"{head}.{payload}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()
