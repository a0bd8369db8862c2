"""What nginx and Apache are configured with; tests/acceptance/deploy_servers.py runs them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_obc_ai.conf import get_settings
from tests.deploy.rendered import DEPLOY, PORTS, filled, render, text


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with filled() as found:
        yield found


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


def test_nginx_listens_at_ipv6_where_the_kernel_speaks_it(home: Path, tmp_path: Path) -> None:
    def listens(*changed: str) -> list[str]:
        sets = [f"--set={each}" for each in changed]
        assert render(home, *PORTS, *sets, "--out", str(tmp_path)).returncode == 0
        return re.findall(
            r"^ +listen (.*);", (tmp_path / "nginx-site.conf").read_text(), re.MULTILINE
        )

    both = listens("ipv6=true")
    assert len(both) == 8
    assert [f"[::]:{each}" for each in both[::2]] == both[1::2]
    assert listens("ipv6=false") == both[::2]
    assert len(listens("address=127.0.0.1", "ipv6=true")) == 4
    has_ipv6 = Path("/proc/net/if_inet6").exists()
    assert listens() == (both if has_ipv6 else both[::2])


DEBIANS = Path("/etc/nginx/nginx.conf")


@pytest.mark.skipif(not DEBIANS.is_file(), reason="no nginx of Debian is installed")
def test_the_machines_nginx_takes_the_site_and_changes_nothing_in_it(
    home: Path, tmp_path: Path
) -> None:
    nginx = program("nginx")
    certificate(home)
    config = DEBIANS.read_text().replace("/run/nginx.pid", f"{tmp_path}/nginx.pid")
    config = config.replace("/var/log/nginx/", f"{tmp_path}/")
    config = re.sub(
        r"^\s*include /etc/nginx/(conf\.d|sites-enabled)/.*", "", config, flags=re.MULTILINE
    )
    assert "http {" in config
    site = f'http {{\n    include "{home}/conf/nginx-site.conf";'
    for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
        site += f"\n    {name}_temp_path {tmp_path}/{name};"
    (tmp_path / "nginx.conf").write_text(config.replace("http {", site))
    command = [nginx, "-t", "-c", str(tmp_path / "nginx.conf"), "-e", "stderr"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # Debian's list of protocols, its compression and its name of the server hold for nobody here.
    servers = re.split(r"^server \{", text(home, "nginx-site.conf"), flags=re.MULTILINE)[1:]
    assert len(servers) == 3
    for server in servers:
        assert "\n    server_tokens off;" in server
        assert (" ssl " in server) == ("\n    ssl_protocols TLSv1.2 TLSv1.3;\n" in server)
    assert "\n    gzip off;" in servers[-1]


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
