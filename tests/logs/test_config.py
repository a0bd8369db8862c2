"""``logging_config()``, alone and merged, in Django processes of their own."""

from __future__ import annotations

import ast
import json
import logging.config
import textwrap
from pathlib import Path
from typing import Any

import pytest

from django_obc_ai import logging_config
from tests.subprocesses import run_python

_BASE = """
import django_obc_ai
SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "urls"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django_obc_ai"]
MIDDLEWARE = ["django_obc_ai.middleware.CorrelationIdMiddleware"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
LOGGING = django_obc_ai.logging_config()
"""
_URLS = """
import logging
from django.http import HttpResponse
from django.urls import path
from django_obc_ai.services.text import TextService

def ask(request):
    logging.getLogger("project.views").info("asked")
    TextService().generate_text("Whose land is it?", user=None)
    return HttpResponse("ok")

def fail(request):
    raise RuntimeError("it broke")

urlpatterns = [path("ask", ask), path("fail", fail)]
"""
_VISIT = """
import django
django.setup()
from django.core.management import call_command
from django.test import Client
call_command("migrate", verbosity=0)
client = Client(raise_request_exception=False, headers={"X-Request-ID": "request-1"})
for page in ("/ask", "/fail", "/nowhere"):
    client.get(page)
"""


def visit(folder: Path, *, settings: str = "", script: str = _VISIT) -> list[Any]:
    """Run a project and return what stands on its standard output."""
    (folder / "site_settings.py").write_text(_BASE + textwrap.dedent(settings))
    (folder / "urls.py").write_text(_URLS)
    environment = {"DJANGO_SETTINGS_MODULE": "site_settings"}
    done = run_python(["-c", script], cwd=folder, path=[folder], environment=environment)
    assert done.returncode == 0, done.stdout
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_everything_of_a_request_has_its_id_wherever_it_comes_from(tmp_path: Path) -> None:
    found = visit(tmp_path)
    assert {each["correlation_id"] for each in found} == {"request-1"}
    told = {(each["logger"], each["event"]) for each in found}
    assert told == {
        ("project.views", ""),
        ("django_obc_ai.calls", "calls.finished"),
        ("django.request", ""),
    }
    pages = {each["message"].partition(":")[0] for each in found if "request" in each}
    assert pages == {"Internal Server Error", "Not Found"}
    (broken,) = [each for each in found if each["level"] == "ERROR"]
    assert broken["exception"].endswith("RuntimeError: it broke")


def test_ours_and_djangos_have_a_file_each(tmp_path: Path) -> None:
    visit(tmp_path)
    ours = (tmp_path / "logs" / "ai_assistant.log").read_text()
    django = (tmp_path / "logs" / "django.log").read_text()
    assert " INFO django_obc_ai.calls [request-1] calls.finished: other, " in ours
    assert "django.request" not in ours
    assert " ERROR django.request [request-1] Internal Server Error: /fail" in django
    assert "django_obc_ai.calls" not in django


def test_a_call_is_one_line_with_what_it_took_and_no_prompt(tmp_path: Path) -> None:
    (call,) = [each for each in visit(tmp_path) if each["event"] == "calls.finished"]
    assert call["outcome"] == "success"
    assert (call["cost_usd"], call["cached"], call["attempts"]) == ("0", False, 1)
    assert call["input_tokens"] > 0 and call["operation_id"]
    assert "land" not in json.dumps(call)


def test_calls_can_be_quiet_on_their_own(tmp_path: Path) -> None:
    settings = 'LOGGING = django_obc_ai.logging_config(calls_level="WARNING")'
    assert "calls.finished" not in {each["event"] for each in visit(tmp_path, settings=settings)}


def test_it_merges_into_a_projects_own(tmp_path: Path) -> None:
    settings = """
        ours = django_obc_ai.logging_config(json_to_stdout=False)
        LOGGING = {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"short": {"format": '["%(message)s"]'}},
            "handlers": {
                "out": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout",
                        "formatter": "short"},
            },
            "loggers": {"project": {"level": "INFO", "handlers": ["out"]}},
        }
        for part in ("filters", "formatters", "handlers", "loggers"):
            LOGGING[part] = {**ours[part], **LOGGING.get(part, {})}
    """
    assert visit(tmp_path, settings=settings) == [["asked"]]
    assert "calls.finished" in (tmp_path / "logs" / "ai_assistant.log").read_text()


def test_a_project_adds_to_it(tmp_path: Path) -> None:
    settings = """
        LOGGING["handlers"]["mine"] = {"class": "logging.FileHandler", "filename": "mine.log",
                                       "formatter": "obc_ai_text",
                                       "filters": ["obc_ai_correlation"]}
        LOGGING["loggers"]["project"] = {"level": "INFO", "handlers": ["mine"]}
    """
    visit(tmp_path, settings=settings)
    assert " INFO project.views [request-1] asked" in (tmp_path / "mine.log").read_text()


def test_settings_load_where_nothing_may_be_written(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()  # no folder can be made there
    script = "import django\ndjango.setup()\nprint('[]')"
    assert visit(tmp_path, script=script) == [[]]


def test_without_a_folder_and_without_output_there_is_no_handler() -> None:
    config = logging_config(None, json_to_stdout=False)
    assert config["handlers"] == {} and "root" not in config
    config = logging_config(Path("var"), max_bytes=7, backup_count=2)
    handler = config["handlers"]["obc_ai_ai_assistant_file"]
    assert (handler["max_bytes"], handler["backup_count"]) == (7, 2)
    assert handler["filename"] == str(Path("var") / "ai_assistant.log")


def test_each_call_returns_a_dictionary_of_its_own() -> None:
    logging_config()["loggers"]["django"]["handlers"].append("other")
    assert "other" not in logging_config()["loggers"]["django"]["handlers"]


@pytest.mark.parametrize("level", ["DEBUG", "WARNING"])
def test_it_is_what_dictconfig_takes(level: str) -> None:
    config = logging_config(level=level, calls_level=level, django_level=level)
    names = {**config["loggers"], "": config["root"]}
    assert {names[each]["level"] for each in ("django_obc_ai", "django_obc_ai.calls", "")} == {
        level
    }
    logging.config.DictConfigurator(config)  # type: ignore[arg-type]


def test_making_it_loads_no_django() -> None:
    code = (
        "import sys, django_obc_ai; django_obc_ai.logging_config(); print('django' in sys.modules)"
    )
    done = run_python(["-c", code], cwd=Path.cwd())
    assert ast.literal_eval(done.stdout) is False
