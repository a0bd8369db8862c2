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
"""


def test_the_fixture_scripts_answers_by_its_marker(tmp_path: Path) -> None:
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
    done = run_python(
        ["-m", "pytest", "-q", "--strict-markers", "-p", "no:cacheprovider", "-c", "/dev/null",
         "--rootdir", str(tmp_path), "--ds", "project_settings", str(tmp_path)],
        cwd=tmp_path,
        path=[tmp_path],
    )  # fmt: skip
    assert "2 passed" in done.stdout, done.stdout
