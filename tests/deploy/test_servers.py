"""What the kit's servers are configured with; tests/acceptance/deploy_servers.py runs them."""

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
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from django_obc_ai.conf import get_settings
from tests.subprocesses import ROOT

DEPLOY = ROOT / "example_project" / "deploy"
RENDER = DEPLOY / "render.py"
HOSTS = ("--host", "ai.example.org,www.example.org", "--host", "127.0.0.1")
PORTS = ("--http-port", "18080", "--https-port", "18443")


def render(home: Path | str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, RENDER, "--home", str(home), *arguments], capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder whose path has a space and is short enough for sockets, with all files filled."""
    with tempfile.TemporaryDirectory(prefix="obc-", dir="/tmp") as folder:
        found = Path(folder) / "a site"
        done = render(found, *HOSTS, *PORTS)
        assert done.returncode == 0, done.stderr
        for name in ("tls", "static", "acme"):
            (found / name).mkdir()
        yield found


def text(home: Path, name: str) -> str:
    return (home / "conf" / name).read_text(encoding="utf-8")


def test_every_file_is_filled_and_holds_no_placeholder(home: Path) -> None:
    sources = [path for path in DEPLOY.rglob("*.in") if path.name != "requirements.in"]
    assert len(sources) >= 11
    for source in sources:
        filled = text(home, str(source.relative_to(DEPLOY)).removesuffix(".in"))
        assert "@{" not in filled
        assert "@@" not in filled


def test_a_second_run_changes_nothing(home: Path) -> None:
    paths = [path for path in (home / "conf").rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in paths}
    assert render(home, *HOSTS, *PORTS).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in paths} == before


def test_folders_for_sockets_and_logs_are_closed_to_others(home: Path) -> None:
    for name in ("run", "log"):
        assert (home / name).stat().st_mode & 0o007 == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", "usr=a"], "Did you mean 'user'?"),
        (["--set", "qqqqqq=a"], "There are: home"),
        (["--set", "user"], "write --set user=VALUE"),
        (["--https-port", "0"], "https_port is '0', which is no port"),
        (["--http-port", "80a"], "http_port is '80a', which is no port"),
        (["--set", "public_port=x"], "public_port is 'x', which is no port"),
        (["--set", "web_threads=none"], "web_threads is 'none': give a whole number"),
        (["--host", "a b"], "'a b' is no host name"),
        (["--host", "a.org;return"], "is no host name"),
        (["--set", 'certificate=/a"b'], "means something to nginx"),
        (["--set", "static=/a;b"], "means something to nginx"),
        (["none.conf.in"], "There is no none.conf.in. There are: apache-site.conf.in"),
    ],
)
def test_wrong_values_are_refused_and_nothing_is_written(
    arguments: list[str], told: str, tmp_path: Path
) -> None:
    done = render("/tmp/obc-none", "--out", str(tmp_path / "out"), *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.startswith("render.py: ")
    assert not (tmp_path / "out").exists()
    assert not Path("/tmp/obc-none").exists()


@pytest.mark.parametrize("sign", ['"', "'", "$", "%", ";", "{", "#", "\\", "\n"])
def test_a_folder_whose_name_means_something_is_refused(sign: str, tmp_path: Path) -> None:
    done = render(f"/tmp/a{sign}b", "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "choose another path or name" in done.stderr


def test_a_path_too_long_for_sockets_is_refused(tmp_path: Path) -> None:
    done = render("/tmp/" + "x" * 90, "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "bytes too long for sockets" in done.stderr


@pytest.mark.parametrize(
    ("source", "told"),
    [("a @{nobody} b", "asks for nobody"), ("mail@example.org or @ alone", "write @@ for an @")],
)
def test_a_file_that_asks_for_what_nobody_knows_is_refused(
    source: str, told: str, tmp_path: Path
) -> None:
    module = runpy.run_path(str(RENDER))
    module["render"].__globals__["HERE"] = tmp_path
    (tmp_path / "x.in").write_text(source)
    with pytest.raises(module["CannotRender"], match=told):
        module["render"]("x.in", module["values"]("/tmp/site", ["a.org"]))


def test_names_and_values_are_listed() -> None:
    done = render("/tmp/site", "--list", "--set", "web_threads=3")
    assert "web_threads=3\n" in done.stdout
    assert not Path("/tmp/site").exists()


# --- The proxies ------------------------------------------------------------------------------
def test_what_a_client_says_of_itself_is_written_anew() -> None:
    nginx = (DEPLOY / "nginx-site.conf.in").read_text()
    apache = (DEPLOY / "apache-site.conf.in").read_text()
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in nginx
    assert "$proxy_add_x_forwarded_for" not in nginx
    assert "ProxyAddHeaders Off" in apache
    assert 'RequestHeader set X-Forwarded-For "expr=%{REMOTE_ADDR}"' in apache


@pytest.mark.parametrize("name", ["nginx-site.conf.in", "apache-site.conf.in"])
def test_proxies_add_no_header_of_the_sites(name: str) -> None:
    lines = [line.strip() for line in (DEPLOY / name).read_text().splitlines()]
    told = "\n".join(line for line in lines if not line.startswith("#")).lower()
    for header in ("strict-transport", "content-security", "x-frame", "referrer-policy"):
        assert header not in told
    assert "query_string" not in told
    assert '$request_uri" $status' not in told


def test_bodies_that_the_site_takes_pass_the_proxies(home: Path) -> None:
    match = re.search(r"client_max_body_size (\d+);", text(home, "nginx-site.conf"))
    assert match is not None
    assert int(match[1]) > get_settings().web.max_body_bytes
    assert f"LimitRequestBody {match[1]}" in text(home, "apache-site.conf")


def test_a_redirect_leads_to_the_port_that_people_see(home: Path, tmp_path: Path) -> None:
    assert "https://$host:18443$request_uri" in text(home, "nginx-site.conf")
    done = render(home, *PORTS, "--set", "public_port=443", "--out", str(tmp_path))
    assert done.returncode == 0
    assert "https://$host$request_uri" in (tmp_path / "nginx-site.conf").read_text()
    assert "https://%1%{REQUEST_URI}" in (tmp_path / "apache-site.conf").read_text()


def certificate(home: Path) -> None:
    if not (home / "tls/cert.pem").exists():
        command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost".split()
        key, cert = str(home / "tls/key.pem"), str(home / "tls/cert.pem")
        subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)


def program(*names: str) -> str:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    found = next((found for name in names if (found := shutil.which(name, path=path))), None)
    if found is None or shutil.which("openssl") is None:
        pytest.skip(f"{names[0]} or openssl is not installed")
    return found


def test_nginx_takes_its_configuration(home: Path) -> None:
    nginx = program("nginx")
    certificate(home)
    config = str(home / "conf/nginx.conf")
    done = subprocess.run(
        [nginx, "-t", "-c", config, "-e", "stderr"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    # Newer ones call "listen … http2", which older ones need, deprecated.
    warned = [line for line in done.stderr.splitlines() if "[warn]" in line and "http2" not in line]
    assert warned == []


def test_apache_takes_its_configuration(home: Path, tmp_path: Path) -> None:
    apache = program("apache2", "httpd")
    certificate(home)
    modules = Path("/usr/lib/apache2/modules")
    if not modules.is_dir():
        pytest.skip("Apache's modules are elsewhere")
    done = subprocess.run(
        # As root it serves nothing; the user's name is not looked at before.
        [apache, "-t", "-f", str(home / "conf/apache.conf"), "-C", "Define UNUSED"],
        capture_output=True,
        text=True,
    )
    if os.geteuid() == 0:
        assert "Syntax OK" in done.stderr or "running as root" in done.stderr
    else:
        assert done.returncode == 0, done.stderr


# --- Processes --------------------------------------------------------------------------------
def supervised(home: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(" ;",))
    parser.read_string(text(home, "supervisord.conf"))
    return parser


def test_supervisord_runs_five_programs_and_lets_calls_end(home: Path) -> None:
    found = supervised(home)
    programs = {name.partition(":")[2]: found[name] for name in found if name[:8] == "program:"}
    assert set(programs) == {"web", "streams", "worker", "beat", "nginx"}
    for name, section in programs.items():
        assert section["stopsignal"] == ("QUIT" if name == "nginx" else "TERM")
        longest = 20 if name == "beat" else 180 + 20
        assert int(section["stopwaitsecs"]) == longest
        assert section["killasgroup"] == "true"
        assert section.get("stopasgroup", "false") == "false"  # workers are ended by their masters
    assert shlex.split(programs["web"]["command"])[0] == f"{home}/venv/bin/python"


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


def test_units_are_what_systemd_knows(home: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    folder = home / "conf" / "systemd"
    python, app = home / "venv/bin/python", home / "current/example_project"
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


def test_a_health_check_names_what_does_not_answer(home: Path) -> None:
    command = [sys.executable, str(DEPLOY / "live.py"), "streams", "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"streams does not answer at {home}/run/streams.sock" in done.stderr


def test_a_health_check_asks_by_a_name_of_the_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_host = runpy.run_path(str(DEPLOY / "live.py"))["own_host"]
    monkeypatch.delenv("ALLOWED_HOSTS", raising=False)
    assert own_host(tmp_path) == "localhost"
    (tmp_path / ".env").write_text('DEBUG=0\nALLOWED_HOSTS=".a.example.org,b"\n')
    assert own_host(tmp_path) == "a.example.org"
    monkeypatch.setenv("ALLOWED_HOSTS", "c.example.org")
    assert own_host(tmp_path) == "c.example.org"


# --- Containers -------------------------------------------------------------------------------
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yml").read_text())
    return found


def test_compose_has_every_service_with_a_health_check() -> None:
    services = compose()["services"]
    expected = {"postgres", "redis", "prepare", "web", "streams", "worker", "beat", "nginx"}
    assert expected <= set(services)
    for name in expected - {"web"}:  # web has the image's own
        assert "healthcheck" in services[name], name
    assert "pgvector" in services["postgres"]["image"]


def test_compose_holds_no_secret_and_opens_the_proxy_alone() -> None:
    services = compose()["services"]
    for name, service in services.items():
        assert "environment" not in service, name
        if name not in ("nginx", "prometheus"):
            assert "ports" not in service, name
    for name in ("web", "streams", "worker", "beat"):
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["env_file"] == ["${OBC_SITE_ENV:-.env}"]


def test_compose_keeps_data_in_volumes_that_are_named() -> None:
    found = compose()
    used = {
        volume.partition(":")[0]
        for service in found["services"].values()
        for volume in service.get("volumes", [])
        if not volume.startswith((".", "$"))
    }
    assert used == set(found["volumes"])
    assert {"inside", "outside"} == set(found["networks"])
    assert found["networks"]["inside"] == {"internal": True}


def test_the_image_is_built_in_stages_and_runs_as_nobody_special() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    stages = [line for line in lines if line.startswith("FROM ")]
    assert len(stages) == 2
    assert all("-slim" in stage for stage in stages)
    last = lines[lines.index(stages[1]) :]
    assert "USER 10001:10001" in last
    assert any(line.startswith("HEALTHCHECK") for line in last)
    assert not any(re.search(r"(SECRET|KEY|PASSWORD|TOKEN)\w*=", line) for line in lines)
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert "**/.env*" in ignored


# --- Around it --------------------------------------------------------------------------------
def test_prometheus_finds_the_alerts_and_keeps_its_token_in_a_file() -> None:
    found = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    (rules,) = found["rule_files"]
    assert (DEPLOY / rules).resolve() == ROOT / "docs" / "monitoring" / "alerts.yml"
    (scrape,) = found["scrape_configs"]
    assert scrape["metrics_path"] == "/metrics"
    assert scrape["authorization"]["credentials_file"] == "metrics.token"


def test_logs_of_every_program_are_rotated(home: Path) -> None:
    rotated = text(home, "logrotate.conf")
    for name in ("web", "streams", "worker", "beat"):
        assert f'"{home}/log/{name}.log"' in rotated
    assert f'"{home}/log/nginx*.log"' in rotated


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
