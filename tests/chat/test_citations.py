"""What of a model's answer holds against its sources."""

from __future__ import annotations

import pytest

from django_obc_ai.chat.citations import number_sources, resolve, to_json, to_model
from django_obc_ai.types import SearchResult, Source
from django_obc_ai.types.chat import QueryPlan, QueryResult

ROWS = QueryResult(
    plan=QueryPlan(), columns=("name", "n"), labels=("Name", "Count"), rows=(("Jolo", 7),), total=1
)
DONE = "The answer says that something was done. Nothing was: chat only reads."


class Thing:
    def __init__(self, url: object) -> None:
        self.url = url

    def __str__(self) -> str:
        return "Thing"

    def get_absolute_url(self) -> object:
        if isinstance(self.url, Exception):
            raise self.url
        return self.url


def hit(url: object = "/things/1/", text: str = "A thing of 12.") -> SearchResult:
    return SearchResult(object=Thing(url), score=0.5, text=text, chunk_id=1, index="things")


SOURCES = number_sources(ROWS, "Places (1)", [hit(), hit(text="Another.")])


def test_rows_come_first_and_passages_after() -> None:
    assert [(each.number, each.title, each.url) for each in SOURCES] == [
        (1, "Places (1)", ""), (2, "Thing", "/things/1/"), (3, "Thing", "/things/1/"),
    ]  # fmt: skip
    assert SOURCES[0].text == "Name | Count\nJolo | 7"
    assert to_model(SOURCES)[1] == Source(title="Thing", text="A thing of 12.")


def test_of_rows_it_is_stored_only_that_they_were_cited() -> None:
    rows, passage, _ = to_json(SOURCES)
    assert rows == {"number": 1, "title": "Places (1)", "text": "", "url": ""}
    assert passage == {
        "number": 2, "title": "Thing", "text": "A thing of 12.", "url": "/things/1/",
    }  # fmt: skip


@pytest.mark.parametrize("url", [
    "javascript:alert(1)", "data:text/html,x", "", None, 5, RuntimeError("no address"), " /x",
])  # fmt: skip
def test_an_address_that_is_none_is_left_out(url: object) -> None:
    assert number_sources(None, "", [hit(url)])[0].url == ""


def test_a_faithful_answer_is_left_alone() -> None:
    found = resolve("Jolo has 7 [1], the thing 12 [2].", SOURCES, result=ROWS)
    assert found.text == "Jolo has 7 [1], the thing 12 [2]."
    assert [each.number for each in found.citations] == [1, 2]
    assert found.warnings == ()


@pytest.mark.parametrize(("text", "warning"), [
    ("Jolo has 7 [4].", "The answer named sources that do not exist: [4]. They were removed."),
    ("<b>7</b>", "The answer held links or markup, which are shown as plain text."),
    ("Jolo has 8 [1].", "The data do not hold these numbers of the answer: 8."),
    ("I have deleted Jolo.", DONE),
    ("The records were updated.", DONE),
    ("Binura ko na ang Jolo.", DONE),
])  # fmt: skip
def test_what_does_not_hold_is_said(text: str, warning: str) -> None:
    assert resolve(text, SOURCES, result=ROWS).warnings == (warning,)
