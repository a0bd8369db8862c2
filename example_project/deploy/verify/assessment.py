"""The readiness assessment in Markdown, of what was seen and nothing else."""

from __future__ import annotations

import datetime
import platform
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from deploy.verify.checks import FAILED, PASSED, SKIPPED
from deploy.verify.criteria import GROUPS, PEOPLE
from deploy.verify.judging import NOT_HERE, Verdict

#: What the site is made of, as far as it is installed.
_PACKAGES = (
    "django-obc-ai", "Django", "gunicorn", "uvicorn", "celery", "redis", "psycopg", "faiss-cpu",
    "google-genai", "google-generativeai",
)  # fmt: skip
_PROJECT = Path(__file__).resolve().parents[3]
_URL = re.compile(r"\b([a-z][a-z+]*)://[^\s/,;]+")


@dataclass(frozen=True, slots=True)
class Ran:
    """A verification: its script, when it ended, how each of its checks did."""

    script: str
    at: datetime.datetime
    statuses: Sequence[str]

    def told(self) -> str:
        """Say it in a line."""
        counts = ", ".join(f"{self.statuses.count(e)} {e}" for e in (PASSED, FAILED, SKIPPED))
        return f"`{self.script}`, {self.at:%Y-%m-%d %H:%M} UTC: {counts}"


def neutral(text: str, home: Path) -> str:
    """Return a text without names of hosts and folders, for those who need not know them."""
    for folder, name in ((home, "<home>"), (_PROJECT, "<code>")):
        text = text.replace(str(folder), name)
    text = _URL.sub(r"\1://<host>", text)
    own = socket.gethostname()
    if own and own != "localhost":
        text = re.sub(rf"(?<![\w.-]){re.escape(own)}(?![\w-])", "<host>", text)
    return text


def versions(home: Path) -> str:
    """Return the release and the versions of what runs."""
    found = [f"Python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    current = home / "current"
    release = f"Release {current.resolve().name}. " if current.is_symlink() else ""
    return f"{release}{', '.join(found)}."


def decision(verdicts: Sequence[Verdict], others: Mapping[str, tuple[str, str]]) -> str:
    """Say whether the site is ready, as far as a machine can."""
    failed = sum(each.status == FAILED for each in verdicts)
    failed_others = sum(status == FAILED for status, _ in others.values())
    if failed or failed_others:
        more = f" and {failed_others} other checks" if failed_others else ""
        return f"**Not ready:** {failed} items{more} failed."
    if not any(each.status == PASSED for each in verdicts):
        return "**Not known:** no item was decided."
    return (
        "**Nothing failed.** Ready when a person has confirmed what stands under"
        " [To be confirmed](#to-be-confirmed)."
    )


def write(
    path: Path,
    verdicts: Sequence[Verdict],
    *,
    others: Mapping[str, tuple[str, str]],
    ran: Sequence[Ran],
    home: Path,
) -> None:
    """Write the assessment.

    Args:
        path: Where to.
        verdicts: Of all items.
        others: Status and text of checks that belong to no item, by suite and id.
        ran: The verifications.
        home: The installation folder, whose path is left out.
    """
    now = datetime.datetime.now(datetime.UTC)
    lines = [
        "# Readiness assessment", "",
        f"Made by `assess.sh` on {now:%Y-%m-%d %H:%M} UTC, of what the scripts saw.", "",
        decision(verdicts, others), "",
        f"**Score: {Verdict.score(verdicts)} %** of the items that could be decided, rounded down.",
        "", versions(home), "", *(f"- {each.told()}" for each in ran), "",
        *_overview(verdicts), *_listed(verdicts, FAILED, "What failed", "Nothing."),
        *_failed_others(others), *_to_confirm(verdicts), *_tables(verdicts),
    ]  # fmt: skip
    path.write_text(neutral("\n".join(lines), home).rstrip("\n") + "\n", encoding="utf-8")


def _overview(verdicts: Sequence[Verdict]) -> Iterator[str]:
    yield from ("| | Passed | Failed | Not here | Score |", "| --- | --- | --- | --- | --- |")
    for group in GROUPS:
        own = [each for each in verdicts if each.group is group]
        counts = [sum(e.status == s for e in own) for s in (PASSED, FAILED, NOT_HERE)]
        decided = counts[0] + counts[1]
        score = f"{Verdict.score(own)} %" if decided else "not known"
        yield f"| {group.title} | {' | '.join(map(str, counts))} | {score} |"
    yield ""


def _listed(
    verdicts: Sequence[Verdict], status: str, heading: str, otherwise: str
) -> Iterator[str]:
    yield from (f"## {heading}", "")
    found = [each for each in verdicts if each.status == status]
    yield from (f"- `{each.id}` {each.item.what}: {each.why}" for each in found)
    if not found:
        yield otherwise
    yield ""


def _failed_others(others: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    found = [(name, text) for name, (status, text) in others.items() if status == FAILED]
    if found:
        yield from ("Other checks that failed:", "")
        yield from (f"- `{name}`: {text}" for name, text in found)
        yield ""


def _to_confirm(verdicts: Sequence[Verdict]) -> Iterator[str]:
    yield from ("## To be confirmed", "", "By a person, since no machine decided it here.", "")
    for each in verdicts:
        if each.status == NOT_HERE:
            yield f"- [ ] `{each.id}` {each.item.what}; not seen here: {each.why}"
        if each.item.confirm:
            yield f"- [ ] `{each.id}` {each.item.confirm}"
    yield from (f"- [ ] {each}" for each in PEOPLE)
    yield from ("", "Name, date: ______________________________", "")


def _tables(verdicts: Sequence[Verdict]) -> Iterator[str]:
    for group in GROUPS:
        yield from (f"## {group.title}", "", "| Item | | Result | Shown by |")
        yield "| --- | --- | --- | --- |"
        for each in verdicts:
            if each.group is group:
                yield f"| {each.id} | {each.item.what} | {each.status} | `{each.item.command}` |"
        yield ""
