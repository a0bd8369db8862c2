"""How the site's processes are run; tests/acceptance/deploy_servers.py runs them."""

from __future__ import annotations

import configparser
import os
import re
import runpy
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.rendered import DEPLOY, filled, text

sys.path.insert(0, str(DEPLOY.parent))

from deploy import nights


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with filled() as found:
        yield found


def supervised(home: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(" ;",))
    parser.read_string(text(home, "supervisord.conf"))
    return parser


def test_supervisord_runs_every_program_and_lets_calls_end(home: Path) -> None:
    found = supervised(home)
    programs = {name.partition(":")[2]: found[name] for name in found if name[:8] == "program:"}
    assert set(programs) == {"web", "streams", "worker", "beat", "nginx", "nightly"}
    for name, section in programs.items():
        assert section["stopsignal"] == ("QUIT" if name == "nginx" else "TERM")
        longest = {"beat": 20, "nightly": 60}.get(name, 180 + 20)
        assert int(section["stopwaitsecs"]) == longest
        assert section["killasgroup"] == "true"
        assert section.get("stopasgroup", "false") == "false"  # workers are ended by their masters
        # Through `current`, which leads to another release's packages, too.
        assert shlex.split(section["command"])[0] == f"{home}/current/venv/bin/python"
        environment = f'PYTHONPATH="{home}/current/example_project:{home}/current"'
        assert environment in section["environment"]
        assert section["autostart"] == "true"


def test_units_run_what_supervisord_runs(home: Path) -> None:
    found = supervised(home)
    for name in ("web", "streams", "worker", "beat"):
        unit = text(home, f"systemd/obc-site-{name}.service")
        start = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)
        assert start is not None
        assert start[1] == found[f"program:{name}"]["command"]
        for hardening in (
            "NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet=\n",
            "PrivateTmp=yes", "RestrictNamespaces=yes", "SystemCallFilter=@system-service",
        ):  # fmt: skip
            assert hardening in unit
        assert f"obc-site-{name}.service" in text(home, "systemd/obc-site.target")


def test_a_timer_does_at_night_what_supervisord_does(home: Path) -> None:
    command = supervised(home)["program:nightly"]["command"]
    assert command.endswith(" -P -m deploy.nightly --at 02:30 --keep-days 14")
    unit = text(home, "systemd/obc-site-nightly.service")
    begin = command.replace(" --at 02:30", " --once")
    assert f'ExecStart={begin} --log "{home}/log/nightly.log"\n' in unit
    worker = text(home, "systemd/obc-site-worker.service")
    hardened = worker.partition("# It writes into")[2].partition("[Install]")[0]
    assert hardened.strip() in unit
    # As often, and after as long, as by the process that waits for the night.
    values = dict(re.findall(r"^(\w+)=(\d+)h?$", unit, re.MULTILINE))
    assert "\nRestart=on-failure\n" in unit
    assert int(values["RestartSec"]) * 3600 == nights.RETRY_SECONDS
    assert (
        int(values["StartLimitBurst"]) == nights.TRIES < int(values["StartLimitIntervalSec"]) < 24
    )
    timer = text(home, "systemd/obc-site-nightly.timer")
    assert "OnCalendar=*-*-* 02:30:00\n" in timer
    assert "Persistent=true" in timer


def test_units_are_what_systemd_knows(home: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    folder = home / "conf" / "systemd"
    python, app = home / "current/venv/bin/python", home / "current/example_project"
    python.parent.mkdir(parents=True, exist_ok=True)
    app.mkdir(parents=True, exist_ok=True)
    if not python.exists():
        python.symlink_to(sys.executable)
    units = [str(path) for path in sorted(folder.iterdir())]
    done = subprocess.run(
        ["systemd-analyze", "verify", *units],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert str(folder) not in done.stderr


def gunicorn(monkeypatch: pytest.MonkeyPatch, **environment: str) -> dict[str, Any]:
    for name in ("OBC_SITE_BIND", "OBC_SITE_WORKERS", "OBC_SITE_THREADS", "FORWARDED_ALLOW_IPS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return runpy.run_path(str(DEPLOY / "gunicorn.conf.py"))


def test_gunicorn_recycles_and_waits_for_the_longest_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = gunicorn(monkeypatch, OBC_SITE_VAR="/srv/site", OBC_SITE_LONGEST_ANSWER="90")
    assert found["bind"] == "unix:/srv/site/run/web.sock"
    assert found["worker_class"] == "gthread"
    assert found["timeout"] > found["graceful_timeout"] >= 90
    assert 0 < found["max_requests_jitter"] < found["max_requests"]
    assert "*" not in found["forwarded_allow_ips"]
    # U is the path; r, q and f would hold query strings.
    assert not set(re.findall(r"%\(([^)]*)\)s", found["access_log_format"])) & {"r", "q", "f"}


def test_gunicorn_knows_every_name_of_its_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    config = pytest.importorskip("gunicorn.config")
    monkeypatch.setenv("OBC_SITE_VAR", "/srv/site")
    found = runpy.run_path(str(DEPLOY / "gunicorn.conf.py"))
    names = {n for n in found if n.islower() and not n.startswith("_")} - {"annotations", "os"}
    late = {"control_socket_disable"}  # of gunicorn 25; earlier ones have no such socket
    assert names - late <= set(config.Config().settings)


@pytest.mark.parametrize(
    ("name", "words", "site", "stays"),
    [
        ("web", "gunicorn", "this", True),
        ("web", "gunicorn", "another", False),
        ("web", "postgres", "this", False),  # as after a power cut
        ("beat", "beat", "this", True),
        ("beat", "worker", "this", False),
        ("beat", None, "this", False),
    ],
)
def test_a_process_id_of_before_keeps_no_server_from_starting(
    name: str, words: str | None, site: str, stays: bool, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    running = runpy.run_path(str(DEPLOY / "backups" / "running.py"))
    path = tmp_path / "this" / "run" / f"{name}.pid"
    path.parent.mkdir(parents=True)
    given = {"OBC_SITE_VAR": str(tmp_path / site)}
    command = [sys.executable, "-c", "print(flush=True), input()", str(words), "end"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=given, **pipes) as process:
        process.stdout.readline()
        path.write_text(f"{process.pid}\n")
        if words is None:
            process.kill()
            process.wait()
        living = running["living"](tmp_path / "this")
        assert living == ([f"{name} (process {process.pid})"] if stays else [])
        if name == "web":
            gunicorn(monkeypatch, OBC_SITE_VAR=str(tmp_path / "this"))
        else:
            running["forget_ended"](path)
        assert path.exists() is stays
        process.kill()


def test_a_socket_left_behind_is_removed_and_one_in_use_is_not(home: Path) -> None:
    free = runpy.run_path(str(DEPLOY / "streams.py"))["free_socket"]
    path = home / "run" / "old.sock"
    free(path)  # there is none
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        with pytest.raises(SystemExit, match="Another process serves the streams"):
            free(path)
    assert path.exists()
    free(path)
    assert not path.exists()


@pytest.mark.parametrize(("given", "expected"), [("1", 2), ("5", 5)])
def test_streams_have_two_processes_at_least(
    given: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OBC_SITE_STREAM_WORKERS", given)
    assert runpy.run_path(str(DEPLOY / "streams.py"))["workers"]() == expected


def test_workers_of_a_killed_nginx_are_ended_and_nobody_else(tmp_path: Path) -> None:
    end = runpy.run_path(str(DEPLOY / "nginx.py"))["end_leftovers"]
    pid_file = tmp_path / "nginx.pid"
    end(pid_file)  # there is none
    # A leader that is gone, and a member of its group that is left.
    script = (
        "import subprocess, sys; p = subprocess.Popen(['sleep', '300'], stdout=2); print(p.pid)"
    )
    leader = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, process_group=0
    )
    told, _ = leader.communicate()
    left = Path(f"/proc/{int(told)}")
    assert left.exists()
    pid_file.write_text(f"{leader.pid}\n")
    end(pid_file)
    for _ in range(100):
        # Where nobody waits for orphans it stays as a zombie.
        if not left.exists() or "(sleep) Z" in (left / "stat").read_text():
            break
        time.sleep(0.05)
    else:
        pytest.fail("the process that was left still runs")
    with subprocess.Popen(["sleep", "300"], process_group=0) as living:
        pid_file.write_text(str(living.pid))
        end(pid_file)
        assert living.poll() is None
        living.kill()
