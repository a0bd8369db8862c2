"""The page on adding the chat, followed in the quickstart's project."""

from __future__ import annotations

from pathlib import Path

from tests.docs.conftest import QUICKSTART
from tests.docs.execute import Page
from tests.docs.markdown import DOCS, blocks
from tests.extras import requires

PAGE = DOCS / "howto" / "add-the-chat.md"
pytestmark = requires("nh3")


def test_the_page_does_what_it_says(project: Path) -> None:
    settings = project / "mysite" / "settings.py"
    assert Page(PAGE, project, settings="mysite.settings").follow() >= 8
    assert "anonymous_scope" in settings.read_text()


def test_five_lines_are_five() -> None:
    (block,) = [each for each in blocks(PAGE) if each.language == "text" and "pip " in each.text]
    assert len(block.text.strip().splitlines()) == 5
    told = block.text.splitlines()
    before = "".join(each.text for each in blocks(QUICKSTART))
    assert [line.strip() in before for line in told] == [True, False, True, False, False]
    assert '["django_obc_ai", "clinics"]' in before  # the second
    others = "".join(each.text for each in blocks(PAGE) if each.language == "html")
    for line in told[3:]:
        assert line.strip() in others
