"""What both verifications rest on: checks and their order, the report, logs, the site's name."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.site import PROJECT


@pytest.fixture
def verify(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The package deploy.verify, which is no part of what is tested elsewhere."""
    monkeypatch.syspath_prepend(str(PROJECT))
    import deploy.verify.checks as checks
    import deploy.verify.context as context

    yield type("Both", (), {"checks": checks, "context": context})
    for name in [each for each in sys.modules if each.split(".")[0] == "deploy"]:
        del sys.modules[name]


def suite_of(checks: Any) -> Any:
    suite = checks.Suite("trial")

    @suite.check("basis", "Is there one?")
    def basis(context: dict[str, Any]) -> str:
        if context.get("fails"):
            raise checks.Failed("the basis is away: start it")
        return "there"

    @suite.check("upper", "Does it stand?", needs=("basis",))
    def upper(context: dict[str, Any]) -> str:
        return "stands"

    @suite.check("other", "Can it be asked?")
    def other(context: dict[str, Any]) -> str:
        raise checks.Skipped("there is none here")

    @suite.check("odd", "Does it raise something else?")
    def odd(context: dict[str, Any]) -> str:
        return str(1 / context.get("by", 1))

    return suite


def test_a_basis_that_fails_is_told_once_and_what_needs_it_is_skipped(verify: Any) -> None:
    out = io.StringIO()
    report = verify.checks.run(suite_of(verify.checks), {"fails": True}, out)
    assert [each.status for each in report.results] == ["failed", "skipped", "skipped", "passed"]
    lines = out.getvalue().splitlines()
    assert lines[0].split(None, 2) == ["FAILED", "basis", "the basis is away: start it"]
    assert lines[1].endswith("not tried, since this did not pass: basis")
    assert (report.exit_code, report.score) == (1, 50)
    assert report.summary() == "1 passed, 1 failed, 2 skipped"


def test_a_check_that_raises_anything_has_failed(verify: Any) -> None:
    report = verify.checks.run(suite_of(verify.checks), {"by": 0}, io.StringIO())
    assert report.status("odd") == "failed"
    assert "ZeroDivisionError" in report.results[-1].text


def test_only_makes_what_is_named_and_what_that_needs(verify: Any, tmp_path: Path) -> None:
    report = verify.checks.run(suite_of(verify.checks), {}, io.StringIO(), only=("upper",))
    assert [each.id for each in report.results] == ["basis", "upper"]
    assert report.exit_code == 0
    report.write(tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["passed"], found["failed"], found["score"]) == (2, 0, 100)
    with pytest.raises(ValueError, match="no check nothing"):
        verify.checks.run(suite_of(verify.checks), {}, io.StringIO(), only=("nothing",))


def test_nothing_that_could_be_asked_is_no_success(verify: Any) -> None:
    report = verify.checks.run(suite_of(verify.checks), {}, io.StringIO(), only=("other",))
    assert report.exit_code == 1


def test_a_check_may_not_need_what_comes_later(verify: Any) -> None:
    with pytest.raises(ValueError, match="comes before what it needs"):
        verify.checks.Suite("trial").check("upper", "?", needs=("basis",))


@pytest.mark.parametrize(
    ("names", "host"),
    [
        (["localhost", "127.0.0.1"], "localhost"),
        (["127.0.0.1", ".example.org", "ai.example.org"], "ai.example.org"),
        (["[::1]"], "::1"),
        ([".example.org"], "localhost"),
        ([], "localhost"),
    ],
)
def test_host_is_the_first_name_that_a_certificate_can_hold(
    verify: Any, names: list[str], host: str
) -> None:
    assert verify.context.own_host(names) == host


def test_logs_tell_what_came_since_and_a_rotated_file_is_read_whole(
    verify: Any, tmp_path: Path
) -> None:
    for name in ("web.log", "worker.log"):
        (tmp_path / name).write_text("an old ERROR\n" * 3)
    logs = verify.context.Logs.now(tmp_path)
    assert logs.since() == {}
    with (tmp_path / "web.log").open("a") as file:
        file.write("new\n")
    (tmp_path / "worker.log").write_text("rotated\n")
    (tmp_path / "beat.log").write_text("first\n")
    found = {"beat.log": "first\n", "web.log": "new\n", "worker.log": "rotated\n"}
    assert logs.since() == found
    assert logs.before("web.log").count("ERROR") == 3


def test_errors_are_found_in_lines_of_every_kind(verify: Any) -> None:
    from deploy.verify.log_lines import errors

    text = "\n".join(
        [
            json.dumps({"level": "ERROR", "logger": "a.b", "event": "x.y", "message": "broken"}),
            json.dumps({"level": "INFO", "message": "it said ERROR"}),
            "2026-01-01T00:00:00.000Z ERROR django.request [-] Internal Server Error: /x/",
            "    ERROR in a traceback, which belongs to the line above",
            "2026/01/01 00:00:00 [error] 1#1: *1 connect() failed",
            "CRIT Server 'unix_http_server' running without any HTTP authentication checking",
            "2026-01-01T00:00:00.000Z WARNING django_obc_ai.web [-] nothing",
            "2026-01-01 00:00:00.000 UTC [7] FATAL:  the database system is starting up",
            "2026-01-01 00:00:00.000 UTC [7] PANIC:  could not write",
            "Traceback (most recent call last):",
            "2026-01-01 00:00:00,000 INFO exited: worker (exit status 1; not expected)",
            "2026-01-01 00:00:00,000 INFO exited: worker (exit status 0; expected)",
            "2026-01-01 00:00:00,000 INFO gave up: worker entered FATAL state, too many starts",
        ]
    )
    found = errors(text)
    assert [line.partition(":")[0] for line in found[:1]] == ["a.b x.y"]
    assert len(found) == 8


def test_addresses_are_told_without_passwords(verify: Any) -> None:
    from deploy.verify.ai_site import without_password

    told = without_password("postgres://me:hidden@db.example.org:5432/atlas")
    assert told == "postgres://db.example.org:5432/atlas"


def test_units_of_this_installation_are_told_apart_from_others(verify: Any) -> None:
    from deploy.verify.processes import read_units

    def unit(name: str, state: str, file: str = "enabled", **more: str) -> str:
        told = {"Id": f"obc-site-{name}.service", "LoadState": "loaded", "ActiveState": state}
        told |= {"UnitFileState": file, "WorkingDirectory": "/srv/a site"} | more
        return "\n".join(f"{key}={value}" for key, value in told.items()) + "\n"

    text = "\n".join(
        [
            unit("web", "active"),
            unit("streams", "active", WorkingDirectory="/srv/other"),
            unit("worker", "inactive", "disabled"),
            unit("beat", "inactive"),
        ]
    )
    found = read_units(text, Path("/srv/a site"))
    assert found == {"obc-site-web": "active", "obc-site-beat": "inactive"}
    missing = unit("web", "inactive", "", LoadState="not-found", WorkingDirectory="")
    assert read_units(missing, Path("/srv/a site")) == {}


def test_connections_are_counted_as_the_kit_opens_them(
    verify: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deploy.verify.ai_connections import most_connections

    monkeypatch.delenv("OBC_SITE_POOL", raising=False)
    values = {"web_workers": "6", "web_threads": "8", "stream_workers": "3"}
    assert most_connections(values | {"worker_processes": "3"}) == 48 + 60 + 4 + 4
