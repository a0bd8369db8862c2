"""What verify_security.sh is made of, as far as that needs no running site."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.deploy.site import PROJECT, example

SECRET = b"a-secret-of-the-site-4242"
NONE = SimpleNamespace(
    secret_key="k" * 50, google_api_key=None, metrics_token=None, database_url=None,
    redis_url="redis://localhost/0", cache_url="redis://localhost/1",
)  # fmt: skip


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Modules of deploy.verify, which is no part of what is tested elsewhere."""
    monkeypatch.syspath_prepend(str(PROJECT))
    from deploy.verify import (
        checks,
        leaks,
        security_audit,
        security_debug,
        security_files,
        security_headers,
        security_queries,
    )

    yield SimpleNamespace(
        checks=checks, leaks=leaks, audit=security_audit, debug=security_debug,
        files=security_files, headers=security_headers, queries=security_queries,
    )  # fmt: skip
    for name in [each for each in sys.modules if each.split(".")[0] == "deploy"]:
        del sys.modules[name]


def test_secrets_are_those_of_the_variables_and_of_addresses(parts: Any) -> None:
    values = {
        "database_url": "postgres://atlas:p%40ssword-of@db/atlas",
        "redis_url": "redis://:short@r/0",
    }
    deployment = SimpleNamespace(**{**vars(NONE), **values})
    found = parts.leaks.secrets_of(deployment)
    assert found["the password of DATABASE_URL"] == b"p@ssword-of"
    assert found["the password of DATABASE_URL, as in the URL"] == b"p%40ssword-of"
    # What is short stands in many texts by chance.
    assert not any("REDIS" in name for name in found)


def test_keys_of_others_are_found_by_their_looks(parts: Any) -> None:
    letters = "SyC9vQ2wLkXr7tPn4mBd8eJh3uYf6gK1wLk"
    google, amazon = f"AI{'za'}{letters}", f"AK{'IA'}QWERTYUIOPASDFGH"
    private = f"-----BEGIN RSA {'PRIVATE'} KEY-----\n{letters * 2}\n"
    for text in (google, amazon, private):
        found = list(parts.leaks.scan(f"\n\nx = '{text}'".encode(), "x", {}, patterns=True))
        assert [each.line for each in found] == [3], text
        assert text not in str(found[0])
    for harmless in (f"AI{'za'}{'x' * 35}", f"-----BEGIN {'PRIVATE'} KEY-----", "AIzasomething"):
        assert not list(parts.leaks.scan(harmless.encode(), "x", {}, patterns=True)), harmless


def git(folder: Path, *arguments: str) -> None:
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    names = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run(
        ["git", *names, *arguments], cwd=folder, check=True, env={**os.environ, **own},
        capture_output=True,
    )  # fmt: skip


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_whole_history_is_looked_into(parts: Any, tmp_path: Path) -> None:
    top, project = tmp_path / "a clone", tmp_path / "a clone" / "example_project"
    (project / "deploy").mkdir(parents=True)
    (project / "deploy" / "env.py").write_text("")
    secrets = {"SECRET_KEY": SECRET}
    with pytest.raises(parts.leaks.NoHistory, match="it is no clone"):
        parts.leaks.scan_history(project, secrets, patterns=True)
    git(top, "init", "-q", "-b", "main")
    git(top, "add", ".")
    git(top, "commit", "-qm", "Begin")
    assert parts.leaks.scan_history(project, secrets, patterns=True) == (1, [])
    # It was there, in another branch, was taken out, and the branch was removed.
    git(top, "checkout", "-qb", "other")
    (top / "notes.txt").write_bytes(b"one\ntwo\n" + SECRET + b"\n")
    git(top, "add", ".")
    git(top, "commit", "-qm", "Add notes")
    git(top, "rm", "-q", "notes.txt")
    git(top, "commit", "-qm", "Remove notes")
    git(top, "checkout", "-q", "main")
    git(top, "branch", "-qD", "other")
    commits, found = parts.leaks.scan_history(project, secrets, patterns=True)
    assert commits == 3
    assert [str(each).split(" of commit ")[0] for each in found] == ["SECRET_KEY in notes.txt"]
    assert str(found[0]).endswith(", line 3") and SECRET.decode() not in str(found[0])
    # Also in what a commit says.
    git(top, "commit", "-q", "--allow-empty", "-m", f"Use {SECRET.decode()}")
    assert len(parts.leaks.scan_history(project, secrets, patterns=True)[1]) == 2


def test_modes_of_files_are_looked_at(parts: Any, tmp_path: Path) -> None:
    for name in ("run", "log", "backups", "tls", "conf"):
        (tmp_path / name).mkdir(mode=0o750)
    for name in (".env", "tls/key.pem", "db.sqlite3", "conf/redis.conf"):
        (tmp_path / name).write_text("requirepass x\n")
        (tmp_path / name).chmod(0o600)
    tmp_path.chmod(0o755)
    context = SimpleNamespace(home=tmp_path, values={"certificate_key": tmp_path / "tls/key.pem"})
    assert parts.files.file_modes(context) == "7 files and folders are closed to others"
    for name, mode in (
        (".env", 0o640), ("tls/key.pem", 0o604), ("backups", 0o755), ("db.sqlite3", 0o644),
        ("conf/redis.conf", 0o644),
    ):  # fmt: skip
        path = tmp_path / name
        before = path.stat().st_mode
        path.chmod(mode)
        with pytest.raises(parts.checks.Failed, match=f"{path} has the mode {mode:o}: chmod"):
            parts.files.file_modes(context)
        path.chmod(before)
    if os.geteuid():  # root reads everything
        closed = tmp_path / "live"
        closed.mkdir(mode=0o700)
        (closed / "key.pem").write_text("")
        context.values["certificate_key"] = closed / "key.pem"
        closed.chmod(0)
        assert parts.files.file_modes(context)
        closed.chmod(0o700)
    # What lies in a closed folder is closed, but for copies of it that somebody makes.
    tmp_path.chmod(0o700)
    (tmp_path / "backups").chmod(0o755)
    assert parts.files.file_modes(context)


def test_versions_without_fixes_fail(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import datetime

    here = sys.version_info[:2]
    monkeypatch.setenv("OBC_VERIFY_DAY", "2026-11-29")
    assert "judged by OBC_VERIFY_DAY=2026-11-29, Python" in parts.debug.versions(None)
    monkeypatch.setenv("OBC_VERIFY_DAY", "2099-01-01")
    with pytest.raises(parts.checks.Failed, match="no fixes of security since"):
        parts.debug.versions(None)
    monkeypatch.setenv("OBC_VERIFY_DAY", "tomorrow")
    with pytest.raises(parts.checks.Failed, match="is no day"):
        parts.debug.versions(None)
    monkeypatch.delenv("OBC_VERIFY_DAY")
    monkeypatch.setitem(parts.debug.PYTHON_UNTIL, here, datetime.date(2020, 1, 2))
    with pytest.raises(parts.checks.Failed, match="no fixes of security since 2020-01-02"):
        parts.debug.versions(None)
    # One that came after the tables is no fault; one that was before them gets nothing.
    monkeypatch.setattr(parts.debug, "PYTHON_UNTIL", {(3, 1): datetime.date(2012, 4, 9)})
    with pytest.raises(parts.checks.Skipped, match="of no line whose last day is known here"):
        parts.debug.versions(None)
    monkeypatch.setattr(parts.debug, "PYTHON_UNTIL", {(99, 1): datetime.date(2199, 4, 9)})
    with pytest.raises(parts.checks.Failed, match="older than what gets fixes"):
        parts.debug.versions(None)


def test_pins_are_read_with_their_markers(parts: Any) -> None:
    pytest.importorskip("packaging")
    found = parts.debug.pinned()
    assert len(found) > 50
    assert found["django"].startswith("5.2." if sys.version_info < (3, 12) else "6.1.")
    assert ("django-csp" in found) == (sys.version_info < (3, 12))


def test_the_corpus_holds_each_kind_once(parts: Any) -> None:
    corpus = parts.queries.read_corpus()
    questions = corpus["questions"]
    assert len({each["question"] for each in questions}) == len(questions) >= 50
    # A user may ask sixty times in a minute.
    assert len(questions) < 58
    assert {each["expect"] for each in questions} == {"refused", "harmless", "answered"}
    plans = [json.dumps(each["plan"], sort_keys=True) for each in corpus["plans"]]
    assert len(set(plans)) == len(plans) >= 280
    assert len({each["why"] for each in corpus["plans"]}) >= 25
    assert len(corpus["answers"]) >= 15


REPORT = {
    "dependencies": [
        {"name": "Django", "version": "5.2.1", "vulns": [
            {"id": "PYSEC-2099-2", "fix_versions": ["5.2.9", "6.1.1"], "aliases": ["CVE-2099-1"]},
            {"id": "PYSEC-2099-1", "fix_versions": [], "aliases": []},
        ]},
        {"name": "redis", "version": "7.0.0", "vulns": []},
        {"name": "django_obc_ai", "skip_reason": "Dependency not found on PyPI"},
    ],
    "fixes": [],
}  # fmt: skip


def test_findings_of_an_audit_name_package_version_advisory_and_fix(parts: Any) -> None:
    findings, asked, unknown = parts.audit.read_report(REPORT)
    assert [str(each) for each in findings] == [
        "Django 5.2.1: PYSEC-2099-1, no fixed version yet",
        "Django 5.2.1: PYSEC-2099-2 (CVE-2099-1), fixed in 5.2.9, 6.1.1",
    ]
    assert (asked, unknown) == ({"django", "redis"}, {"django-obc-ai"})
    for wrong in ({}, [], {"dependencies": [{}]}, {"dependencies": None}):
        with pytest.raises((KeyError, TypeError)):
            parts.audit.read_report(wrong)


@contextmanager
def advisories(about: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Answer as OSV does, with these advisories and no others."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps({"vulns": about.get(asked["package"]["name"], [])}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
    finally:
        server.shutdown()
        server.server_close()


ADVISORY = {
    "id": "PYSEC-2099-7", "aliases": ["CVE-2099-77"], "summary": "made for this test",
    "affected": [{
        "package": {"name": "django", "ecosystem": "PyPI"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}],
        "versions": [],
    }],
}  # fmt: skip


def test_an_audit_with_a_source_and_without(
    parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = shutil.which("pip-audit")
    if program is None:
        pytest.skip("pip-audit is not installed")
    (tmp_path / "venvs/audit/bin").mkdir(parents=True)
    (tmp_path / "venvs/audit/bin/pip-audit").symlink_to(program)
    monkeypatch.setattr(parts.audit, "_ASK_SECONDS", 240)
    monkeypatch.setattr(parts.audit, "pinned", lambda: {"django": "", "celery": ""})
    context = SimpleNamespace(home=tmp_path)
    with advisories({}) as address:
        monkeypatch.setenv(parts.audit.SOURCE, address)
        assert "none with a known vulnerability" in parts.audit.audit(context)
    with advisories({"django": [ADVISORY]}) as address:
        monkeypatch.setenv(parts.audit.SOURCE, address)
        with pytest.raises(parts.checks.Failed) as caught:
            parts.audit.audit(context)
    assert "1 known vulnerabilities: django " in str(caught.value)
    assert "PYSEC-2099-7 (CVE-2099-77), fixed in 99.1" in str(caught.value)
    monkeypatch.setenv(parts.audit.SOURCE, address)  # nobody listens there any longer
    with pytest.raises(parts.checks.Skipped, match="no source of advisories is reached"):
        parts.audit.audit(context)


@pytest.mark.parametrize(
    ("report", "code", "told"),
    [
        (None, 1, "no source of advisories is reached: cannot connect to https://index"),
        ("", 0, "no source of advisories is reached"),
        ("{}", 0, "no source of advisories is reached"),
        # All is well, it says, since it was asked about nothing.
        ('{"dependencies": [{"name": "django", "skip_reason": "x"}]}', 0, "knows 0 packages"),
        ('{"dependencies": []}', 0, "about no package"),
    ],
)
def test_an_audit_that_asked_nobody_is_no_good_result(
    parts: Any, tmp_path: Path, report: str | None, code: int, told: str
) -> None:
    program = tmp_path / "venvs/audit/bin/pip-audit"
    program.parent.mkdir(parents=True)
    program.write_text(
        "#!/bin/sh\necho 'cannot connect to https://me:word@index' >&2\n"
        + (f"echo '{report}'\n" if report is not None else "")
        + f"exit {code}\n"
    )
    program.chmod(0o755)
    with pytest.raises(parts.checks.Skipped, match=told) as caught:
        parts.audit.audit(SimpleNamespace(home=tmp_path))
    assert "me:word" not in str(caught.value)


def test_the_script_says_what_it_is_and_refuses_what_is_wrong(tmp_path: Path) -> None:
    script = PROJECT / "scripts" / "verify_security.sh"
    variables = {**os.environ, **example(tmp_path), "PYTHON": sys.executable}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", script, *arguments], env=variables, capture_output=True, text=True, cwd="/"
        )

    assert "Exit codes: 0 none failed" in run("--help").stdout
    listed = run("--home", str(tmp_path), "--list")
    assert listed.returncode == 0 and "header-csp" in listed.stdout, listed.stderr
    assert run("--home", str(tmp_path / "none")).returncode == 2
    assert run("--home", str(tmp_path), "--only", "nothing").returncode == 2
