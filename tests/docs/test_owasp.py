"""The pages about OWASP's lists hold every item, and each claim names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.markdown import DOCS, headings, names, section, slug_of, table_rows
from tests.subprocesses import ROOT

WEB, LLM = (DOCS / "reference" / f"{name}.md" for name in ("owasp", "owasp-llm"))
GUARANTEES = DOCS / "explanation" / "guarantees.md"
#: The items by page and edition, as OWASP calls them.
WEB_2025 = (
    "Broken Access Control", "Security Misconfiguration", "Software Supply Chain Failures",
    "Cryptographic Failures", "Injection", "Insecure Design", "Authentication Failures",
    "Software or Data Integrity Failures", "Security Logging and Alerting Failures",
    "Mishandling of Exceptional Conditions",
)  # fmt: skip
WEB_2021 = (
    "Broken Access Control", "Cryptographic Failures", "Injection", "Insecure Design",
    "Security Misconfiguration", "Vulnerable and Outdated Components",
    "Identification and Authentication Failures", "Software and Data Integrity Failures",
    "Security Logging and Monitoring Failures", "Server-Side Request Forgery",
)  # fmt: skip
LLM_2025 = (
    "Prompt Injection", "Sensitive Information Disclosure", "Supply Chain",
    "Data and Model Poisoning", "Improper Output Handling", "Excessive Agency",
    "System Prompt Leakage", "Vector and Embedding Weaknesses", "Misinformation",
    "Unbounded Consumption",
)  # fmt: skip
LLM_2026 = (
    "Prompt Injection", "Sensitive Information Disclosure", "Excessive Agency", "Supply Chain",
    "Data and Model Poisoning", "Unbounded Consumption", "Misinformation",
    "Hidden Context Exposure", "Vector and Embedding Weaknesses", "Improper Output Handling",
)  # fmt: skip
EXPECTED = {
    WEB: [f"A{n:02}:2025 {each}" for n, each in enumerate(WEB_2025, 1)]
    + ["A10:2021 Server-Side Request Forgery"],
    LLM: [f"LLM{n:02}:2025 {each}" for n, each in enumerate(LLM_2025, 1)],
}
OTHER_EDITION = {
    WEB: [f"A{n:02} {each}" for n, each in enumerate(WEB_2021, 1)],
    LLM: [f"LLM{n:02} {each}" for n, each in enumerate(LLM_2026, 1)],
}
PROOF = re.compile(r"(?P<path>tests/[\w/]+\.py)(?:::(?P<name>test_\w+))?")
ITEMS = [
    pytest.param(page, item, id=item.split()[0])
    for page in (WEB, LLM)
    for item in headings(page, 3)
]


@cache
def _tests_of(path: Path) -> frozenset[str]:
    """The tests that a file declares, read and not run."""
    return frozenset(
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def missing_tests(text: str) -> list[str]:
    """Return the proofs that a text names and that do not exist."""
    found = [match for each in names(text) if (match := PROOF.fullmatch(each))]
    return [
        each[0]
        for each in found
        if not (ROOT / each["path"]).is_file()
        or (each["name"] and each["name"] not in _tests_of(ROOT / each["path"]))
    ]


@pytest.mark.parametrize("page", EXPECTED, ids=lambda page: page.stem)
def test_every_item_has_a_section_in_order(page: Path) -> None:
    assert headings(page, 3) == EXPECTED[page]


@pytest.mark.parametrize("page", OTHER_EDITION, ids=lambda page: page.stem)
def test_every_item_of_the_other_edition_leads_to_a_section(page: Path) -> None:
    rows = table_rows(page.read_text().partition("\n## ")[0])
    assert [row[0] for row in rows] == OTHER_EDITION[page]
    anchors = {slug_of(heading) for heading in headings(page, 3)}
    for _, target in rows:
        (anchor,) = re.findall(r"\(#([\w-]+)\)", target)
        assert anchor in anchors


@pytest.mark.parametrize(("page", "item"), ITEMS)
def test_every_claim_names_its_proof_and_every_item_what_is_left(page: Path, item: str) -> None:
    text = section(page, item)
    rows = table_rows(text)
    assert len(rows) >= 3
    for claim, proof in rows:
        proofs = names(proof)
        assert proofs and "::" in proofs[0], claim
        assert all(PROOF.fullmatch(each) for each in proofs), claim
    assert "\n**Yours:** " in text


@pytest.mark.parametrize("page", [WEB, LLM, GUARANTEES], ids=lambda page: page.stem)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    assert len(PROOF.findall(page.read_text())) > 20
    assert missing_tests(page.read_text()) == []


def test_a_test_that_does_not_exist_is_found() -> None:
    here = "tests/docs/test_owasp.py"
    good = f"`{here}::test_a_test_that_does_not_exist_is_found` and `{here}`"
    assert missing_tests(good) == []
    bad = [f"{here}::test_of_nothing", "tests/docs/test_none.py::test_x"]
    assert missing_tests(" ".join(f"`{each}`" for each in bad)) == bad
