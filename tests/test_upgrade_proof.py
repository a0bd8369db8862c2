"""The upgrade proof sees what an upgrade would lose; tests/acceptance/upgrade.py makes upgrades."""

from __future__ import annotations

import copy
import importlib.util
from types import ModuleType
from typing import Any

import pytest

from tests.subprocesses import ROOT

TABLE = {
    "columns": [["id", "BigAutoField", False], ["text", "TextField", False]],
    "constraints": [["pk", "['id']", "True", "False", "False"]],
    "rows": [{"id": "1", "text": "a"}, {"id": "2", "text": "b"}],
}


@pytest.fixture(scope="module")
def proof() -> ModuleType:
    path = ROOT / "tests" / "acceptance" / "upgrade.py"
    spec = importlib.util.spec_from_file_location("upgrade_proof", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def changed(change: Any) -> dict[str, Any]:
    tables = {"t": copy.deepcopy(TABLE)}
    change(tables)
    return tables


def add_column(tables: dict[str, Any]) -> None:
    tables["t"]["columns"].append(["new", "TextField", False])
    for row in tables["t"]["rows"]:
        row["new"] = ""


def add_row(tables: dict[str, Any]) -> None:
    tables["t"]["rows"].append({"id": "3"})


@pytest.mark.parametrize("change", [add_column, add_row])
def test_what_is_added_is_no_fault(proof: ModuleType, change: Any) -> None:
    assert proof.compare_rows({"t": TABLE}, changed(change)) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(lambda tables: tables.clear(), "t: the table is gone", id="table"),
        pytest.param(lambda tables: tables["t"]["columns"].pop(), "t.text is gone", id="column"),
        pytest.param(lambda tables: tables["t"]["rows"].pop(), "1 of 2 rows", id="row"),
        pytest.param(lambda tables: tables["t"]["rows"][0].update(text="c"), "1 of 2", id="text"),
    ],
)
def test_what_is_lost_or_changed_is_told(proof: ModuleType, change: Any, told: str) -> None:
    assert told in " ".join(proof.compare_rows({"t": TABLE}, changed(change)))


def test_a_schema_that_a_new_installation_would_not_have_is_told(proof: ModuleType) -> None:
    assert proof.compare_schemas({"t": TABLE}, {"t": TABLE}) == []
    assert proof.compare_schemas(changed(add_column), {"t": TABLE}) != []
    without = changed(lambda tables: tables["t"]["constraints"].clear())
    assert "constraints differ" in proof.compare_schemas(without, {"t": TABLE})[0]
