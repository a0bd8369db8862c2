"""The pytest plugin, as a project uses it."""

from __future__ import annotations

from pathlib import Path

from tests.subprocesses import run_python

TESTS = """
import pytest
from django_obc_ai.services.text import TextService

pytestmark = pytest.mark.django_db


def test_unscripted(ai):
    assert TextService().generate_text("Q").is_offline
    with pytest.raises(TypeError, match="OfflineProvider"):
        ai.provider


@pytest.mark.ai(script=["A"], CACHE={"alias": None})
def test_scripted(ai):
    assert TextService().generate_text("Q").text == "A"
    assert ai.provider.call_count == 1


SCRIPTED = "django_obc_ai.testing.ScriptedProvider"
PAID = {"default": {"BACKEND": SCRIPTED, "OPTIONS": {"script": ["A"]}}}


@pytest.mark.ai(cassette="shared.json", PROVIDERS=PAID)
def test_recorded_under_a_name(ai):
    assert TextService().generate_text("Q").text == "A"


class TestOf:
    @pytest.mark.ai(cassette=True, PROVIDERS=PAID)
    @pytest.mark.parametrize("question", ["Who?", "a/b"])
    def test_recorded(self, ai, question):
        assert TextService().generate_text(question).text == "A"
"""


def test_the_fixture_scripts_and_replays_answers_by_its_marker(tmp_path: Path) -> None:
    (tmp_path / "test_project.py").write_text(TESTS, encoding="utf-8")
    (tmp_path / "project_settings.py").write_text(
        "SECRET_KEY = 'only for this test'\n"
        "INSTALLED_APPS = ['django.contrib.auth', 'django.contrib.contenttypes',"
        " 'django_obc_ai']\n"
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}}\n",
        encoding="utf-8",
    )
    (tmp_path / "conftest.py").write_text(
        'pytest_plugins = ["django_obc_ai.testing.plugin"]\n', encoding="utf-8"
    )
    arguments = [
        "-m", "pytest", "-q", "--nomigrations", "--strict-markers", "-p", "no:cacheprovider",
        "-c", "/dev/null",
        "--rootdir", str(tmp_path), "--ds", "project_settings", str(tmp_path),
    ]  # fmt: skip
    for mode, workers in (
        ("once", "0"),
        ("none", "2"),
    ):  # replayed by two workers
        done = run_python(
            [*arguments, "-n", workers],
            cwd=tmp_path,
            path=[tmp_path],
            environment={"OBC_AI_CASSETTE_MODE": mode},
        )
        assert "5 passed" in done.stdout, done.stdout
    folder = tmp_path / "cassettes"
    assert sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*.json")) == [
        "shared.json",
        "test_project/TestOf.test_recorded-Who.json",
        "test_project/TestOf.test_recorded-a-b.json",
    ]
