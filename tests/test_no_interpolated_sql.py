"""No statement of the package is put together from text: what is not constant is a parameter."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import django_obc_ai
from django_obc_ai.models import Chunk, Flight, GateRow, IndexState, IndexVersion, Tombstone

ROOT = Path(django_obc_ai.__file__).parent
#: Methods and classes that take SQL, and where theirs stands.
TAKES_SQL = {"execute", "executemany", "raw", "extra", "RawSQL"}
#: Files whose statements Django's own compilers make; they give what a compiler returned.
COMPILED = {"backends/cost_stores/database.py", "gateway/inserts.py", "chat/statements.py"}
#: Files whose statements `_pgvector_tables.quoted` or a method of their own fills in: quoted names
#: of tables and indexes, types and numbers of ours, and the SQL of a queryset's compiler.
_PGVECTOR = ("feed", "index", "loading", "search", "tables")
COMPILED |= {f"backends/vector_stores/_pgvector_{each}.py" for each in _PGVECTOR}

#: Files where `_change` runs a constant of the module that it is given.
HANDED_ON = {"backends/coordinators/_database_flights.py"}


def _statements(tree: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in TAKES_SQL and (node.args or name == "extra"):
                yield node.args[0] if node.args else node


def _constants(tree: ast.Module) -> Iterator[str]:
    """Yield the names in capitals that a module gives a plain text."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            yield from (each.id for each in node.targets if isinstance(each, ast.Name))


def _is_built(statement: ast.expr) -> bool:
    """Is it put together: an f-string, a sum, a %, a format()?"""
    return any(
        isinstance(part, (ast.JoinedStr, ast.BinOp))
        or (isinstance(part, ast.Call) and getattr(part.func, "attr", "") in ("format", "join"))
        for part in ast.walk(statement)
    )


@pytest.mark.parametrize(
    "path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_statements_are_constants(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known = set(_constants(tree)) | ({"statement"} if name in HANDED_ON else set())
    for statement in _statements(tree):
        assert not _is_built(statement), f"{name}:{statement.lineno}"
        if name not in COMPILED and getattr(statement, "id", "") not in known:
            assert isinstance(statement, ast.Constant), f"{name}:{statement.lineno}"


@pytest.mark.parametrize("name", sorted(HANDED_ON))
def test_what_is_handed_on_is_a_constant(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    calls = [each for each in ast.walk(tree) if isinstance(each, ast.Call)]
    handed = [each.args[1] for each in calls if getattr(each.func, "id", "") == "_change"]
    assert handed
    assert {getattr(each, "id", "") for each in handed} <= set(_constants(tree))


def test_the_test_sees_what_it_forbids() -> None:
    for bad in ('c.execute(f"SELECT {x}")', 'm.raw("SELECT " + x)', 'c.execute("{}".format(x))'):
        (statement,) = _statements(ast.parse(bad))
        assert _is_built(statement)


def test_the_tables_are_called_what_statements_call_them() -> None:
    for model in (Chunk, Flight, GateRow, IndexState, IndexVersion, Tombstone):
        assert model._meta.db_table == f"django_obc_ai_{model.__name__.lower()}"
