"""ADDING_BACKENDS.md shows code that runs: it is taken from files that tests execute."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import django_obc_ai
from django_obc_ai import backends, testing
from django_obc_ai.conf import EMBEDDED_BACKENDS
from tests.docs.markdown import DOCS, Block, blocks, names, table_rows
from tests.subprocesses import ROOT

PAGE = ROOT / "ADDING_BACKENDS.md"
SAMPLES = [block for block in blocks(PAGE) if block.language == "python"]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"line-{sample.line}")
def test_samples_stand_word_for_word_in_their_files(sample: Block) -> None:
    head, _, code = sample.text.partition("\n")
    assert code in (ROOT / head.removeprefix("# ")).read_text()


def test_every_family_has_a_sample() -> None:
    files = {sample.text.partition("\n")[0].rpartition("/")[2] for sample in SAMPLES}
    assert {"provider.py", "embedder.py", "vector_store.py", "cost_store.py"} <= files


def test_the_table_names_what_there_is() -> None:
    rows = table_rows(PAGE.read_text().partition("## Rules")[0])
    assert {names(row[0])[0] for row in rows} == {*EMBEDDED_BACKENDS, "RERANKERS"}
    for row in rows:
        key, base, _, double = (names(cell)[0] for cell in row)
        family = importlib.import_module(f"{backends.__name__}.{key.lower()}")
        assert hasattr(family, base)
        assert set(names(row[2])) <= set(testing.__all__)
        assert (Path(django_obc_ai.__file__).parent / double).is_file()


def test_the_short_page_has_a_suite_for_what_has_no_sample_here() -> None:
    short = (DOCS / "howto" / "write-a-backend.md").read_text()
    suites = {name for name in testing.__all__ if name.endswith("Contract")}
    sampled = {"VectorStoreContract", "CostStoreContract"}  # whole files, above
    for name in suites - sampled:
        assert f"testing.{name}, " in short, name
    families = short.partition("In each")[0]
    for key in (*EMBEDDED_BACKENDS, "RERANKERS"):
        assert key.lower().replace("_", " ") in " ".join(families.split()), key
