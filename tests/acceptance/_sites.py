"""Sites made of other people's apps: each is made, gets the how-to page's lines, and is asked."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _api_report import Report
from _typed_page import Reader, TypedPage, cpu_seconds

from tests.docs.markdown import DOCS, blocks

PAGE = DOCS / "howto" / "add-to-an-existing-site.md"
SITES = Path(__file__).parent / "sites"
#: By file: the heading of the page, and the packages whose versions are told.
KINDS = {
    "wagtail": ("Wagtail", ("wagtail",)),
    "oscar": ("Oscar", ("django-oscar",)),
    "helpdesk": ("django-helpdesk", ("django-helpdesk",)),
    "wiki": ("django-wiki", ("wiki",)),
    "machina": ("django-machina", ("django-machina",)),
}
LIMIT_LINES = 30
_ASKING = Path(__file__).with_name("_site_asking.py")
_VERSIONS = (
    "import importlib.metadata as m, sys; print(*(f'{p} {m.version(p)}' for p in sys.argv[1:]))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What was added to a site.

    Attributes:
        lines: That are not blank.
        all_lines: Blank ones, too.
        files: Names of the files that are new or longer.
    """

    lines: int
    all_lines: int
    files: tuple[str, ...]


def texts_of(folder: Path) -> dict[str, str]:
    """Return the site's own Python files and templates by name; no environment, no hidden file."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        is_hidden = any(part.startswith(".") for part in name.parts)
        if path.suffix in {".py", ".html", ".txt"} and not is_hidden:
            found[str(name)] = path.read_text(encoding="utf-8")
    return found


def additions(before: Mapping[str, str], after: Mapping[str, str]) -> Added:
    """Return what was added.

    Raises:
        AssertionError: Something is not an addition: a file is gone, or was edited.
    """
    assert set(before) <= set(after), f"gone: {set(before) - set(after)}"
    new: dict[str, str] = {}
    for name, text in after.items():
        old = before.get(name, "")
        assert text.startswith(old), f"{name} was edited, not continued"
        if text != old:
            new[name] = text[len(old) :]
    lines = [line for text in new.values() for line in text.splitlines()]
    return Added(
        lines=sum(bool(line.strip()) for line in lines), all_lines=len(lines), files=tuple(new)
    )


def asked_of(name: str) -> dict[str, Any]:
    """Return what a site is asked, from the JSON of its file."""
    (block,) = [each for each in blocks(SITES / f"{name}.md") if each.language == "json"]
    return dict(json.loads(block.text))


def prove_site(name: str, reader: Reader, report: Report) -> list[str]:
    """Make a site, add the lines of the page, ask; return the cells of its row."""
    heading, packages = KINDS[name]
    began, used = time.monotonic(), cpu_seconds()
    TypedPage(SITES / f"{name}.md", reader).follow()
    made, installing = time.monotonic() - began, reader.installing_seconds
    before, began = texts_of(reader.folder), time.monotonic()
    page = TypedPage(PAGE, reader)
    page.follow(["console"], below="Before you begin")
    page.follow(["python"], below=heading)
    added = additions(before, texts_of(reader.folder))
    page.follow(["console"], below="Make the tables and the index")
    if name == "oscar":
        page.follow(["pycon"], below="Ask")
    given = asked_of(name)
    found = json.loads(_last_line(reader, given))
    taken, used = time.monotonic() - began, cpu_seconds() - used
    report.expect(added.lines < LIMIT_LINES, f"{name}: {added.lines} lines were added")
    judge(name, given, found, report)
    versions = reader.run(["-c", _VERSIONS, *packages, "Django"]).strip()
    print(f"{name}: {versions}: {added}, {taken:.0f} s; {found['answer']!r}", flush=True)
    search = f"“{given['query']}”: {', '.join(found['found'])}"
    return [
        heading, ", ".join(_pairs(versions)), f"{made:.0f} ({installing:.0f})", f"{added.lines}",
        f"{added.all_lines}", f"{taken:.0f}", f"{used:.0f}", search,
        ", ".join(found["hidden"]), f"“{given['question']}” {found['answer']}",
        f"{found['counted']} of {found['rows']}",
    ]  # fmt: skip


def judge(name: str, given: Mapping[str, Any], found: Mapping[str, Any], report: Report) -> None:
    """Say what a site did not answer as it must."""

    def expect(claim: bool, why: str) -> None:
        report.expect(claim, f"{name}: {why}")

    hidden = set(given["hidden"])
    expect(set(found["hidden"]) == hidden, f"hidden rows are {found['hidden']}")
    expect(found["hidden_indexed"] == len(hidden), "a hidden row is in no index: nothing hides it")
    expect(found["found"][:1] == [given["found"]], f"found {found['found']}")
    expect(hidden <= set(found["found_without_rule"]), "the rule makes no difference")
    for by in ("found", "found_by_nobody"):
        expect(not hidden & set(found[by]), f"{by}: {found[by]}")
    expect(found["answer_rows"] == [[found["counted"]]], f"{found['answer_rows']} by the chat")
    expect(str(found["counted"]) in found["answer"], f"answer: {found['answer']}")
    expect(0 < found["counted"] < found["rows"], "what may not be seen makes no difference")
    expect(found["answered_by_rules"], "a language model had a part in it")
    expect(found["without_login"] == 302, f"without a login: {found['without_login']}")
    expect(found["answer"] in found["page_of_question"], "the chat page does not tell the answer")
    expect(given["found"] in found["page_of_search"], "the chat page does not tell what was found")
    for title in hidden:
        expect(title not in found["page_of_search"], f"the chat page tells of {title}")


def _last_line(reader: Reader, given: Mapping[str, Any]) -> str:
    reader.environment["ASKED"] = json.dumps(given)
    script = _ASKING.read_text(encoding="utf-8")
    told = reader.run(["manage.py", "shell", "--verbosity=0", "-c", script])
    return told.strip().splitlines()[-1]


def _pairs(versions: str) -> list[str]:
    words = versions.split()
    return [f"{name} {version}" for name, version in zip(words[::2], words[1::2], strict=True)]
