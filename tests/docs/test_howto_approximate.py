"""The page on approximate search, followed with FAISS."""

from __future__ import annotations

from pathlib import Path

from tests.docs.execute import Page
from tests.docs.markdown import DOCS
from tests.extras import requires


@requires("faiss")
def test_the_page_does_what_it_says(project: Path) -> None:
    page = DOCS / "howto" / "approximate-search.md"
    assert Page(page, project, settings="mysite.settings").follow() >= 5
