"""Every file, option and variable of the kit is described."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.deploy.rendered import DEPLOY, render
from tests.docs.markdown import names, section
from tests.subprocesses import ROOT

EXAMPLE = ROOT / "example_project"
README = DEPLOY / "README.md"
ENV_EXAMPLE = (DEPLOY / ".env.example").read_text(encoding="utf-8")
#: Folders that the README describes as a whole.
WHOLE = ("alerts", "backups", "install", "kubernetes", "systemd", "verify")


def kit() -> list[Path]:
    """Return the kit's files, without what is made while they run."""
    found = [*DEPLOY.rglob("*"), *(EXAMPLE / "scripts").iterdir()]
    return [each for each in found if each.is_file() and "__pycache__" not in each.parts]


def ignored(path: Path) -> bool:
    command = ["git", "check-ignore", "-q", str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0


def test_every_file_of_the_kit_is_named() -> None:
    told = {name.rpartition("/")[2] for name in names(README.read_text()) if name[-1] != "/"}
    folders = {name.removesuffix("/") for name in names(README.read_text()) if name[-1] == "/"}
    assert folders >= set(WHOLE)
    for path in kit():
        is_known = path.parent.name in WHOLE or path.name in {*told, "README.md", "__init__.py"}
        assert is_known or ignored(path), f"{path} is not in deploy/README.md"


def test_every_file_that_is_named_is_there() -> None:
    files = {path.name for path in kit()}
    table = section(README, "Files") + README.read_text().partition("\n## ")[0]
    for name in names(table):
        if re.fullmatch(r"[\w./-]+\.(py|sh|in|yml|txt|conf\.in)", name):
            assert name.rpartition("/")[2] in files or (ROOT / name).exists(), name


def described(name: str) -> bool:
    in_file = re.search(rf"^#?{name}=", ENV_EXAMPLE, re.MULTILINE)
    return bool(in_file) or f"`{name}`" in section(README, "Variables")


def read_by(path: Path) -> set[str]:
    """Return the variables of the environment that a file asks for."""
    text = path.read_text(encoding="utf-8")
    found = set(re.findall(r"\bOBC_SITE_[A-Z_]+[A-Z]\b", text))
    if path.suffix == ".py":
        found |= set(re.findall(r"environ(?:\.\w+)?[\[(]\s*\"([A-Z][A-Z_]+)\"", text))
        found |= set(re.findall(r"reader\.\w+\(\s*\"([A-Z][A-Z_]+)\"", text))
    if path.suffix == ".sh":
        found |= set(re.findall(r"\$\{([A-Z][A-Z_]{3,}):?[-+?]", text))
    # Those of every process, and of Python itself.
    return found - {"PATH", "HOME", "PYTHONPATH", "TMPDIR", "BASH_SOURCE"}


def test_every_variable_that_is_read_is_described() -> None:
    of_demo = {"demo.sh", "screenshots.sh", "save_answer.py"}
    reading = [
        path
        for path in kit()
        if path.suffix in (".py", ".sh", ".yml") and path.name not in of_demo and not ignored(path)
    ]
    assert len(reading) > 30
    lacking = {
        f"{path.relative_to(EXAMPLE)}: {name}"
        for path in reading
        for name in read_by(path)
        if not described(name)
    }
    assert lacking == set()


def test_every_variable_that_is_described_is_read() -> None:
    text = "".join(path.read_text("utf-8") for path in kit() if path.suffix in (".py", ".sh"))
    text += (EXAMPLE / "obc_site/settings.py").read_text()
    for name in re.findall(r"^#?([A-Z][A-Z_]+)=", ENV_EXAMPLE, re.MULTILINE):
        assert f'"{name}"' in text, f"nothing reads {name} of .env.example"


@pytest.mark.parametrize("name", ["nightly_at", "keep_backups_days", "certificate", "metrics_ca"])
def test_values_that_pages_name_are_values(name: str) -> None:
    howto = (ROOT / "docs/howto/deploy-a-site.md").read_text()
    assert name in howto
    assert f"\n{name}=" in render("/tmp/obc-none", "--list").stdout


def test_every_set_of_the_page_is_a_value() -> None:
    listed = render("/tmp/obc-none", "--list").stdout
    howto = (ROOT / "docs/howto/deploy-a-site.md").read_text()
    for name in re.findall(r"--set ([a-z_]+)=", howto):
        assert f"\n{name}=" in listed, name


def test_connections_are_told_as_they_are() -> None:
    pool = re.search(r"^POOL = (\d+)", (DEPLOY / "env.py").read_text(), re.MULTILINE)
    assert pool is not None and f"#OBC_SITE_POOL={pool[1]}\n" in ENV_EXAMPLE
    # On two cores: four processes of web with eight threads, two of streams, two workers, beat.
    most = 4 * 8 + int(pool[1]) * 2 + 2 + 1
    told = section(README, "Connections to PostgreSQL")
    assert f"{pool[1]} for each process of streams" in told and f"{most} on two cores" in told
