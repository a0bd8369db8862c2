"""Every link and image within the repository leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs import external_links
from tests.docs.markdown import DOCS, documents, headings, links, slug_of
from tests.subprocesses import ROOT

PAGES = documents()


def _fault(page: Path, target: str) -> str:
    if target.startswith(("https://", "http://", "mailto:")):
        return ""
    name, _, anchor = target.partition("#")
    file = (page.parent / name).resolve() if name else page
    if not file.exists():
        return "there is no such file"
    if anchor and anchor not in {slug_of(heading) for heading in headings(file)}:
        return "there is no such heading"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_images_lead_somewhere(page: Path) -> None:
    faults = {f"{line}: {target}": _fault(page, target) for line, target in links(page)}
    assert {place: fault for place, fault in faults.items() if fault} == {}


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page in seen or page.suffix != ".md" or not page.is_file():
            continue
        seen.add(page)
        waiting += [page.parent / target.partition("#")[0] for _, target in links(page)]
    missing = {page for page in PAGES if page.resolve() not in seen} - {DOCS / "index.md"}
    assert missing == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_have_one_title_and_short_lines(page: Path) -> None:
    lines = page.read_text().splitlines()
    assert len(headings(page, 1)) == 1
    assert lines[0].startswith("# ")
    too_long = [n for n, line in enumerate(lines, 1) if len(line) > 110 and "|" not in line]
    assert [n for n in too_long if not lines[n - 1].startswith(("![", "ok "))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_of_tests_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(r"`(?:\./)?(tests/[\w/.-]+\.(?:py|sh))\b", page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_external_links_are_listed() -> None:
    text = external_links.listing()
    assert text.count("https://") >= 5
    assert external_links.PAGE.read_text() == text, "run: python -m tests.docs.external_links"
