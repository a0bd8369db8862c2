"""What the repository and the package must look like from outside."""

from __future__ import annotations

import configparser
import importlib.metadata
import json
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
from django.core.management import call_command

import django_obc_ai
import tests
from tests.check_files import committed_files, faults

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CLASSIFIERS: list[str] = PYPROJECT["project"]["classifiers"]
TOP_LEVEL = [
    ".ci/run", ".pre-commit-config.yaml", "ADDING_BACKENDS.md", "CHANGELOG.md", "CONTRIBUTING.md",
    "LICENSE", "README.md", "SECURITY.md", "django_obc_ai/py.typed", "docs/conf.py",
    "example_project/manage.py", "pyproject.toml", "tests/run.sh", "tests/acceptance/run.sh",
    "tox.ini",
]  # fmt: skip


def _tox_environments() -> dict[str, set[str]]:
    """Python versions to Django versions, as "3.12" and "5.2", from tox.ini."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "tox.ini")
    found: dict[str, set[str]] = {}
    for line in parser["tox"]["env_list"].split():
        match = re.fullmatch(r"py\{?([\d,]+)\}?-django\{?([\d,]+)\}?", line)
        for python in match[1].split(",") if match else ():
            versions = found.setdefault(f"{python[0]}.{python[1:]}", set())
            versions |= {f"{number[0]}.{number[1:]}" for number in match[2].split(",")}
    return found


def _classified(prefix: str) -> set[str]:
    pattern = re.compile(re.escape(prefix) + r" :: (\d+\.\d+)")
    return {match[1] for line in CLASSIFIERS if (match := pattern.fullmatch(line))}


@pytest.mark.parametrize("name", TOP_LEVEL)
def test_top_level_holds(name: str) -> None:
    assert (ROOT / name).is_file()


@pytest.mark.parametrize("name", ["tests/run.sh", "tests/acceptance/run.sh", ".ci/run"])
def test_command_is_executable(name: str) -> None:
    assert (ROOT / name).stat().st_mode & 0o111


def _skip_if_editable() -> None:
    """A developer's shell tests the sources; tests/run.sh, tox and CI test the wheel."""
    origin = importlib.metadata.distribution("django-obc-ai").read_text("direct_url.json") or "{}"
    if json.loads(origin).get("dir_info", {}).get("editable"):
        pytest.skip("an editable installation")


def test_tests_import_the_installed_package_and_these_tests() -> None:
    _skip_if_editable()
    package = Path(django_obc_ai.__file__).resolve()
    assert package.is_relative_to(sysconfig.get_path("purelib"))
    assert Path(tests.__file__).parent == ROOT / "tests"


def test_subprocesses_import_the_installed_package() -> None:
    _skip_if_editable()
    code = "import django_obc_ai, tests.settings; print(django_obc_ai.__file__)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == django_obc_ai.__file__


def test_installed_version_is_that_of_the_module() -> None:
    assert importlib.metadata.version("django-obc-ai") == django_obc_ai.__version__


def test_python_classifiers_are_in_tox_and_none_is_older_than_required() -> None:
    classified = _classified("Programming Language :: Python")
    assert classified <= set(_tox_environments())
    oldest = min(classified, key=lambda version: int(version.split(".")[1]))
    assert PYPROJECT["project"]["requires-python"] == f">={oldest}"


def test_django_classifiers_are_those_of_tox() -> None:
    assert _classified("Framework :: Django") == set.union(*_tox_environments().values())


def test_extra_all_takes_in_every_other_extra() -> None:
    extras = dict(PYPROJECT["project"]["optional-dependencies"])
    (everything,) = extras.pop("all")
    # google-generativeai pins protobuf<6 into the host project, so nobody gets it unasked.
    named = set(re.fullmatch(r"django-obc-ai\[(.*)\]", everything)[1].split(","))
    assert named == set(extras) - {"google-generativeai"}


def test_no_dependency_shuts_out_google_genai() -> None:
    (tenacity,) = [d for d in PYPROJECT["project"]["dependencies"] if d.startswith("tenacity")]
    assert re.fullmatch(r"tenacity>=(8|9\.[01])[.\d]*(,!=[.\d]+)*", tenacity)


def test_no_file_holds_a_trace_of_one_machine() -> None:
    assert committed_files()
    assert faults(committed_files()) == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        # In pieces, so that this file passes the check, too.
        ("see " + "/" + "root/notes", "a path of one machine"),
        ('open("/' + 'home/amina/x")', "a path of one machine"),
        ("https://files.python" + "hosted.org/x.whl", "a package host"),
        ("key = AI" + "za" + "x" * 35, "a key"),
        ("<" * 7 + " HEAD", "a mark of a merge"),
        ("=" * 7, "a mark of a merge"),
        (">" * 7 + " kit", "a mark of a merge"),
        ("=" * 8 + " and " + "<" * 7, None),
        ("~/.pyenv/versions and https://example.org/home/x", None),
        ("scope_root/root and ./work/x", None),
    ],
)
def test_check_files_finds(line: str, reason: str | None, tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text(line)
    assert faults([path]) == ([f"{path}:1: {reason}"] if reason else [])


def test_lock_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "uv.lock").touch()
    assert len(faults([tmp_path / "uv.lock"])) == 1


@pytest.mark.parametrize("folder", ["django_obc_ai", "example_project", "tests", "docs"])
def test_files_stay_under_350_lines(folder: str) -> None:
    too_long = [
        str(path)
        for path in committed_files()
        if path.suffix in {".py", ".sh", ".md"}
        and path.is_relative_to(ROOT / folder)
        and "migrations" not in path.parts  # written by Django
        and len(path.read_text().splitlines()) >= 350
    ]
    assert too_long == []


@pytest.mark.django_db
def test_models_and_migrations_agree() -> None:
    call_command("makemigrations", "django_obc_ai", check=True, dry_run=True, verbosity=0)


def test_the_page_on_releases_names_the_versions_that_are_supported() -> None:
    page = (ROOT / "docs" / "project" / "releases.md").read_text()
    for name, prefix in (
        ("Python", "Programming Language :: Python :: "),
        ("Django", "Framework :: Django :: "),
    ):
        (told,) = re.findall(rf"^\| {name} \| ([^|]+) \|", page, re.MULTILINE)
        versions = [each.removeprefix(prefix) for each in CLASSIFIERS if each.startswith(prefix)]
        wanted = [each for each in versions if re.fullmatch(r"\d+\.\d+", each)]
        assert re.findall(r"\d+\.\d+(?![.\d])", re.sub(r"\(.*?\)", "", told)) == wanted
    (floor,) = re.findall(r"from ([\d.]+)\)", page)
    assert f"django>={floor}" in PYPROJECT["project"]["dependencies"]
