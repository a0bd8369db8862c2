"""Deploying: from nothing, again, killed and resumed, with a migration. Part of deploy_kit.py."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from _api_report import Report
from _kit_planting import migration
from _kit_site import PROGRAMS, Installation

_STEP = re.compile(r"^== (\d+)/(\d+) (.+)$", re.MULTILINE)
#: What the second deploy must leave as it is, byte for byte.
_KEPT = (".env", "render.conf", "tls/cert.pem", "tls/key.pem", "redis/redis.conf")


class Visitors:
    """Ask the site without a pause while something is done to it.

    Attributes:
        answers: How many were good.
        failed: What was not.
    """

    def __init__(self, site: Installation) -> None:
        self._port = int(site.values()["https_port"])
        self._context = ssl.create_default_context(cafile=str(site.file("tls/cert.pem")))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.answers, self.failed = 0, list[str]()

    def _ask(self) -> None:
        while not self._over.is_set():
            for path in ("/health/live/", "/chat/"):  # web, streams
                connection = http.client.HTTPSConnection(
                    "127.0.0.1", self._port, timeout=120, context=self._context
                )
                host = f"localhost:{self._port}"
                try:
                    connection.request("GET", path, headers={"Host": host})
                    status = connection.getresponse().status
                    if status in (200, 302):
                        self.answers += 1
                    else:
                        self.failed.append(f"{path}: {status}")
                except (OSError, http.client.HTTPException) as error:
                    self.failed.append(f"{path}: {type(error).__name__} {error}")
                finally:
                    connection.close()
            self._over.wait(0.1)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask while the block runs."""
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()


def steps(output: str) -> list[str]:
    """Return the names of the steps that were begun."""
    return [title for _, _, title in _STEP.findall(output)]


def deploy_first(site: Installation, report: Report) -> None:
    """Deploy into a folder that is not there, and tell how long each step takes."""
    report.expect(not site.file("").exists(), f"{site.home} is there before anything was deployed")
    begun, began = dict[str, float](), time.monotonic()
    with site.start_deploy() as started:
        while started.is_running():
            for title in steps(started.output()):
                begun.setdefault(title, time.monotonic())
            time.sleep(0.1)
        end, code, output = time.monotonic(), started.wait(60), started.output()
    print(output, flush=True)
    report.expect(code == 0, f"deploy_ai.sh ends with {code}: {output[-1500:]}")
    if code:
        raise SystemExit("\n".join(report.faults))
    ends = [*begun.values(), end][1:]
    mode = site.file(".env").stat().st_mode & 0o777
    report.expect(mode == 0o600, f".env has the mode {mode:o}")
    report.expect(
        "OFFLINE PROVIDER" in output, "That nobody but the offline provider answers: not said"
    )
    states = site.states()
    report.expect(
        tuple(sorted(states)) == PROGRAMS
        and {state for state, _ in states.values()} == {"RUNNING"},
        f"not all programs run: {states}",
    )
    command = " ".join(["deploy_ai.sh --home ~/atlas --yes", *site.options])
    report.lines += ["## Deployed", "", f"`{command}`: {end - began:.0f} s.", ""]
    report.lines += ["| step | seconds |", "|---|---|"]
    for (title, start), at in zip(begun.items(), ends, strict=True):
        report.lines.append(f"| {title} | {at - start:.1f} |")
    counts = re.findall(r"^\d+ passed, \d+ failed, \d+ skipped$", output, re.MULTILINE)
    report.expect(len(counts) == 1, f"the deploy's own verification said {counts}")
    report.lines += ["", f"Its verification at the end: {''.join(counts)}."]


def _state(site: Installation) -> dict[str, object]:
    """Return what a deploy of the same code must not change."""
    found: dict[str, object] = {
        name: hashlib.sha256(site.file(name).read_bytes()).hexdigest() for name in _KEPT
    }
    for name in ("releases", "venvs", "backups"):
        found[name] = sorted(each.name for each in site.file(name).iterdir())
    venv = site.file("venvs") / (site.file("current/venv").readlink().name)
    found["packages"] = (venv.stat().st_ino, venv.stat().st_ctime_ns)
    for path in sorted(site.file("conf").rglob("*")):
        if path.is_file():
            found[f"conf/{path.name}"] = path.stat().st_mtime_ns
    return found | {"release": site.release, "processes": site.states()}


def deploy_again(site: Installation, report: Report, *options: str) -> None:
    """Deploy the same code: nothing changes, and nobody notices."""
    before, visitors, began = _state(site), Visitors(site), time.monotonic()
    with visitors.asking():
        code, output = site.deploy(*options)
    after = _state(site)
    changed = [name for name in before if before[name] != after.get(name)]
    report.expect(code == 0, f"the second deploy ends with {code}: {output[-1500:]}")
    report.expect(not changed, f"the second deploy changed {changed}: {output}")
    report.expect(not visitors.failed, f"during the second deploy: {visitors.failed[:3]}")
    report.line(
        f"- Deployed once more: {time.monotonic() - began:.0f} s; release, packages, settings,"
        " configuration and the processes are those of before;"
        f" {visitors.answers} answers meanwhile, {len(visitors.failed)} failed."
    )


def deploy_migration(site: Installation, report: Report) -> None:
    """Deploy code that brings a table: the database is backed up before."""
    folder = site.machine.outside(site.clone) / "example_project/communities/migrations"
    path = folder / "0099_visit.py"
    last = max(each.stem for each in folder.glob("0*.py"))
    path.write_text(migration(last))
    path.chmod(0o644)
    old, visitors = site.release, Visitors(site)
    with visitors.asking():
        code, output = site.deploy()
    report.expect(code == 0, f"a deploy with a migration ends with {code}: {output[-1500:]}")
    report.expect(site.release != old, "a change of the code made no other release")
    report.expect(not visitors.failed, f"during a deploy with a migration: {visitors.failed[:3]}")
    found = sorted(site.file("backups").glob("*before-migrate*"))
    if len(found) != 1:
        report.fault(f"before the migration there were {len(found)} backups made: {output}")
        return
    manifest = json.loads((found[0] / "manifest.json").read_text())
    tables = manifest["tables"]
    report.expect("communities_visit" not in tables, "the backup was made after the migration")
    report.expect(tables.get("communities_community", 0) > 0, f"the backup holds {tables}")
    applied = site.manage("showmigrations", "communities")
    report.expect("[X] 0099_visit" in applied, f"the migration is not applied: {applied}")
    report.line(
        f"- Deployed with a migration more: backed up first ({len(tables)} tables,"
        f" {sum(tables.values()):,} rows, without the new one), then migrated;"
        f" {visitors.answers} answers meanwhile, {len(visitors.failed)} failed."
    )


def deploy_killed(site: Installation, report: Report, titles: tuple[str, ...]) -> None:
    """Kill deploys in the middle of steps, and call the same again: it goes on."""
    killed = []
    for title in titles:
        with site.start_deploy() as started:
            while title not in steps(started.output()) and started.is_running():
                time.sleep(0.02)
            time.sleep(_INTO.get(title, 0.0))
            was_running = started.is_running()
            if was_running:
                started.kill()
            output = started.output()
        report.expect(was_running, f"the deploy ended before {title} was killed: {output[-800:]}")
        killed += steps(output)[-1:]  # a short one may have been over
    code, output = site.deploy()
    report.expect(code == 0, f"after kills the deploy ends with {code}: {output[-1500:]}")
    half = [path.name for name in ("releases", "venvs") for path in site.file(name).glob(".*")]
    report.expect(not half, f"what was killed has left {half}")
    report.line(
        f"- Killed (SIGKILL, with all it had started) in the steps {', '.join(killed)}, one after"
        " the other, each time called again: it went on, and ended with a site that is verified."
    )


#: Seconds until a step is in the middle of its work, where it takes some.
_INTO = {
    "Release": 0.2,
    "Packages": 3.0,
    "Services": 1.5,
    "Migrations": 1.5,
    "Indexes": 3.0,
    "Start": 1.5,
}
