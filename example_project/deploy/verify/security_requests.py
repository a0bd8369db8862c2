"""Requests that nobody sends by mistake: bodies, addresses of files, odd paths."""

from __future__ import annotations

import json

from deploy.verify.checks import Failed, Suite
from deploy.verify.context import Context
from deploy.verify.security_asking import patiently, plain, programme, told
from deploy.verify.security_debug import BROKEN, debug_pages
from deploy.verify.site import Answer, Visitor

#: Files that lie around the site, in ways that have led to them elsewhere.
HIDDEN = (
    "/.env", "/.git/config", "/.git/HEAD", "/.gitignore", "/.htaccess", "/vectors/", "/spool/",
    "/backups/", "/log/", "/log/web.log", "/run/web.pid", "/conf/supervisord.conf", "/tls/key.pem",
    "/db.sqlite3", "/render.conf", "/current/example_project/deploy/settings.py", "/manage.py",
    "/static/", "/static/admin/", "/server-status", "/nginx_status", "/debug/", "/__debug__/",
    "/static/../.env", "/static/%2e%2e/.env", "/static/%2e%2e%2f.env", "/static/..%2f.env",
    "/static/..%5c.env", "/static/%252e%252e%252f.env", "/static/....//.env", "/static../.env",
    "/static../tls/key.pem", "/static/../log/web.log", "/static/%2e%2e/%2e%2e/etc/passwd",
    "/static//../../.env", "/static/..;/.env", "/static/.%00./.env", "/static/%c0%ae%c0%ae/.env",
    "//.env", "/./.env", "/.env%00.css", "/.env.css", "/static/../../../../../../etc/passwd",
    "/.well-known/../.env", "/.well-known/acme-challenge/../../.env", "/chat/../.env",
    "/api/chat/stream/../../../.env", "/media/../.env", "/admin/../.env",
)  # fmt: skip
#: What stands in those files, and in a list of what is in a folder.
_CONTENTS = (b"SECRET_KEY=", b"PRIVATE KEY-----", b"root:x:0:", b"[core]", b"[supervisord]",
             b"SQLite format 3", b"<title>Index of", b"DATABASE_URL")  # fmt: skip
_MEGABYTE = 2**20


def add(suite: Suite) -> None:
    """Add the checks."""
    add = suite.check
    add("debug-pages", "Errors show nothing of the inside", needs=("site",))(debug_pages)
    add("paths", "Files beside the site are not served", needs=("site",))(paths)
    add("bodies", "Bodies that are too long, too deep or no JSON", needs=("people",))(bodies)


def paths(context: Context) -> str:
    """Ask for files that are not for anybody."""
    visitor = Visitor(context.address)
    for path in HIDDEN:
        answer = visitor.get(path)
        if any(each in answer.body for each in _CONTENTS):
            raise Failed(
                f"{path} is served, with what stands in that file: see 'location /static/' of"
                " conf/nginx-site.conf, whose alias has to end in a slash as the location does"
            )
        if answer.status in (200, 429, *BROKEN):
            raise Failed(f"{path} is answered with {answer.status} and not refused")
    return f"{len(HIDDEN)} addresses refused"


def bodies(context: Context) -> str:
    """Send what is too long, too deep, of another type, or broken."""
    visitor = programme(context, plain(context, "obc-verify-other"))

    def ask(body: bytes, kind: str = "application/json", path: str = "/api/chat/") -> Answer:
        return patiently(lambda: visitor.ask("POST", path, body, Content_Type=kind))

    most = _most_bytes()
    text = {"message": "x"}
    deep = b'{"message": ' + b"[" * 5000 + b"]" * 5000 + b"}"
    wide = json.dumps(
        {**text, "more": [[[[{"a": [[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]}]]]]}
    ).encode()
    long = json.dumps({"message": "x" * (most + 1)}).encode()
    parts = b"--b\r\nContent-Disposition: form-data; name=message\r\n\r\nx"
    fields = b"&".join(b"f%d=1" % number for number in range(3000))
    stream = "/api/chat/stream/"
    refused = {
        f"{most + 1} characters": (ask(long), (413,)),
        f"{most + 1} characters, in pieces": (ask(long, path=stream), (413,)),
        "two megabytes": (ask(b" " * 2 * _MEGABYTE), (413,)),
        "two megabytes to the login": (
            ask(b"x" * 2 * _MEGABYTE, "application/x-www-form-urlencoded", "/admin/login/"), (413,)
        ),
        "5000 levels": (ask(deep), (400,)),
        "more levels than it takes": (ask(wide), (400,)),
        "XML": (ask(b"<message>x</message>", "text/xml"), (415,)),
        "a form": (ask(b"message=x", "application/x-www-form-urlencoded"), (415,)),
        "a file": (ask(parts, "multipart/form-data; boundary=b"), (400, 415)),
        "no JSON": (ask(b'{"message": '), (400,)),
        "no UTF-8": (ask(b'{"message": "\xff\xfe"}'), (400,)),
        "half a character": (ask(b'{"message": "\\ud800"}'), (400,)),
        "not a number": (ask(b'{"message": NaN}'), (400,)),
        "a huge number": (ask(b'{"message": ' + b"9" * 6000 + b"}"), (400,)),
        "a list": (ask(b'[{"message": "x"}]'), (400,)),
        "a key that is none": (ask(b'{"message": "x", "user": 1}'), (400,)),
        "nothing": (ask(b""), (400,)),
        "a key of another kind": (ask(b'{"message": "x", "conversation": {"a": 1}}'), (400,)),
        "3000 fields": (
            ask(fields, "application/x-www-form-urlencoded", "/admin/login/"), (400, 403)
        ),
    }  # fmt: skip
    wrong = {
        what: answer.status for what, (answer, good) in refused.items() if answer.status not in good
    }
    if wrong:
        listed = ", ".join(f"{what}: {'/'.join(map(str, refused[what][1]))}" for what in wrong)
        raise Failed(
            f"a body that cannot be taken is answered so: {told(wrong)}; right is {listed}"
        )
    return f"{len(refused)} of them refused with 400, 413 or 415"


def _most_bytes() -> int:
    from django_obc_ai.conf import get_settings

    return get_settings().web.max_body_bytes
