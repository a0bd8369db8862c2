"""Two hundred people on two cores.

The example site under the deployment kit: the kit's settings, nginx over TLS, gunicorn with four
workers, uvicorn for the streams, a worker and beat, all of them started by supervisord; PostgreSQL
that syncs each commit, and Redis. The google-genai SDK asks a Gemini server on loopback, which
thinks for 300 ms before each answer. What asks, that server and all that measures share the cores.

People have an account, a session and a connection of their own. Each asks something, reads the
answer, thinks for 3 to 8 seconds and asks again. For three minutes half of them are alone; then
all are there for ten minutes. An editor changes a place in the admin every
five seconds, which the worker brings into the index. Sessions are made beforehand, since logins
would measure how long passwords take to hash, and one person has asked before all others, as
whoever sets a site up does. What one person may ask, 60 times a minute and 1,000 an hour, is the
kit's; budgets, the provider's limits, and what nginx lets one address do are made wide, since all
come from one.

Then all is compared: what people were told, what is in the database, and what the provider billed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.acceptance._api_report import Report
from tests.acceptance._deploy_processes import PROGRAMS, Supervisor
from tests.acceptance._deploy_site import find, install
from tests.acceptance._load_books import Books
from tests.acceptance._load_figures import Figures
from tests.acceptance._load_samples import Sampler
from tests.acceptance._load_site import LoadSite

PEOPLE, ALONE, SECONDS, THINK = 200, 180.0, 780.0, (3.0, 8.0)
#: For CI: what is lost is seen, too; how fast it goes is not.
FEW, BRIEFLY, SHORT, HASTY = 20, 5.0, 20.0, (0.5, 1.5)
PATHS = {"web": "/health/live/", "nginx": "/health/live/", "streams": "/chat/"}


def prove(report: Report, options: argparse.Namespace, nginx: str) -> None:
    """Make the site, let people use it, and see what came of it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="obc-", dir="/tmp")))
        site = LoadSite(stack, folder, is_small=options.small)
        site.render(nginx=nginx)
        site.enter()
        supervisor = Supervisor(site, report, PATHS)
        stack.enter_context(supervisor.running())
        supervisor.forget("nginx-access")
        out = folder / "told.json"
        people = site.people(
            options.people,
            seconds=options.seconds,
            alone=options.alone,
            think=options.think,
            out=str(out),
        )
        pids = {name: supervisor.pid(name) for name in PROGRAMS}
        pids |= {
            "PostgreSQL": site.postgres.pid, "Redis": site.redis.pid,
            "provider": site.gemini.pid or 0, "people": people.pid,
        }  # fmt: skip
        before = {name: supervisor.processes(name) for name in ("web", "streams")}
        with Sampler(pids, site.dsn, every=2 if options.small else 5) as sampler:
            failed = people.wait(options.seconds + 300)
        kept = {name: len(old & supervisor.processes(name)) for name, old in before.items()}
        # A leak is not to be hidden by new processes; in CI they come, and nothing may be lost.
        for name, old in before.items():
            report.expect(
                options.small or kept[name] == len(old),
                f"{name}: of {len(old)} processes {kept[name]} are still the same",
            )
        if options.small:
            report.line(f"Of gunicorn's workers {kept['web']} are still the same.\n")
        report.expect(not failed, "the people's process failed")
        told, journal = json.loads(out.read_text(encoding="utf-8")), site.gemini.journal
        Figures(site, told, journal, sampler.samples, report).prove(options)
        report.lines += ["", "## Nothing is lost", ""]
        Books(site, told, journal, report).prove(is_small=options.small)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    parser.add_argument("--people", type=int)
    parser.add_argument("--seconds", type=float)
    options = parser.parse_args()
    options.people = options.people or (FEW if options.small else PEOPLE)
    options.seconds = options.seconds or (SHORT if options.small else SECONDS)
    options.alone = BRIEFLY if options.small else ALONE
    options.think = HASTY if options.small else THINK
    nginx = find("nginx")
    if nginx is None or find("openssl") is None:
        print("SKIPPED: there is no nginx, or no openssl (on Debian: apt-get install nginx).")
        return
    install()
    report, began = Report(), time.monotonic()
    prove(report, options, nginx)
    version = subprocess.run([nginx, "-v"], capture_output=True, text=True).stderr.split("/")[-1]
    facts = (
        f"Python {platform.python_version()}, nginx {version.strip()}, {os.cpu_count()} cores,"
        f" {time.monotonic() - began:.0f} s. Command: `./tests/acceptance/run.sh deploy_load`"
    )
    lines = ["# Load on a deployed site", "", (__doc__ or "").strip(), "", facts, ""]
    lines += [*report.lines, ""]
    Path(options.out).write_text("\n".join(lines), encoding="utf-8")
    raise SystemExit("\n".join(report.faults) or 0)


if __name__ == "__main__":
    main()
