"""Look for secrets in files and in the whole history of a repository.

What is looked for never leaves this process: no argument of a command and no message holds it.
"""

from __future__ import annotations

import gzip
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote, urlsplit

from deploy.env import Deployment

#: Shorter ones stand in many texts by chance.
LEAST = 8
#: Of a file at once, and how much of it is seen again: more than anything that is looked for.
_PIECE, _OVERLAP = 16 * 2**20, 2**16
_LONGEST_LINE = 4096
_BEGIN = "-----BEGIN "
#: What secrets of others look like. The pieces keep this file from being found itself.
PATTERNS = {
    "a private key": re.compile(
        _BEGIN.encode() + rb"(?:[A-Z]{2,9} ){0,2}PRIVATE KEY-----\s*[A-Za-z0-9+/=]{32}"
    ),
    "a key of Google": re.compile(rb"AI" rb"za[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])"),
    "a key of Amazon": re.compile(rb"\bAK" rb"IA[0-9A-Z]{16}\b"),
    "a token of GitHub": re.compile(rb"\bgh" rb"[pousr]_[0-9A-Za-z]{36}\b"),
    "a token of Slack": re.compile(rb"\bxo" rb"x[abprs]-[0-9]{8,}-[0-9A-Za-z-]{12,}"),
}
#: Made for tests, and said to be: a value with such a word in it opens nothing.
_MADE = re.compile(rb"example|test|fake|dummy|xxxx|0000000|1234567|abcdefg", re.IGNORECASE)


class NoHistory(Exception):
    """There is no repository to look into; the message says why."""


@dataclass(frozen=True, slots=True)
class Leak:
    """Where something was found."""

    what: str
    where: str
    line: int

    def __str__(self) -> str:
        """Return it without the value."""
        return f"{self.what} in {self.where}, line {self.line}"


def secrets_of(deployment: Deployment) -> dict[str, bytes]:
    """Return the deployment's secrets, by what they are; a password also as a URL has it."""
    found = {
        "SECRET_KEY": deployment.secret_key,
        "GOOGLE_API_KEY": deployment.google_api_key or "",
        "OBC_SITE_METRICS_TOKEN": deployment.metrics_token or "",
    }
    for name, url in (
        ("DATABASE_URL", deployment.database_url),
        ("REDIS_URL", deployment.redis_url),
        ("OBC_SITE_CACHE_URL", deployment.cache_url),
    ):
        password = unquote(urlsplit(url or "").password or "")
        found[f"the password of {name}"] = password
        found[f"the password of {name}, as in the URL"] = quote(password, safe="")
    seen: dict[str, bytes] = {}
    for name, value in found.items():
        if len(value) >= LEAST and value.encode() not in seen.values():
            seen[name] = value.encode()
    return seen


def scan(
    data: bytes, where: str, secrets: Mapping[str, bytes], *, patterns: bool
) -> Iterator[Leak]:
    """Yield what a text holds, the first of each kind."""
    for name, value in secrets.items():
        at = data.find(value)
        if at >= 0:
            yield Leak(name, where, data.count(b"\n", 0, at) + 1)
    if patterns:
        for name, pattern in PATTERNS.items():
            for found in pattern.finditer(data):
                if not _MADE.search(_around(data, found.start(), found.end())):
                    yield Leak(name, where, data.count(b"\n", 0, found.start()) + 1)
                    break


def _around(data: bytes, start: int, end: int) -> bytes:
    return data[start : min(end, start + _LONGEST_LINE)]


def files(folder: Path, *, without: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yield the files below a folder; links are not followed."""
    for where, names, inside in os.walk(folder):
        names[:] = sorted(each for each in names if each not in without)
        for name in sorted(inside):
            path = Path(where, name)
            if path.is_file() and not path.is_symlink():
                yield path


def scan_file(
    path: Path, secrets: Mapping[str, bytes], *, patterns: bool, start: int = 0
) -> Iterator[Leak]:
    """Yield what a file holds, unpacked where it is a packed log.

    Args:
        path: The file.
        secrets: What to look for.
        patterns: Whether to look for what secrets of others look like.
        start: How many of its bytes are not read, since they are known.
    """
    with path.open("rb") as file:
        if path.suffix == ".gz":
            with gzip.open(file) as unpacked:
                yield from scan_stream(unpacked, str(path), secrets, patterns=patterns)
        else:
            file.seek(start)
            where = str(path) if not start else f"{path} from byte {start} on"
            yield from scan_stream(file, where, secrets, patterns=patterns)


def scan_stream(
    file: IO[bytes], where: str, secrets: Mapping[str, bytes], *, patterns: bool
) -> Iterator[Leak]:
    """Yield what a file of any length holds, the first of each kind; it is read in pieces."""
    seen: set[str] = set()
    rest, lines = b"", 0
    while piece := file.read(_PIECE):
        data = rest + piece
        for leak in scan(data, where, secrets, patterns=patterns):
            if leak.what not in seen:
                seen.add(leak.what)
                yield Leak(leak.what, where, lines + leak.line)
        rest = data[-_OVERLAP:]
        lines += data.count(b"\n", 0, len(data) - len(rest))


def scan_history(
    folder: Path, secrets: Mapping[str, bytes], *, patterns: bool
) -> tuple[int, list[Leak]]:
    """Look into every file of every commit, also of commits that no branch has any longer.

    Returns:
        How many commits there are, and what was found.

    Raises:
        NoHistory: The folder is in no repository, or in one that cannot be read.
    """
    try:
        top = Path(_git(folder, "rev-parse", "--show-toplevel").decode().strip())
        _git(folder, "ls-files", "--error-unmatch", "deploy/env.py")
    except FileNotFoundError:
        raise NoHistory("there is no git") from None
    except subprocess.CalledProcessError as error:
        told = error.stderr.decode(errors="replace")
        why = "git does not trust its owner" if "dubious ownership" in told else "it is no clone"
        raise NoHistory(f"{folder}: {why}") from None
    if _git(top, "rev-parse", "--is-shallow-repository").strip() == b"true":
        raise NoHistory(f"{top} is a shallow clone, whose history is elsewhere")
    names: dict[str, str] = {}
    for line in _git(top, "rev-list", "--objects", "--all", "--reflog").decode().splitlines():
        oid, _, name = line.partition(" ")
        names[oid] = name
    found: list[Leak] = []
    commits = 0
    for oid, kind, data in _objects(top):
        commits += kind == "commit"
        if kind != "tree":
            leaks = list(scan(data, "", secrets, patterns=patterns))
            name = names.get(oid) or f"a {kind}"
            where = f"{name} of {_commit_of(top, oid, kind)}" if leaks else ""
            found += [Leak(leak.what, where, leak.line) for leak in leaks]
    return commits, found


def _objects(top: Path) -> Iterator[tuple[str, str, bytes]]:
    """Yield each object that the repository keeps, with its kind."""
    options = ("--batch", "--batch-all-objects", "--unordered", "--buffer")
    with subprocess.Popen(  # noqa: S603 - our own arguments
        ["git", "-C", str(top), "cat-file", *options],  # noqa: S607
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        while head := process.stdout.readline():
            oid, kind, size = head.decode().split()
            yield oid, kind, process.stdout.read(int(size))
            process.stdout.read(1)


def _commit_of(top: Path, oid: str, kind: str) -> str:
    if kind == "commit":
        return oid[:10]
    arguments = ("log", "--all", "--reflog", f"--find-object={oid}", "--format=%h", "--max-count=1")
    return "commit " + (_git(top, *arguments).decode().strip() or "that no branch has")


def _git(folder: Path, *arguments: str) -> bytes:
    return subprocess.run(  # noqa: S603 - our own arguments
        ["git", "-C", str(folder), *arguments],  # noqa: S607
        check=True,
        capture_output=True,
        timeout=600,
    ).stdout
