"""No statement of the package is put together from text: what is not constant is a parameter."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import django_obc_ai
from django_obc_ai.models import Chunk, IndexState, IndexVersion, Tombstone

ROOT = Path(django_obc_ai.__file__).parent
#: Methods and classes that take SQL, and where theirs stands.
TAKES_SQL = {"execute", "executemany", "raw", "extra", "RawSQL"}
#: Files whose statements Django's own compilers make; they give what a compiler returned.
COMPILED = {"backends/cost_stores/database.py", "gateway/inserts.py", "chat/statements.py"}


def _statements(tree: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in TAKES_SQL and (node.args or name == "extra"):
                yield node.args[0] if node.args else node


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
    for statement in _statements(ast.parse(path.read_text(encoding="utf-8"))):
        assert not _is_built(statement), f"{name}:{statement.lineno}"
        if name not in COMPILED:
            assert isinstance(statement, ast.Constant), f"{name}:{statement.lineno}"


def test_the_test_sees_what_it_forbids() -> None:
    for bad in ('c.execute(f"SELECT {x}")', 'm.raw("SELECT " + x)', 'c.execute("{}".format(x))'):
        (statement,) = _statements(ast.parse(bad))
        assert _is_built(statement)


def test_the_tables_are_called_what_statements_call_them() -> None:
    for model in (Chunk, IndexState, IndexVersion, Tombstone):
        assert model._meta.db_table == f"django_obc_ai_{model.__name__.lower()}"
