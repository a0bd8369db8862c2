"""The runbook knows every alert, and its commands are there and work."""

from __future__ import annotations

import doctest
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from django.core.management import get_commands, load_command_class

from tests.docs.execute import Page, run_script
from tests.docs.markdown import DOCS, Block, blocks, headings, names, section, slug_of, table_rows
from tests.docs.test_howto_deploy import EXAMPLE, Shell, home, migrated, needs_site

__all__ = ["home", "migrated"]
PAGE = DOCS / "howto" / "run-in-production.md"
RULES = [DOCS / "monitoring" / "alerts.yml", EXAMPLE / "deploy" / "alerts" / "obc-site.yml"]


def alerts() -> list[str]:
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule["alert"] for group in groups for rule in group["rules"]]


def test_every_alert_has_one_row_that_says_what_to_do() -> None:
    rows = [row for row in table_rows(section(PAGE, "Every alert")) if names(row[0])]
    assert sorted(names(row[0])[0] for row in rows) == sorted(alerts())
    sections = {slug_of(each) for each in headings(PAGE)}
    for _, means, to_do in rows:
        assert means and to_do
        for anchor in re.findall(r"\]\(#([\w-]+)\)", to_do):
            assert anchor in sections, anchor


def test_what_an_alert_of_an_index_job_or_budget_leads_to() -> None:
    leads = {names(row[0])[0]: row[2] for row in table_rows(section(PAGE, "Every alert"))
             if names(row[0])}  # fmt: skip
    for name, anchor in {
        "ObcAIBudgetSpent": "#the-budget-is-spent", "ObcAIIndexLags": "#the-index-lags",
        "ObcAINoWorker": "#jobs-are-stuck", "ObcAIProviderClosed": "#the-provider-is-down",
        "ObcSiteDown": "#the-site-is-down", "ObcAIPartDown": "#redis-is-gone",
    }.items():  # fmt: skip
        assert f"({anchor})" in leads[name]


def calls(page: Path) -> list[tuple[str, str]]:
    """Return scripts of the kit and their arguments, in blocks, tables and text of a page."""
    text = "\n".join(each.text for each in blocks(page)) + "\n".join(names(page.read_text()))
    return re.findall(r"\b([a-z_]+\.sh)\b([^\n;|]*)", text)


def check_calls(page: Path) -> None:
    """Check that scripts, their options, checks and management commands are there."""
    known = {path.name: path.read_text() for path in (EXAMPLE / "scripts").glob("*.sh")}
    path = os.pathsep.join([str(EXAMPLE), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    checks = {
        suite: subprocess.run(
            [sys.executable, "-m", f"deploy.verify.{suite}", "--list"], cwd=EXAMPLE, text=True,
            capture_output=True, check=True, env={**os.environ, "PYTHONPATH": path},
        ).stdout
        for suite in ("ai", "security")
    }  # fmt: skip
    found = calls(page)
    assert found
    for name, arguments in found:
        words = arguments.split()
        if name == "manage.sh":
            if not words:
                continue
            app = get_commands()[words[0]]
            parser = load_command_class(str(app), words[0]).create_parser("manage.sh", words[0])
            taken = {option for each in parser._actions for option in each.option_strings}
            assert {each for each in words if each.startswith("--")} <= taken, words
            continue
        for option in (each for each in words if each.startswith("--")):
            assert option in known[name], f"{name} {option}"
        if name.startswith("verify") and "--only" in words:
            listed = checks[name.removeprefix("verify_").removesuffix(".sh")]
            for each in words[words.index("--only") + 1 :]:
                assert re.search(rf"^{each} ", listed, re.MULTILINE), f"{name}: {each}"


def test_all_calls_are_stopped_fallbacks_too_and_go_on(project: Path) -> None:
    page = Page(PAGE, project, settings="mysite.settings")
    assert page.follow(("pycon",), below="Stop all calls") == 2
    stop = next(each.text for each in blocks(PAGE) if each.language == "pycon")
    script = f"""
    import doctest
    from django.test import override_settings
    from django_obc_ai.services.text import TextService

    second = {{"BACKEND": "django_obc_ai.testing.ScriptedProvider",
              "OPTIONS": {{"script": ["Yes."], "repeat_last": True}}}}
    first = {{**second, "OPTIONS": {{"script": ["No."]}}}}
    OBC_AI = {{"PROVIDERS": {{"default": first, "second": second}},
              "FALLBACKS": {{"default": ["second"]}}}}
    with override_settings(OBC_AI=OBC_AI):
        from django_obc_ai.services.pauses import pause_provider
        pause_provider("default", reason="one alone")
        print(TextService().generate_text("Is it?", use_cache=False).text)
        test = doctest.DocTestParser().get_doctest({stop!r}, {{}}, "page", None, 0)
        print(doctest.DocTestRunner().run(test).failed)
        print(TextService().generate_text("Is it?", use_cache=False).error)
    """
    found = run_script(project, script).splitlines()  # the log among it
    told = ("Yes.", "No.", "0", "1", "2", "provider_paused", "None")
    assert [line for line in found if line in told] == ["Yes.", "0", "provider_paused"]


def test_every_command_of_the_page_is_there() -> None:
    check_calls(PAGE)


#: Runs management commands one after the other, and prints what each said as JSON.
_MANY = """
import io, json, sys
import django
from django.core.management import call_command
django.setup()
told = []
for command in json.loads(sys.argv[1]):
    out = io.StringIO()
    call_command(*command, stdout=out)
    told.append(out.getvalue())
print(json.dumps(told))
"""


@pytest.fixture
def shell(home: Path, migrated: Path) -> Shell:
    """Somebody at an installation that has a release, settings, and a database."""
    (home / ".env").touch(mode=0o600)
    (home / ".env").write_text(
        f"SECRET_KEY={'k9Wq-Zt4uE7_mB1xR6yN3cV8' * 3}\nALLOWED_HOSTS=atlas.example.org\n"
        "CSRF_TRUSTED_ORIGINS=https://atlas.example.org\nREDIS_URL=redis://localhost:6379/0\n"
    )
    shutil.copy(migrated, home / "db.sqlite3")
    return Shell(home)


def follow(page: Path, shell: Shell) -> int:
    """Do what the blocks called "console" of a page say; return how many there were.

    Management commands share one process, since each would take seconds to start; that manage.sh
    starts them is tried once, elsewhere.
    """
    found = [each for each in blocks(page) if each.language == "console"]
    commands: list[list[str]] = []
    wanted: list[str] = []
    for block in found:
        others = []
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            if command.startswith("./manage.sh "):
                commands.append(shlex.split(command)[1:])
                wanted.append(shown)
            else:
                others.append(f"$ {part}")
        shell.run(Block(language="console", text="".join(others), line=block.line))
    path = os.pathsep.join([str(EXAMPLE), str(EXAMPLE.parent), *sys.path])
    own = {"OBC_SITE_VAR": str(shell.home), "DJANGO_SETTINGS_MODULE": "deploy.settings"}
    done = subprocess.run(
        [sys.executable, "-c", _MANY, json.dumps(commands)], cwd=EXAMPLE, text=True, timeout=300,
        env=shell.environment | own | {"PYTHONPATH": path}, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    same = doctest.OutputChecker().check_output
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for command, shown, written in zip(commands, told, wanted, strict=True):
        assert same(written, shown, options), f"{command}\n{written}\n--- but:\n{shown}"
    return len(found)


@needs_site
def test_the_page_does_what_it_says(shell: Shell) -> None:
    assert follow(PAGE, shell) >= 6
