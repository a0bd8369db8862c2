"""assess.sh: a planted fault turns the right rows, and what is told is what was seen."""

from __future__ import annotations

import importlib
import json
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.deploy.kit import EXAMPLE, Kit
from tests.deploy.site import NEEDS, example, run
from tests.deploy.test_verify_ai import filled, free_port, home

__all__ = ["filled", "home"]
for _name in NEEDS:
    pytest.importorskip(_name)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The modules that judge, imported as the kit does."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    given = ("assess", "assessment", "judging", "criteria", "checks")
    yield SimpleNamespace(**{n: importlib.import_module(f"deploy.verify.{n}") for n in given})
    for name in [each for each in sys.modules if each.split(".")[0] == "deploy"]:
        del sys.modules[name]


def results_of(parts: SimpleNamespace, status: str = "passed") -> dict[tuple[str, str], Any]:
    suites = parts.assess._SUITES.items()
    return {(name, each.id): (status, "seen") for name, suite in suites for each in suite.checks}


# --- judging ---------------------------------------------------------------------------------
def test_each_check_that_fails_turns_the_items_that_name_it_and_no_other(
    parts: SimpleNamespace,
) -> None:
    needs, judged = parts.assess.needs(), 0
    for check in results_of(parts):
        results = results_of(parts) | {check: ("failed", f"broken {check[1]}")}
        verdicts = parts.judging.judge(results, needs)
        turned = {each.id for each in verdicts if each.status == "failed"}
        naming = {each.id for each in verdicts if check in set(each.item.checks())}
        assert turned == naming
        assert all(f"broken {check[1]}" in v.why for v in verdicts if v.id in turned)
        assert {each.status for each in verdicts if each.id not in turned} == {"passed"}
        judged += bool(turned)
    assert judged > 75


def test_what_could_not_be_made_for_a_failure_failed_with_its_cause(parts: SimpleNamespace) -> None:
    results = results_of(parts) | {
        ("ai", "redis"): ("failed", "REDIS_URL does not answer"),
        ("ai", "worker"): ("skipped", "not tried, since this did not pass: redis"),
        ("ai", "job"): ("skipped", "not tried, since this did not pass: worker"),
    }
    verdicts = {each.id: each for each in parts.judging.judge(results, parts.assess.needs())}
    assert verdicts["services-2"].status == "failed"
    assert verdicts["services-2"].why == "redis: REDIS_URL does not answer"


def test_what_was_skipped_or_not_asked_is_not_decided(parts: SimpleNamespace) -> None:
    results = results_of(parts) | {("ai", "certificate"): ("skipped", "a throwaway one")}
    del results["ai", "static"]
    verdicts = parts.judging.judge(results, parts.assess.needs())
    found = {each.id: each.why for each in verdicts if each.status == "not here"}
    assert found == {
        "success-7": "certificate: a throwaway one",
        "success-9": "static: was not asked",
        "during-7": "static: was not asked",
    }
    assert parts.judging.Verdict.score(verdicts) == 100  # of the 58 that were decided


def test_the_score_is_what_passed_of_what_was_decided_rounded_down(parts: SimpleNamespace) -> None:
    results = results_of(parts) | {("ai", "static"): ("failed", "404")}
    verdicts = parts.judging.judge(results, parts.assess.needs())
    assert parts.judging.Verdict.score(verdicts) == 96  # 59 of 61
    assert parts.judging.Verdict.score(parts.judging.judge({}, {})) == 0


# --- the script ------------------------------------------------------------------------------
def assess(home: Path, *arguments: object, **changes: str) -> tuple[int, dict[str, Any], str, str]:
    """Return exit code, items by id, the assessment, and all of the output."""
    items, out = home / "items.json", home / "assessment.md"
    done = run(
        "-m", "deploy.verify.assess", "--json", items, "--out", out, *arguments,
        variables=example(home, **changes), strict=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    told = json.loads(items.read_text())["items"] if items.exists() else []
    page = out.read_text() if out.exists() else ""
    return done.returncode, {each["id"]: each for each in told}, page, done.stdout + done.stderr


def verified(home: Path, suite: str, *only: str, **changes: str) -> Path:
    """Let a verification write the results of some checks, and return the file."""
    path = home / f"{suite}.json"
    given = ("-m", f"deploy.verify.{suite}", "--json", path, "--only", *only)
    run(*given, variables=example(home, **changes), strict=False)
    return path


def nothing(home: Path, suite: str) -> Path:
    path = home / f"{suite}.json"
    path.write_text(json.dumps({"suite": suite, "checks": []}))
    return path


def test_faults_that_were_planted_are_told_by_their_items(filled: tuple[Path, str]) -> None:
    home, url = filled
    security = nothing(home, "security")
    checks = ("migrations", "index", "index-files", "superuser", "alerts", "redis", "backup")
    given = ("--ai", verified(home, "ai", *checks, REDIS_URL=url), "--security", security)
    code, items, page, text = assess(home, *given, REDIS_URL=url)
    assert code == 0, text
    assert {items[each]["status"] for each in ("during-5", "success-8")} == {"passed"}
    assert items["during-6"]["status"] == "not here"
    assert "createsuperuser" in items["during-6"]["why"]
    assert "OBC_SITE_METRICS_TOKEN" in items["after-9"]["why"]
    assert "**Nothing failed.**" in page

    with closing(sqlite3.connect(home / "db.sqlite3")) as connection:
        connection.execute("UPDATE communities_community SET name='X' WHERE code='1908801001'")
        connection.execute("DELETE FROM django_migrations WHERE app='communities'")
        connection.commit()
    wrong = f"redis://127.0.0.1:{free_port()}/0"
    path = verified(home, "ai", *checks, REDIS_URL=wrong)
    code, items, page, text = assess(home, "--ai", path, "--security", security, REDIS_URL=wrong)
    assert code == 1
    turned = {name for name, each in items.items() if each["status"] == "failed"}
    assert {"during-5", "success-8", "before-6", "services-1", "services-6"} <= turned
    assert "communities.0001_places" in items["during-5"]["why"]
    assert items["during-8"]["status"] == "failed"  # the index needs its tables
    assert "does not answer" in items["before-6"]["why"]
    assert not turned & {"success-4", "success-7", "security-1", "during-4"}  # nobody asked
    assert re.search(r"\*\*Not ready:\*\* \d+ items failed\.", page)
    assert "- `during-5` Migrations are applied: migrations: not applied" in page


def test_the_assessment_holds_no_host_no_folder_and_its_score(filled: tuple[Path, str]) -> None:
    home, url = filled
    path = nothing(home, "ai")
    seen = f"https://atlas.example.org:8443/x {home}/tls: postgres://db.internal:5432/site"
    checks = [{"id": "https", "status": "failed", "text": seen},
              {"id": "static", "status": "passed", "text": "all"},
              {"id": "end", "status": "failed", "text": "somebody is still let in"}]  # fmt: skip
    path.write_text(json.dumps({"suite": "ai", "checks": checks}))
    given = ("--ai", path, "--security", nothing(home, "security"))
    code, items, page, text = assess(home, *given, REDIS_URL=url)
    assert code == 1
    statuses = [each["status"] for each in items.values()]
    score = 100 * statuses.count("passed") // (61 - statuses.count("not here"))
    assert 0 < score < 100
    assert f"**Score: {score} %**" in page and f"score {score}" in text.splitlines()
    assert text.splitlines()[-1] == (
        f"{statuses.count('passed')} passed, {statuses.count('failed')} failed,"
        f" {statuses.count('not here')} not here"
    )
    assert "https://<host>/x <home>/tls: postgres://<host>/site" in page
    assert "`ai end`: somebody is still let in" in page
    for private in (str(home), "atlas.example", "db.internal"):
        assert private not in page


def test_calls_that_are_wrong_or_refused_say_so(home: Path) -> None:
    other = nothing(home, "security")
    code, _, _, text = assess(home, "--ai", other, "--security", other)
    assert code == 2 and "is not what verify_ai.sh --json writes" in text
    (home / "run").rmdir()
    home.rename(home.with_name("away"))
    done = run("-m", "deploy.verify.assess", variables=example(home), strict=False)
    assert done.returncode in (2, 3), done.stdout + done.stderr


def test_the_script_runs_both_verifications(home: Path) -> None:
    kit = Kit(home=home, env={"DJANGO_SETTINGS_MODULE": "deploy.settings"})
    done = kit.run("assess.sh", "--home", home)  # there is no .env
    assert done.returncode == 1, done.stdout
    assert "== verify_ai.sh" in done.stdout and "== verify_security.sh" in done.stdout
    told = r"^FAILED   before-1 .*\n.*\n +why: .*SECRET_KEY: not set"
    assert re.search(told, done.stdout, re.MULTILINE)
    assert "SECRET_KEY: not set" in (home / "readiness.md").read_text()
    assert (home / "readiness.md").stat().st_mode & 0o077 == 0
