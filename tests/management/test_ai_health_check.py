"""``ai_health_check``: text, JSON and exit codes, as a shell and a monitor see them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from django_obc_ai.exceptions import AuthenticationError
from django_obc_ai.models import AIOperation, IndexState
from django_obc_ai.testing import Reply, index_now, override_ai
from django_obc_ai.types import Usage
from tests.fakes import KEY, KeyedProvider, entry
from tests.subprocesses import PACKAGE_HOME

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _built_indexes() -> Iterator[None]:
    with override_ai():
        index_now()
        yield


def check(*arguments: str, exit_code: int = 0) -> str:
    out = StringIO()
    if not exit_code:
        call_command("ai_health_check", *arguments, stdout=out, no_color=True)
    else:
        with pytest.raises(CommandError) as raised:
            call_command("ai_health_check", *arguments, stdout=out, no_color=True)
        assert raised.value.returncode == exit_code
        words = {1: "unhealthy", 2: "could not tell"}
        assert str(raised.value) == f"AI system: {words[exit_code]}."
    return out.getvalue()


def test_text_has_a_line_for_each_part_and_a_verdict() -> None:
    lines = check().splitlines()
    assert lines[0] == "ok      settings: OBC_AI is valid."
    assert lines[-1] == "AI system: healthy."
    assert "ok      embedder default: HashingEmbedder, lexical: matches spelling." in lines
    assert any(line.startswith("ok      provider default: OfflineProvider") for line in lines)
    assert any("offline: no language model is asked" in line for line in lines)


def test_hints_stand_under_what_they_are_for() -> None:
    IndexState.objects.filter(pk="places").delete()
    lines = check().splitlines()
    at = lines.index("warning index places: Not built yet.")
    assert lines[at + 1] == "        Run: manage.py ai_index places"


def test_verbose_adds_class_paths_and_versions() -> None:
    plain, verbose = check(), check("--verbose")
    path = "        django_obc_ai.backends.embedders.hashing.HashingEmbedder"
    assert path in verbose.splitlines()
    assert path not in plain
    assert "        django-obc-ai " in verbose
    assert set(plain.splitlines()) <= set(verbose.splitlines())


def test_json_holds_the_same_and_nothing_else() -> None:
    body = json.loads(check("--format", "json"))
    assert body["status"] == "healthy"
    assert {frozenset(item) for item in body["items"]} == {
        frozenset({"name", "status", "message", "hint", "detail"})
    }
    text = check()
    for item in body["items"]:
        assert f"{item['name']}: {item['message']}" in text


@pytest.mark.parametrize("style", ["text", "json"])
def test_exit_code_1_means_unhealthy(style: str) -> None:
    with override_ai(PROVIDERS=entry("no.such.Provider")):
        output = check("--format", style, exit_code=1)
    if style == "json":
        assert json.loads(output)["status"] == "unhealthy"
    else:
        assert "ERROR   provider default: OBC_AI['PROVIDERS']['default']['BACKEND']" in output
        assert "healthy" not in output


@pytest.mark.parametrize("style", ["text", "json"])
def test_exit_code_2_means_could_not_tell(style: str) -> None:
    with override_ai(VECTOR_STORES=entry("tests.test_health.BrokenStore")):
        output = check("--format", style, exit_code=2)
    if style == "json":
        assert json.loads(output)["status"] == "could not tell"
    else:
        assert "unknown vector store default: Could not be checked (RuntimeError)." in output


@pytest.mark.parametrize("arguments", [[], ["--verbose"], ["--format", "json"]])
def test_nothing_is_spent_without_live(arguments: list[str]) -> None:
    with override_ai(PROVIDERS=entry(KeyedProvider, api_key=KEY)):
        output = check(*arguments)
    assert "live call" not in output
    for part in (KEY, KEY[:8], KEY[-6:]):
        assert part not in output
    assert not AIOperation.objects.exists()


def test_live_makes_one_call_and_says_what_it_cost() -> None:
    usage = Usage(input_tokens=4, output_tokens=1)
    prices = {"scripted": {"input_usd": "1", "output_usd": "2"}}
    with override_ai(script=[Reply("OK", usage=usage)], PRICES=prices) as ai:
        output = check("--live")
        (request,) = ai.provider.requests
    assert request.max_output_tokens == 16
    assert "ok      price default: scripted: $1 in and $2 out per million tokens." in output
    assert "ok      live call: answer from scripted in " in output
    assert "s: 4 tokens in, 1 out, 0 thinking, $0.000006." in output
    assert AIOperation.objects.get().operation_type == "health_check"


def test_live_says_when_it_cannot_know_the_cost() -> None:
    with override_ai(script=["OK"]):
        output = check("--live")
    assert "warning live call: answer from scripted" in output
    assert "warning price default: The model 'scripted' has no price" in output
    assert output.count("OBC_AI['PRICES']['scripted']") == 2


def test_a_model_that_only_thinks_has_answered() -> None:
    thoughts = Reply("", usage=Usage(input_tokens=4, thinking_tokens=16), finish_reason="length")
    with override_ai(script=[thoughts]):
        assert "thoughts from scripted" in check("--live")


def test_live_asks_the_provider_that_is_named() -> None:
    other = {"BACKEND": "django_obc_ai.backends.providers.offline.OfflineProvider"}
    with override_ai() as ai:
        obc_ai = {**ai._override.options["OBC_AI"]}
        obc_ai["PROVIDERS"] = {**obc_ai["PROVIDERS"], "other": other}
        with override_settings(OBC_AI=obc_ai):
            check("--live", "--provider", "other")
            assert AIOperation.objects.get().provider == "other"
            output = check("--live", "--provider", "othre", exit_code=1)
    assert "ERROR   live call: OBC_AI['PROVIDERS'] has no entry 'othre'." in output


def test_an_enforced_budget_makes_an_unpriced_model_an_error() -> None:
    budgets = [{"scope": "global", "period": "day", "limit_usd": "1"}]
    with override_ai(script=[], BUDGETS=budgets):
        assert "The enforced budgets refuse its calls." in check(exit_code=1)


def test_live_is_unhealthy_if_the_call_fails() -> None:
    with override_ai(script=[AuthenticationError("The key was refused.")]):
        assert "ERROR   live call: The key was refused." in check("--live", exit_code=1)


# --- in a process of its own ---------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Shell:
    """A site with a SQLite file of its own."""

    folder: Path
    database: Path

    def run(self, *arguments: str, obc_ai: str = "{}", **environment: str) -> Any:
        (self.folder / "health_site.py").write_text(
            "import os\nfrom tests.settings import *\n"
            "CACHES = {'default': {'BACKEND':"
            " 'django.core.cache.backends.filebased.FileBasedCache', 'LOCATION': 'cache'}}\n"
            f"OBC_AI = {obc_ai}\n"
        )
        inherited = {name: v for name, v in os.environ.items() if name != "OBC_AI_TEST_DATABASE"}
        # The package under test, not the sources beside the tests.
        is_installed = Path(sysconfig.get_path("purelib")).resolve() == PACKAGE_HOME
        path = [self.folder] if is_installed else [self.folder, PACKAGE_HOME]
        return subprocess.run(
            [sys.executable, "-m", "django", *arguments, "--settings=health_site"],
            cwd=self.folder,
            env={
                **inherited,
                "OBC_AI_TEST_SQLITE": str(self.database),
                "PYTHONPATH": os.pathsep.join(map(str, path)),
                "NO_COLOR": "1",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(folder=tmp_path, database=tmp_path / "site.sqlite3")


def test_a_fresh_site_becomes_healthy_by_doing_what_it_is_told(shell: Shell) -> None:
    fresh = shell.run("ai_health_check")
    assert fresh.returncode == 1
    assert "ERROR   database default: Migrations of django_obc_ai are missing." in fresh.stdout
    assert "        Run: manage.py migrate django_obc_ai\n" in fresh.stdout
    assert fresh.stderr.endswith("CommandError: AI system: unhealthy.\n")

    assert shell.run("migrate", "--run-syncdb", "--verbosity=0").returncode == 0
    migrated = shell.run("ai_health_check", "--format=json")
    assert (migrated.returncode, migrated.stderr) == (0, "")
    body = json.loads(migrated.stdout)
    assert body["status"] == "healthy"
    hints = {item["hint"] for item in body["items"] if item["status"] == "warning"}
    assert "Run: manage.py ai_index slugs" in hints

    assert shell.run("ai_index").returncode == 0
    healthy = shell.run("ai_health_check")
    assert (healthy.returncode, healthy.stderr) == (0, "")
    assert "warning" not in healthy.stdout
    assert "0 operations logged" in healthy.stdout


def test_a_database_that_cannot_be_reached_leaves_it_open(tmp_path: Path) -> None:
    shell = Shell(folder=tmp_path, database=tmp_path / "no" / "such" / "folder.sqlite3")
    result = shell.run("ai_health_check", "--format=json")
    assert result.returncode == 2
    statuses = {item["name"]: item["status"] for item in json.loads(result.stdout)["items"]}
    assert statuses["database default"] == "unknown"
    assert statuses["provider default"] == "ok"


@pytest.mark.parametrize("backend", ["KeyedProvider", "TellingProvider", "FussyProvider"])
def test_no_part_of_a_key_reaches_the_terminal(shell: Shell, backend: str) -> None:
    obc_ai = (
        f"{{'PROVIDERS': {{'default': {{'BACKEND': 'tests.fakes.{backend}',"
        " 'OPTIONS': {'api_key': os.environ['FAKE_KEY']}}}}"
    )
    for arguments in (["--format=json"], ["--verbose", "--live", "--traceback"]):
        result = shell.run("ai_health_check", *arguments, obc_ai=obc_ai, FAKE_KEY=KEY)
        assert result.returncode == 1
        for part in (KEY, KEY[:8], KEY[-6:]):
            assert part not in result.stdout + result.stderr


def test_broken_settings_are_reported_in_place_of_a_traceback(shell: Shell) -> None:
    result = shell.run("ai_health_check", obc_ai="{'PROVIDER': {}}")
    assert result.returncode == 1
    assert result.stdout == (
        "ERROR   settings: OBC_AI has the unknown key 'PROVIDER'.\n"
        "        Did you mean 'PROVIDERS'?\n"
    )
    assert result.stderr == "CommandError: AI system: unhealthy.\n"
