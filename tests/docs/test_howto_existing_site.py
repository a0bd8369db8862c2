"""The page on sites that exist: its figures are those of its blocks, and each site has its proof.

tests/acceptance/tutorial.py makes the sites, of other people's packages, and follows the page.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from tests.docs.execute import run_script
from tests.docs.markdown import DOCS, Block, blocks, headings, lines_below, section, table_rows
from tests.subprocesses import ROOT

PAGE = DOCS / "howto" / "add-to-an-existing-site.md"
SITES = ROOT / "tests" / "acceptance" / "sites"
ROWS = {row[0].split("]")[0].strip("["): row[1:] for row in table_rows(PAGE.read_text())}
_FILE = re.compile(r"# (?P<path>[\w/]+\.py)(?P<append>, at the end)?\n")
_FILES = {"Wagtail": "wagtail", "Oscar": "oscar"}


def site_of(heading: str) -> Path:
    return SITES / f"{_FILES.get(heading, heading.removeprefix('django-'))}.md"


def blocks_below(heading: str) -> list[Block]:
    lines = lines_below(PAGE, heading)
    return [each for each in blocks(PAGE) if each.line in lines]


@pytest.mark.parametrize("heading", ROWS)
def test_fewer_than_thirty_lines_are_added_and_told(heading: str) -> None:
    found = blocks_below(heading)
    lines = [line for each in found for line in each.text.splitlines() if line.strip()]
    assert {each.language for each in found} == {"python"}
    assert len(lines) < 30
    assert ROWS[heading][1] == str(len(lines))


@pytest.mark.parametrize("heading", ROWS)
def test_what_is_added_is_additions(heading: str) -> None:
    found = {}
    for each in blocks_below(heading):
        match = _FILE.match(each.text)
        assert match, each
        found[match["path"].rpartition("/")[2]] = bool(match["append"])
        ast.parse(each.text)
    assert found.pop("ai_indexes.py") is False  # new
    assert len(found) == 2 and all(found.values())


@pytest.mark.parametrize("heading", ROWS)
def test_versions_are_those_of_the_proof(heading: str) -> None:
    made = site_of(heading).read_text()
    pinned = re.findall(r'"([\w-]+)==([\d.]+)\.\*"', made)
    told = ROWS[heading][0]
    assert pinned
    for name, version in pinned:
        assert re.search(rf"\b{version}\b", told), name


@pytest.mark.parametrize("heading", ROWS)
def test_each_site_hides_something(heading: str) -> None:
    (asked,) = [each for each in blocks(site_of(heading)) if each.language == "json"]
    given = json.loads(asked.text)
    made = [each.text for each in blocks(site_of(heading)) if each.language == "pycon"]
    assert given["hidden"] and given["counted"]
    for title in (*given["hidden"], given["found"]):
        assert f'"{title}"' in "".join(made)


def test_every_site_of_the_proof_is_on_the_page() -> None:
    assert {site_of(heading) for heading in ROWS} == set(SITES.glob("*.md"))
    assert set(ROWS) <= set(headings(PAGE, 2))
    assert "ai_index" in section(PAGE, "Make the tables and the index")


def test_the_search_page_shows_what_the_visitor_may_see(project: Path) -> None:
    view, template = blocks_below("Give it a search page")
    for block, path in ((view, "ai_search.py"), (template, "templates/home/ai_search.html")):
        file = project / "clinics" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text.replace('"pages"', '"clinics"'))
    told = run_script(
        project,
        """
        from clinics import ai_search
        from clinics.models import Clinic
        from django.contrib.auth.models import AnonymousUser
        from django.test import RequestFactory

        Clinic.objects.create(name="<b>Secret</b>", town="Jolo", services="Teeth.", is_draft=True)
        Clinic.objects.create(name="<b>Open</b>", town="Jolo", services="Teeth.")
        for asked in ("", "teeth"):
            request = RequestFactory().get("/find/", {"q": asked})
            request.user = AnonymousUser()
            page = ai_search.find(request).content.decode()
            print("&lt;b&gt;Open" in page, "Secret" in page, "Nothing was found" in page)
        """,
    )
    assert told == "False False True\nTrue False False\n"
