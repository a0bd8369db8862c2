"""tests/find_python.sh and the scripts around it choose the interpreter the user meant."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SYSTEM_PATH = "/usr/bin:/bin"
MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"
DOES_NOT_RUN = "#!/bin/sh\necho 'this name is only a shim' >&2\nexit 127\n"


def _find(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(ROOT / "tests/find_python.sh"), *arguments],
        env={"PATH": SYSTEM_PATH, **environment},
        capture_output=True,
        text=True,
    )


def _program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def pyenv(tmp_path: Path) -> Path:
    """A pyenv root with the running interpreter as its only version."""
    text = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'
    _program(tmp_path / f"pyenv/versions/{MINOR}.99/bin/python", text)
    return tmp_path / "pyenv"


def test_a_path_is_taken_as_it_is() -> None:
    assert _find(sys.executable).stdout.strip() == sys.executable
    assert _find(PYTHON=sys.executable).stdout.strip() == sys.executable


def test_a_name_on_path_is_found(tmp_path: Path) -> None:
    _program(tmp_path / "mypython", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    found = _find("mypython", PATH=f"{tmp_path}:{SYSTEM_PATH}")
    assert found.stdout.strip() == sys.executable


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder for PATH with what the script needs and no Python, not even the system's."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("bash", "timeout", "ls", "sort", "head", "grep", "sed"):
        program = shutil.which(name, path=SYSTEM_PATH)
        assert program is not None
        (folder / name).symlink_to(program)
    return folder


@pytest.mark.parametrize("name", [f"python{MINOR}", MINOR])
def test_a_name_that_does_not_run_counts_as_missing(
    name: str, tmp_path: Path, tools: Path, pyenv: Path
) -> None:
    _program(tmp_path / f"shims/python{MINOR}", DOES_NOT_RUN)
    path = f"{tmp_path}/shims:{tools}"
    found = _find(name, PATH=path, PYENV_ROOT=str(pyenv))
    assert found.stdout.strip() == sys.executable
    alone = _find(name, PATH=path, PYENV_ROOT=str(tmp_path / "nothing"))
    assert alone.returncode == 1
    assert f"'{name}' is no Python" in alone.stderr


def test_the_default_home_of_pyenv_is_searched(tmp_path: Path, tools: Path, pyenv: Path) -> None:
    pyenv.rename(tmp_path / ".pyenv")
    assert _find("--all", PATH=str(tools), HOME=str(tmp_path)).stdout.split() == [sys.executable]


def test_nothing_usable_is_said_with_the_way_out(tmp_path: Path, tools: Path) -> None:
    for arguments in [(), ("--newest",)]:
        nothing = _find(*arguments, PATH=str(tools), HOME=str(tmp_path))
        assert nothing.returncode == 1
        assert "set PYTHON" in nothing.stderr


def test_an_interpreter_too_old_is_refused(tmp_path: Path) -> None:
    old = _program(tmp_path / "python3.9", "#!/bin/sh\nexit 1\n")
    found = _find(str(old))
    assert found.returncode == 1
    assert "Install Python 3.11 or later" in found.stderr


def test_newest_is_the_first_of_all() -> None:
    everything = _find("--all", PYENV_ROOT="", PATH=f"{Path(sys.executable).parent}:{SYSTEM_PATH}")
    newest = _find("--newest", PYENV_ROOT="", PATH=f"{Path(sys.executable).parent}:{SYSTEM_PATH}")
    assert newest.stdout.strip() == everything.stdout.splitlines()[0]


def test_without_ensurepip_virtualenv_or_pip_the_way_out_is_named(tmp_path: Path) -> None:
    crippled = _program(
        tmp_path / "python",
        f'#!/bin/sh\n[ "$1" = -m ] && {{ echo "no $2"; exit 1; }}\nexec "{sys.executable}" "$@"\n',
    )
    result = subprocess.run(
        ["bash", str(ROOT / "tests/make_venv.sh"), str(crippled), str(tmp_path / "venv")],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "apt-get install python3-venv" in result.stderr
    assert not (tmp_path / "venv").exists()
