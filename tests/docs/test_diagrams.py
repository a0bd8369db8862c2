"""The diagrams are drawn from their sources, and a page shows each."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from tests.docs.markdown import DOCS

SOURCES = sorted((DOCS / "diagrams").glob("*.dot"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_image_is_of_this_source_and_a_page_shows_it(source: Path) -> None:
    image = DOCS / "images" / f"{source.stem}.svg"
    told = re.findall(r"<!-- source: ([0-9a-f]{64}) -->", image.read_text())
    assert told == [hashlib.sha256(source.read_bytes()).hexdigest()], "run docs/diagrams/render.sh"
    assert any(f"images/{image.name}" in page.read_text() for page in DOCS.rglob("*.md"))


def test_there_are_diagrams() -> None:
    assert {each.stem for each in SOURCES} >= {"call", "index"}
