"""docs/reference/tasks.md lists every task with its arguments."""

from __future__ import annotations

import inspect

import pytest
from django.utils.module_loading import import_string

from django_obc_ai.services.task_table import TASKS as REGISTERED
from tests.docs.markdown import DOCS, names, table_rows

PAGE = DOCS / "reference" / "tasks.md"
#: Without the one that the contract suite of task runners adds where it runs.
TASKS = {name: path for name, path in REGISTERED.items() if ".testing." not in path}
ROWS = {names(row[0])[0]: row for row in table_rows(PAGE.read_text())}


def test_every_task_is_listed_and_no_other() -> None:
    assert list(ROWS) == list(TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_arguments_and_their_defaults_are_those_of_the_code(name: str) -> None:
    found = inspect.signature(import_string(TASKS[name])).parameters.values()
    written = [
        each.name if each.default is each.empty else f"{each.name}={each.default!r}"
        for each in found
    ]
    assert [each.replace('"', "'") for each in names(ROWS[name][1])] == written
