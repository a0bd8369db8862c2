"""Reading the documentation's Markdown: fenced blocks, headings, tables, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.subprocesses import ROOT

DOCS = ROOT / "docs"
_FENCE = re.compile(r"^(?P<fence>```+)(?P<info>.*)$")
_LINK = re.compile(r"(?<!\!)\[[^\]]*\]\((?P<target>[^()\s]+)\)")
_IMAGE = re.compile(r"!\[(?P<text>[^\]]*)\]\((?P<target>[^()\s]+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block.

    Attributes:
        language: The first word behind the fence, for example "python".
        line: Number of the line of the opening fence, from 1.
    """

    language: str
    text: str
    line: int


def documents() -> list[Path]:
    """Return the Markdown files that people read; results and Sphinx's own pages left out."""
    found = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "example_project").glob("*.md")]
    skipped = {DOCS / "acceptance", DOCS / "_build", DOCS / "project"}
    return sorted(path for path in found if not skipped & set(path.parents))


def blocks(path: Path) -> list[Block]:
    """Return the fenced blocks of a file, in order."""
    found: list[Block] = []
    fence, language, start, lines = "", "", 0, []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        match = _FENCE.match(line)
        if not fence and match:
            fence, start, lines = match["fence"], number, []
            language = (match["info"].split() or [""])[0]
        elif fence and match and match["fence"] == fence and not match["info"]:
            found.append(Block(language=language, text="\n".join(lines) + "\n", line=start))
            fence = ""
        elif fence:
            lines.append(line)
    assert not fence, f"{path}:{start}: the block is not closed"
    return found


def prose(path: Path) -> str:
    """Return a file's text without its fenced blocks; lines keep their numbers."""
    fence, lines = "", []
    for line in path.read_text().splitlines():
        match = _FENCE.match(line)
        if match:
            fence = "" if fence else match["fence"]
        lines.append("" if fence or match else line)
    return "\n".join(lines)


def headings(path: Path, level: int = 0) -> list[str]:
    """Return the headings of one level, or of all levels."""
    marks = "#" * level if level else "#+"
    return re.findall(rf"^{marks} (.+?)\s*$", prose(path), re.MULTILINE)


def slug_of(heading: str) -> str:
    """Return the anchor that GitHub and MyST give a heading."""
    plain = re.sub(r"[`*]", "", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def lines_below(path: Path, heading: str) -> range:
    """Return the numbers, from 1, of the lines below a heading, down to the next of its level."""
    lines = path.read_text().splitlines()
    written = re.compile(rf"#+ {re.escape(heading)}")
    start = next((n for n, line in enumerate(lines) if written.fullmatch(line.strip())), None)
    assert start is not None, f"{path.name} has no heading {heading!r}"
    level = len(lines[start]) - len(lines[start].lstrip("#"))
    is_code = False
    for number, line in enumerate(lines[start + 1 :], start=start + 2):
        is_code ^= line.startswith("```")
        if not is_code and re.match(rf"#{{1,{level}}} ", line):
            return range(start + 2, number)
    return range(start + 2, len(lines) + 1)


def section(path: Path, heading: str) -> str:
    """Return what stands below a heading, down to the next one of its level or above."""
    lines = path.read_text().splitlines()
    return "\n".join(lines[number - 1] for number in lines_below(path, heading))


def table_rows(text: str) -> list[list[str]]:
    """Return the cells of every table row in a text, heads and rules left out."""
    lines = text.splitlines()
    rows = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("|") and not _is_rule(line) and not _is_rule(following):
            rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
    return rows


def _is_rule(line: str) -> bool:
    return line.startswith("|") and set(line) <= set("|-: ")


def names(text: str) -> list[str]:
    """Return what stands between backticks."""
    return re.findall(r"`([^`\n]+)`", text)


def links(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line number and target of every link and image."""
    for number, line in enumerate(prose(path).splitlines(), start=1):
        plain = re.sub(r"`[^`]*`", "", line)
        for pattern in (_LINK, _IMAGE):
            yield from ((number, match["target"]) for match in pattern.finditer(plain))
