"""Logs are rotated and lose nothing, and proxies write nobody's questions into theirs."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from django_obc_ai import logging_config
from tests.deploy.rendered import render, text
from tests.deploy.test_nightly import environment, needs_logrotate, once

SBIN = f"{os.environ.get('PATH')}:/usr/sbin"
#: Writes numbered lines as fast as it is read.
WRITER = "import itertools\nfor n in itertools.count(): print(n, 'x' * 100, flush=True)"


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="obc-", dir="/tmp") as folder:
        found = Path(folder) / "a site"
        for name in ("tls", "static", "acme"):
            (found / name).mkdir(parents=True)
        (found / "current/example_project").mkdir(parents=True)
        yield found


def fill(home: Path, *arguments: str) -> None:
    done = render(home, "--python", sys.executable, *arguments)
    assert done.returncode == 0, done.stderr


@contextmanager
def process(
    *arguments: str, with_environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    env = with_environment or environment()
    with subprocess.Popen(
        arguments, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as started:
        try:
            yield started
        finally:
            started.terminate()
            print(started.communicate(timeout=60)[0])


def grows(path: Path, beyond: int = 0) -> None:
    for _ in range(600):
        if path.exists() and path.stat().st_size > beyond:
            return
        time.sleep(0.02)
    pytest.fail(f"nothing more is written into {path.name}")


def age_state(home: Path) -> None:
    """Let the last rotation be long ago, so that the files are due."""
    logs = sorted((home / "log").glob("*.log"))
    lines = ["logrotate state -- version 2", *(f'"{path}" 2020-1-1-0:0:0' for path in logs)]
    (home / "run/logrotate.state").write_text("\n".join(lines) + "\n")


@needs_logrotate
def test_programs_of_supervisord_lose_no_line_and_write_on(home: Path) -> None:
    if find_spec("supervisor") is None:
        pytest.skip("supervisor is not installed")
    fill(home)
    kit = text(home, "supervisord.conf")
    nightly = kit[kit.index("[program:nightly]") :]
    head = kit[: kit.index("[program:web]")]
    writer = home / "writer.py"
    writer.write_text(WRITER)
    own = f'[program:web]\ncommand="{sys.executable}" "{writer}"\nredirect_stderr=true\n'
    own += f"stdout_logfile={home}/log/web.log\nstdout_logfile_maxbytes=0\n\n"
    config = home / "conf/supervisord.conf"
    path = os.pathsep.join([environment()["PYTHONPATH"], *(each for each in sys.path if each)])
    nightly = re.sub(r'PYTHONPATH="[^"]*"', f'PYTHONPATH="{path}"', nightly)
    config.write_text(head + own + nightly)
    log, nightly_log = home / "log/web.log", home / "log/nightly.log"
    supervisord = [sys.executable, "-W", "ignore", "-m", "supervisor.supervisord", "-n"]
    with process(*supervisord, "-c", str(config)):
        grows(nightly_log)
        for _ in range(4):
            grows(log, 200_000)
            age_state(home)
            done = once(home, "--once", "--only", "logs")
            assert done.returncode == 0, done.stdout
            grows(log)
            time.sleep(1.1)  # the names of old logs hold the second
    assert "INFO Waits for" in next((home / "log").glob("nightly.log-*")).read_text()
    assert "INFO Waits for" not in nightly_log.read_text()
    parts = sorted(path for path in (home / "log").iterdir() if path.name.startswith("web.log"))
    assert len(parts) == 5
    joined = b""  # a line may be in two of them
    for part in [*(each for each in parts if each != log), log]:
        joined += subprocess.run(["zcat", "-f", part], check=True, capture_output=True).stdout
    numbers = [int(line.split()[0]) for line in joined.splitlines()[:-1]]
    assert numbers == list(range(len(numbers)))


@needs_logrotate
def test_what_a_proxy_writes_is_rotated_in_place(home: Path) -> None:
    fill(home)
    log = home / "log/nginx-access.log"
    with log.open("a", buffering=1) as writer:
        writer.write("before\n")
        age_state(home)
        assert once(home, "--once", "--only", "logs").returncode == 0
        writer.write("after\n")
    assert log.read_text() == "after\n"
    (old,) = (home / "log").glob("nginx-access.log-*")
    assert old.read_text() == "before\n"


def test_every_log_is_rotated_by_one_alone(home: Path) -> None:
    fill(home)
    rotated = re.findall(r'"([^"]*\.log)"', text(home, "logrotate.conf"))
    assert len(rotated) == len(set(rotated))
    written = re.findall(r"stdout_logfile=(.*)", text(home, "supervisord.conf"))
    for name in ("nginx-site.conf", "nginx.conf", "apache-site.conf", "apache.conf"):
        written += re.findall(r'"([^"]*\.log)"', text(home, name))
    assert set(written) <= set(rotated)
    handlers = logging_config(home / "log")["handlers"].values()
    own = {each["filename"] for each in handlers if "filename" in each}
    assert own and not own & set(rotated)
    assert "*" not in "".join(rotated)


def test_logs_of_a_proxy_that_root_runs_lie_elsewhere_and_are_rotated_there(home: Path) -> None:
    fill(home, "--set", "proxy_log=/var/log/proxy/atlas-")
    for name in ("nginx-site.conf", "apache-site.conf"):
        written = set(re.findall(r'"([^"]*\.log)"', text(home, name)))
        assert "/var/log/proxy/atlas-access.log" in written
        assert not [each for each in written if each.startswith(str(home))]
    rotated = text(home, "logrotate.conf")
    assert f'"{home}/log/deploy.log" {{' in rotated
    assert "-access.log" not in rotated


# --- proxies -------------------------------------------------------------------------------------
SECRET = "what-somebody-searches-for"


def port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def certify(home: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", home / "tls/key.pem", "-out", home / "tls/cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip


def ask(url: str) -> int:
    import ssl

    context = ssl._create_unverified_context()  # noqa: S323 - the test's own
    request = urllib.request.Request(url, headers={"Referer": f"{url}&from=1"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, context=context, timeout=20) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def logged(home: Path) -> str:
    return "".join(path.read_text() for path in (home / "log").iterdir())


@pytest.mark.parametrize("name", ["nginx", "apache2"])
def test_a_proxy_writes_no_query_string_whatever_goes_wrong(home: Path, name: str) -> None:
    program = shutil.which(name, path=SBIN)
    if program is None or (name == "apache2" and not Path("/usr/lib/apache2/modules").is_dir()):
        pytest.skip(f"{name} is not installed")
    certify(home)
    ports = [str(port()), str(port())]
    changed = ["address=127.0.0.1", "requests_per_second=1", "burst=3"]
    if os.geteuid() == 0 and name == "apache2":
        changed += ["user=nobody", "group=nogroup"]
        home.parent.chmod(0o755)
    fill(home, "--host", "localhost", "--http-port", ports[0], "--https-port", ports[1],
         *(f"--set={each}" for each in changed))  # fmt: skip
    if "user=nobody" in changed:
        for path in (home, *home.rglob("*")):
            shutil.chown(path, "nobody", "nogroup")
    if name == "nginx":
        arguments = ["-c", f"{home}/conf/nginx.conf", "-e", "stderr", "-g", "daemon off;"]
    else:
        arguments = ["-f", f"{home}/conf/apache.conf", "-DFOREGROUND"]
    url = f"https://localhost:{ports[1]}/communities/?q={SECRET}"
    with process(program, *arguments) as started:
        for _ in range(200):
            try:
                statuses = [ask(url)]
                break
            except OSError:
                assert started.poll() is None, started.communicate()[0]
                time.sleep(0.05)
        statuses += [ask(url) for _ in range(9)]
        statuses.append(ask(f"https://localhost:{ports[1]}/static/none?q={SECRET}"))
        assert statuses[0] in (502, 503)  # nobody is behind the socket
        if name == "nginx":
            assert 429 in statuses
    told = logged(home)
    assert '"GET /communities/ HTTP/1.1" 50' in told
    assert SECRET not in told
