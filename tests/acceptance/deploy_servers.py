"""The servers of the deployment kit, as they are configured there.

The example site lies in an installation folder with a space in its path. The kit's render.py fills
its files; supervisord, started for real, runs gunicorn, uvicorn, a worker, beat and nginx on
loopback, with a throwaway certificate, a real Redis, SQLite, and the google-genai SDK with the
loopback Gemini server, which tells its answers slowly.

- **nginx** and **Apache** are asked the same: each header of safety once; HTTP leads to HTTPS; the
  client's address and HTTPS as the site sees them, whatever a client claims; static files; limits;
  TLS; a stream that arrives piece by piece; and no query string in any log.
- **Processes** are stopped, started, killed, and stopped in the middle of an answer.
- **Under load** the release is changed and the servers reloaded, without a failed request.
- **Files** for programs that are not run here are judged by those that know their formats.
"""

from __future__ import annotations

import argparse
import os
import platform
import pwd
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.acceptance._api_report import Report
from tests.acceptance._deploy_clients import Client
from tests.acceptance._deploy_files import Files
from tests.acceptance._deploy_processes import Supervisor
from tests.acceptance._deploy_proxy import Proxy
from tests.acceptance._deploy_site import KitSite, find, install, wait_until


@contextmanager
def apache(site: KitSite, program: str) -> Iterator[None]:
    """Run Apache with the kit's configuration, where nginx was."""
    command = [program, "-f", str(site.home / "conf" / "apache.conf")]
    subprocess.run([*command, "-t"], check=True, capture_output=True, timeout=60)
    process = subprocess.Popen([*command, "-DFOREGROUND"])
    client = Client(site.https, site.home / "tls" / "cert.pem")

    def answers() -> bool:
        if process.poll() is not None:
            raise SystemExit(f"Apache has ended: {site.log('apache-error.log')[-2000:]}")
        return client.ask("/trial/seen/").status == 200

    try:
        wait_until(answers, "Apache answers")
        yield
    finally:
        process.terminate()
        process.wait(60)


def too_many(site: KitSite, supervisor: Supervisor, report: Report) -> None:
    """Let nginx take few requests, and ask for more."""
    site.render("nginx-site.conf.in", requests_per_second="1", burst="5")
    supervisor.control("signal", "HUP", "nginx")
    client = Client(site.https, site.home / "tls" / "cert.pem")

    def refused() -> bool:
        return 429 in [client.ask("/trial/seen/").status for _ in range(30)]

    wait_until(refused, "nginx refuses with 429")
    report.line("- nginx: of more requests than it is told to take, some are refused with 429.")
    site.render("nginx-site.conf.in")
    supervisor.control("signal", "HUP", "nginx")
    wait_until(lambda: not refused(), "nginx refuses nothing")


def prove(report: Report, *, is_small: bool, nginx: str) -> None:
    """Make the site and ask everything of it."""
    web_server = find("apache2", "httpd")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="obc-", dir="/tmp")))
        folder.chmod(0o755)  # Apache's own user goes through it
        site = KitSite(stack, folder)
        site.render(nginx=nginx)
        supervisor = Supervisor(site, report)
        stack.enter_context(supervisor.running())
        report.lines += ["## nginx", ""]
        Proxy("nginx", site, report).prove()
        too_many(site, supervisor, report)
        report.lines += ["", "## Processes", ""]
        supervisor.prove()
        supervisor.reload(is_small=is_small)
        report.lines += ["", "## Apache", ""]
        if web_server is None:
            report.line("- Skipped: there is no Apache (on Debian: apt-get install apache2).")
        else:
            supervisor.control("stop", "nginx")
            # Apache serves nothing as root; in root's group its user can open the sockets.
            names = {each.pw_name for each in pwd.getpwall()}
            user = next(each for each in ("www-data", "apache", "nobody") if each in names)
            changed = {"user": user} if os.geteuid() == 0 else {}
            site.render("apache.conf.in", "apache-site.conf.in", **changed)
            with apache(site, web_server):
                Proxy("Apache", site, report).prove()
        report.lines += ["", "## Files", ""]
        Files(site, report).prove(is_small=is_small)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    nginx = find("nginx")
    if nginx is None or find("openssl") is None:
        print("SKIPPED: there is no nginx, or no openssl (on Debian: apt-get install nginx).")
        return
    install("check_jsonschema")
    report, began = Report(), time.monotonic()
    prove(report, is_small=options.small, nginx=nginx)
    version = subprocess.run([nginx, "-v"], capture_output=True, text=True).stderr.split("/")[-1]
    facts = (
        f"Python {platform.python_version()}, nginx {version.strip()}, {os.cpu_count()} cores,"
        f" {time.monotonic() - began:.0f} s. Command: `./tests/acceptance/run.sh deploy_servers`"
    )
    lines = ["# Servers of the deployment kit", "", (__doc__ or "").strip(), "", facts, ""]
    lines += [*report.lines, ""]
    Path(options.out).write_text("\n".join(lines), encoding="utf-8")
    raise SystemExit("\n".join(report.faults) or 0)


if __name__ == "__main__":
    main()
