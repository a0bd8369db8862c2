"""The page on adding the chat, followed in the quickstart's project."""

from __future__ import annotations

from pathlib import Path

from tests.docs.execute import Page
from tests.docs.markdown import DOCS, blocks, section
from tests.extras import requires

PAGE = DOCS / "howto" / "add-the-chat.md"
pytestmark = requires("nh3")


def test_the_page_does_what_it_says(project: Path) -> None:
    settings = project / "mysite" / "settings.py"
    assert Page(PAGE, project, settings="mysite.settings").follow() >= 9
    assert "anonymous_scope" in settings.read_text()


def test_five_lines_are_five() -> None:
    (block,) = [each for each in blocks(PAGE) if each.language == "text" and "pip " in each.text]
    assert len(block.text.strip().splitlines()) == 5
    others = "".join(each.text for each in blocks(PAGE) if each.language in ("python", "html"))
    told = block.text.replace("INSTALLED_APPS += ", "").splitlines()
    for line in told[2:]:  # the first two are what the quickstart has done
        assert line.strip() in others
    assert 'path("chat/"' in section(PAGE, "Five lines")
