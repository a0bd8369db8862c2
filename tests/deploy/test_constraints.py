"""The versions that the kit installs: one of each, with hashes, from no particular index."""

from __future__ import annotations

import re
import subprocess
import tomllib

import pytest

from tests.deploy.site import DEPLOY, ROOT

packaging = pytest.importorskip("packaging.requirements")

TEXT = (DEPLOY / "constraints.txt").read_text(encoding="utf-8")
LINES = [line for line in TEXT.replace("\\\n", " ").splitlines() if line[:1] not in ("#", "")]
EXTRAS = ("google-genai", "redis", "celery", "faiss", "prometheus", "drf", "chat", "example")
#: The Pythons that the kit is for, as pip sees them.
PYTHONS = [
    {"python_version": version, "python_full_version": f"{version}.9", "extra": ""}
    for version in ("3.11", "3.12", "3.13", "3.14")
]
LINUX = {
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "implementation_name": "cpython",
}


def name_of(requirement: str) -> str:
    found = packaging.Requirement(requirement).name
    return re.sub(r"[-_.]+", "-", found).lower()


def wanted() -> list[str]:
    text = (DEPLOY / "requirements.in").read_text(encoding="utf-8")
    lines = [line.partition(" #")[0].strip() for line in text.splitlines() if line[:1] != "#"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *(each for name in EXTRAS for each in extras[name])]
    return [line for line in lines if line] + [
        each for each in asked if name_of(each) != "django-obc-ai"
    ]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.split(" ")[0])
def test_release_is_pinned_with_hashes(line: str) -> None:
    requirement, *hashes = re.split(r"\s+--hash=", line)
    assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; .+)?", requirement.strip())
    assert hashes
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each.strip()) for each in hashes)


def test_nothing_says_where_packages_come_from() -> None:
    assert "://" not in TEXT
    assert not [line for line in LINES if line.startswith("-")]
    assert " @ " not in TEXT


@pytest.mark.parametrize("python", PYTHONS, ids=lambda python: python["python_version"])
def test_each_requirement_has_one_version_that_fits(python: dict[str, str]) -> None:
    environment = {**LINUX, **python}
    pinned: dict[str, str] = {}
    for line in LINES:
        found = packaging.Requirement(re.split(r"\s+--hash=", line)[0])
        if found.marker is None or found.marker.evaluate(environment):
            assert found.name not in pinned, f"{found.name} twice"
            pinned[found.name] = next(iter(found.specifier)).version
    for each in wanted():
        asked = packaging.Requirement(each)
        if asked.marker is None or asked.marker.evaluate(environment):
            assert name_of(each) in pinned, f"{each}: run example_project/deploy/lock.sh"
            assert asked.specifier.contains(pinned[name_of(each)], prereleases=True), each


def test_django_is_the_long_term_one_where_the_newest_is_not_for_the_python() -> None:
    found = [line.split(" --hash")[0].strip() for line in LINES if line.startswith("django==")]
    assert [line[:11] for line in found] == ["django==5.2", "django==6.1"]
    assert any(line.startswith("django-csp==") and "< '3.12'" in line for line in LINES)


def test_the_script_explains_itself_and_refuses_what_it_does_not_know() -> None:
    script = DEPLOY / "lock.sh"
    shown = subprocess.run([script, "--help"], capture_output=True, text=True)
    assert shown.returncode == 0
    assert "--upgrade" in shown.stdout
    wrong = subprocess.run([script, "--fast"], capture_output=True, text=True)
    assert (wrong.returncode, "See --help." in wrong.stderr) == (2, True)
    alone = subprocess.run(
        [script], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "UV": "no-such-uv"}
    )
    assert (alone.returncode, "pip install uv" in alone.stderr) == (3, True)
