"""docs/reference/tasks.md lists every task with its arguments."""

from __future__ import annotations

import inspect
from importlib.util import find_spec

import pytest
from django.utils.module_loading import import_string

from django_obc_ai.services.tasks import TASKS
from tests.docs.markdown import DOCS, names, table_rows

PAGE = DOCS / "reference" / "tasks.md"
ROWS = {names(row[0])[0]: row for row in table_rows(PAGE.read_text())}


def test_every_task_is_listed_and_no_other() -> None:
    assert list(ROWS) == list(TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_arguments_and_their_defaults_are_those_of_the_code(name: str) -> None:
    if find_spec(TASKS[name].rpartition(".")[0]) is None:
        pytest.skip("its module is not there yet")
    found = inspect.signature(import_string(TASKS[name])).parameters.values()
    written = [
        each.name if each.default is each.empty else f"{each.name}={each.default!r}"
        for each in found
    ]
    assert [each.replace('"', "'") for each in names(ROWS[name][1])] == written
