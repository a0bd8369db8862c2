"""Secrets and what people ask, where they must not be: releases, logs, pages, history."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from pathlib import Path

from deploy.verify import processes
from deploy.verify.checks import Failed, Skipped, Suite
from deploy.verify.context import Context
from deploy.verify.journal import scan_journal
from deploy.verify.leaks import Leak, NoHistory, files, scan, scan_file, scan_history, secrets_of
from deploy.verify.security_asking import (
    FREE_MESSAGE,
    begin_conversation,
    patiently,
    plain,
    programme,
    session_of,
    stranger,
)
from deploy.verify.site import Visitor

PROJECT = Path(__file__).resolve().parents[2]
_FLUSHED = 2  # seconds until what was asked stands in the logs
#: Pages that tell how things are, and those that tell of errors.
_TELLING = (
    "/health/live/", "/health/ready/", "/api/health/", "/api/health/ready/", "/api/schema/",
    "/obc-verify-there-is-none/", "/chat/no-key/", "/communities/%00/", "/search/?q=%00",
    "/metrics", "/admin/", "/admin/django_obc_ai/", "/admin/django_obc_ai/aioperation/",
    "/api/usage/", "/api/jobs/",
)  # fmt: skip


def add(suite: Suite) -> None:
    """Add the checks."""
    add = suite.check
    add("secrets-release", "No secret in the release", needs=("settings",))(release)
    add("secrets-pages", "No secret in what pages tell", needs=("people",))(pages)
    add("secrets-history", "No secret in the repository's history", needs=("settings",))(history)
    add("private-logs", "No question, search or password in a log", needs=("people",))(private_logs)
    # The last one: whatever was asked has been logged by now.
    add("secrets-logs", "No secret in a log", needs=("settings",))(logs)


def release(context: Context) -> str:
    """Look into the files of the release, its static files, and the kit's configuration."""
    known = secrets_of(context.configured())
    number, found = 0, []
    current = context.home / "current"
    roots = [current.resolve() if current.exists() else PROJECT, context.home / "static"]
    for root in roots:
        for path in files(root, without=("venv", ".git", "var", "__pycache__", "node_modules")):
            number += 1
            found += scan_file(path, known, patterns=True)
    for name in ("supervisord.conf", "nginx.conf", "nginx-site.conf", "render.conf"):
        for path in (context.home / "conf" / name, context.home / name):
            if path.is_file():
                number += 1
                found += scan_file(path, known, patterns=True)
    _none(found, "take it out, and make another one: whoever has the files has it")
    return f"{number} files, {len(known)} secrets and what keys of others look like"


def logs(context: Context) -> str:
    """Look into every log, packed ones included."""
    known = secrets_of(context.configured())
    tokens: dict[str, str] = context.seen.get("tokens", {})
    known |= {f"a token of {name}": value.encode() for name, value in tokens.items()}
    for name, visitor in context.visitors.items():
        if "sessionid" in visitor.cookies:
            known[f"a session of {name}"] = visitor.cookies["sessionid"].value.encode()
    for name, person in context.people.items():
        known[f"the password of {name}"] = person.password.encode()
    time.sleep(_FLUSHED)
    number, found = 0, []
    for path in files(context.home / "log"):
        number += 1
        found += scan_file(path, known, patterns=True)
    where = _and_journal(context, number, found, known, patterns=True)
    _none(found, "make another secret, remove the line, and find out who writes it")
    return f"{where}, {len(known)} secrets"


def pages(context: Context) -> str:
    """Read what pages of health and errors tell, also to a superuser."""
    known = secrets_of(context.configured())
    boss = context.person("obc-verify-admin", is_superuser=True)
    visitors = {
        "anybody": stranger(context),
        "a superuser": session_of(context, boss),
        "a superuser's token": programme(context, boss),
    }
    number, found = 0, []
    for who, visitor in visitors.items():
        for path in _TELLING:
            answer = patiently(lambda asker=visitor, at=path: asker.get(at))
            number += 1
            told = answer.body + b"\n" + repr(answer.headers).encode()
            found += scan(told, f"{path}, told to {who}", known, patterns=True)
    _none(found, "the page must not tell it; make another secret")
    return f"{number} answers"


def history(context: Context) -> str:
    """Look into every commit."""
    known = secrets_of(context.configured())
    try:
        commits, found = scan_history(PROJECT, known, patterns=True)
    except NoHistory as error:
        raise Skipped(str(error)) from None
    _none(found, "make another one: whoever has a clone has it, also where it was removed later")
    return f"{commits} commits, {len(known)} secrets and what keys of others look like"


def private_logs(context: Context) -> str:
    """Say what nobody else may know, in each place where people write, and look for it."""
    said = {name: f"canary{secrets.token_hex(8)}" for name in ("question", "search", "password",
            "form", "header", "missing page", "search of the API")}  # fmt: skip
    began = time.time()
    before = {path.stat().st_ino: path.stat().st_size for path in files(context.home / "log")}
    person = plain(context)
    begin_conversation(context, person, f"{FREE_MESSAGE} {said['question']}")
    program, anybody = programme(context, person), stranger(context)
    if context.configured().google_api_key is None:  # else it would cost something
        question = f"How many provinces are in {said['question']}?"
        patiently(lambda: program.send("/api/chat/", {"message": question}))
    anybody.get(f"/search/?q={said['search']}", Referer=f"https://x.example/?q={said['header']}")
    anybody.get(f"/obc-verify-there-is-none/?q={said['missing page']}")
    patiently(lambda: program.send("/api/search/", {"query": said["search of the API"]}))
    anybody.post("/admin/login/", username="obc-verify-nobody", password=said["password"])
    anybody.send("/api/token/", {"username": "obc-verify-nobody", "password": said["password"]})
    Visitor(context.address).ask(
        "POST", "/chat/", f"message={said['form']}".encode(),
        Content_Type="application/x-www-form-urlencoded",
    )  # fmt: skip
    time.sleep(_FLUSHED)
    number, found = 0, []
    known = {f"what was said as {name}": text.encode() for name, text in said.items()}
    for path in files(context.home / "log"):
        number += 1
        start = _new_from(path, before)
        found += scan_file(path, known, patterns=False, start=start) if start is not None else ()
    where = _and_journal(context, number, found, known, patterns=False, since=began)
    _none(found, "logs keep paths and figures, and never what people write")
    return f"{len(said)} things said, {where}"


def _new_from(path: Path, before: Mapping[int, int]) -> int | None:
    """Return from where on a log is new, also if it was given another name; None for nowhere."""
    known, is_now = before.get(path.stat().st_ino, 0), path.stat().st_size
    if path.suffix == ".gz":
        return None if known == is_now else 0
    return None if known == is_now else known if known < is_now else 0


def _and_journal(
    context: Context, number: int, found: list[Leak], known: Mapping[str, bytes],
    *, patterns: bool, since: float | None = None,
) -> str:  # fmt: skip
    """Look into the journal, too, where systemd starts the site; say what was looked into.

    Raises:
        Skipped: Neither files nor the journal could be read.
    """
    where = f"{number} files"
    if not processes.is_supervised(context) and processes.units(context):
        leaks, unread = scan_journal(known, patterns=patterns, since=since)
        found += leaks
        if unread and not number:
            raise Skipped(f"{context.home / 'log'} holds none, and {unread}")
        return f"{where}; {unread}" if unread else f"{where} and the journal"
    if not number:
        raise Skipped(f"{context.home / 'log'} holds none")
    return where


def _none(found: list[Leak], what_to_do: str) -> None:
    if found:
        listed = "; ".join(str(each) for each in found[:5])
        more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
        raise Failed(f"there is {listed}{more}: {what_to_do}")
