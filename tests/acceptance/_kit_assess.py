"""The readiness assessment of a site as deployed, and with a fault. Part of deploy_kit.py."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import socket
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from _api_report import Report
from _kit_site import AI, DAY, MAY_SKIP, SECURITY, Installation

ASSESS = "assess.sh"
#: Items that a dead worker turns, and some that it has nothing to do with.
_TURNED, _KEPT = {"after-2", "services-2"}, {"success-4", "security-1", "owasp-3"}
_FOUND = "kept.json"


def assess(site: Installation, report: Report, *, is_small: bool) -> None:
    """Assess the site; then with a superuser and a watch; then with its worker stopped.

    Args:
        site: As it was deployed, and verified by verify_security.sh last.
        report: Where it is told.
        is_small: Take what verify_security.sh said then, in place of running it again.
    """
    report.lines += ["", "## Assessed", ""]
    began = time.monotonic()
    if is_small:
        _keep(site)
    code, items, page = _run(site, *(("--security", _FOUND) if is_small else ()))
    seconds = time.monotonic() - began
    failed = {name: each["why"] for name, each in items.items() if each["status"] == "failed"}
    report.expect(code == 0 and not failed and len(items) == 61, f"{ASSESS}: {code}, {failed}")
    unseen = {name: each["why"] for name, each in items.items() if each["status"] == "not here"}
    for name, why in unseen.items():
        told = set(re.findall(r"(?:^|; )([a-z-]+): ", why))
        report.expect(bool(told) and told <= set(MAY_SKIP), f"{ASSESS}: {name} not here: {why}")
    own = (str(site.home), str(site.clone), socket.gethostname())
    named = [each for each in own if re.search(rf"(?<![\w.-]){re.escape(each)}\b", page)]
    report.expect(bool(page) and not named, f"{ASSESS}: the assessment names {named}")
    passed = len(items) - len(unseen) - len(failed)
    report.line(
        f"- `{ASSESS}`: {passed} items passed, {len(failed)} failed, {len(unseen)} not here"
        f" ({seconds:.0f} s{', verify_security.sh not run again' if is_small else ''}):"
        f" {', '.join(f'`{each}`' for each in unseen)}."
    )
    if not is_small:
        site.verify(SECURITY)
        _keep(site)
    _watched(site, report)
    _without_worker(site, report)


def _keep(site: Installation) -> None:
    shutil.move(site.file("results.json"), site.file(_FOUND))


def _run(site: Installation, *given: str) -> tuple[int, dict[str, dict[str, str]], str]:
    """Run the clone's script; return exit code, items by id, and the assessment."""
    items, out = site.file("items.json"), site.file("readiness.md")
    for each in (items, out):
        each.unlink(missing_ok=True)
    files = [each if each.startswith("-") else str(site.home / each) for each in given]
    command = site.command(ASSESS, "--json", str(site.home / items.name), *files)
    done = site.machine.run(*command, **DAY)
    print(done.stdout, flush=True)
    told = json.loads(items.read_text())["items"] if items.exists() else []
    page = out.read_text() if out.exists() else ""
    return done.returncode, {each["id"]: each for each in told}, page


def _partly(site: Installation, *checks: str) -> tuple[int, dict[str, dict[str, str]], str]:
    """Make these checks of verify_ai.sh, and assess by them and by what was kept."""
    site.verify(AI, *checks)
    return _run(site, "--ai", "results.json", "--security", _FOUND)


def _watched(site: Installation, report: Report) -> None:
    """Make a superuser, and the token that Prometheus shows, as the pages say."""
    person = {
        "DJANGO_SUPERUSER_USERNAME": "root-of-the-site",
        "DJANGO_SUPERUSER_EMAIL": "it@example.org",
        "DJANGO_SUPERUSER_PASSWORD": secrets.token_urlsafe(20),
    }
    site.machine.run(*site.own("manage.sh"), "createsuperuser", "--noinput", **person)
    dotenv = site.home / "current" / "example_project" / "deploy" / "dotenv.py"
    script = f"umask 077; python3 {dotenv} OBC_SITE_METRICS_TOKEN .env > conf/metrics.token"
    site.machine.run("bash", "-c", f"cd {site.home} && {script}")
    _, items, _ = _partly(site, "superuser", "alerts", "release")
    seen = {name: items[name]["status"] for name in ("during-2", "during-6", "after-9")}
    report.expect(set(seen.values()) == {"passed"}, f"{ASSESS}: superuser and token: {seen}")
    report.line(f"- With a superuser and a token for Prometheus: {', '.join(seen)} passed.")


def _without_worker(site: Installation, report: Report) -> None:
    """Stop the worker: its items fail, in the words of the check, and no others."""
    site.control("stop", "worker")
    code, items, page = _partly(site, "worker", "programs")
    site.start("worker")
    turned = {name for name, each in items.items() if each["status"] == "failed"}
    report.expect(code == 1, f"{ASSESS}: ends with {code} although the worker is dead")
    report.expect(turned >= _TURNED, f"{ASSESS}: the dead worker turned {turned}")
    kept = {name for name in _KEPT if items[name]["status"] == "passed"}
    report.expect(kept == _KEPT, f"{ASSESS}: the dead worker turned more: {_KEPT - kept}")
    report.expect("**Not ready:**" in page, f"{ASSESS}: the assessment does not say Not ready")
    report.line(
        f"- With its worker stopped it is not ready: {', '.join(f'`{n}`' for n in sorted(turned))};"
        f" {items['services-2']['why']}"
    )
