"""What the package reads stays data: nothing of it is run, unpickled or taken for safe HTML."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import django_obc_ai

ROOT = Path(django_obc_ai.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
#: Modules that run or build objects from what they read, and those that start programs.
FORBIDDEN = {
    "code", "cloudpickle", "dill", "joblib", "marshal", "pickle", "runpy", "shelve", "subprocess",
    "yaml",
}  # fmt: skip
#: Functions that do; of a module (`os.system`) or of Python itself.
RUNNING = {
    "__import__", "builtins.eval", "builtins.exec", "compile", "eval", "exec", "os.popen",
    "os.system",
}  # fmt: skip
#: A contract for tests, which pickles errors of its own and reads them again.
FOR_TESTS = {"testing/provider_contract.py"}
#: The sanitiser, whose result is safe because it has made it so.
SAFE = {"widget/markdown.py": 1}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _runs(tree: ast.AST) -> Iterator[str]:
    """Yield what a module uses that could run what it reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name.split(".")[0] in FORBIDDEN)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN:
            yield node.module or ""
        elif isinstance(node, ast.Call):
            if (called := ast.unparse(node.func)) in RUNNING:
                yield called
            yield from (
                f"{each.arg}={ast.unparse(each.value)}"
                for each in node.keywords
                if each.arg in ("allow_pickle", "shell") and ast.unparse(each.value) != "False"
            )


def _marked(tree: ast.AST) -> int:
    """Count the calls that say of a text that it is safe HTML."""
    names = ("mark_safe", "SafeString", "SafeText")
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return sum(ast.unparse(func).rpartition(".")[2] in names for func in calls)


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_nothing_runs_or_unpickles_what_it_reads(path: Path) -> None:
    found = set(_runs(ast.parse(path.read_text(encoding="utf-8"))))
    assert found == ({"pickle"} if _name(path) in FOR_TESTS else set())


def test_html_is_marked_safe_in_one_place() -> None:
    counts = {_name(path): _marked(ast.parse(path.read_text())) for path in SOURCES}
    assert {name: count for name, count in counts.items() if count} == SAFE
    for template in (ROOT / "templates").rglob("*.*"):
        assert not re.search(r"\|\s*safe(seq)?\b|autoescape\s+off", template.read_text()), template


@pytest.mark.parametrize(
    "bad",
    [
        "import pickle", "from yaml import load", "import subprocess as s", "eval(text)",
        "os.system(text)", "np.load(file, allow_pickle=True)", "run(text, shell=is_shell)",
    ],
)  # fmt: skip
def test_the_test_sees_what_it_forbids(bad: str) -> None:
    assert len(list(_runs(ast.parse(bad)))) == 1
    assert _marked(ast.parse(f"from x import y\ny.mark_safe({bad!r})")) == 1
