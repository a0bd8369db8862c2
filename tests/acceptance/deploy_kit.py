"""The deployment kit as its documentation has it, on a fresh Debian.

Debian is made by debootstrap in a folder, with a user who never logged in. That user gets a clone,
and runs `deploy_ai.sh --yes`, `verify_ai.sh` and `verify_security.sh`: real PostgreSQL, Redis,
gunicorn, uvicorn, nginx, worker and beat, all started by the kit. `assess.sh` puts what they say to
criteria and checklists, also with the worker stopped. Then the same is deployed again, killed and
resumed, and deployed with a migration. A loopback server that speaks Gemini's protocol takes money
for answers. Planted faults are deploy_faults.py's; at reduced size both are one.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import _kit_planting as planting
from _api_report import Report
from _kit_assess import assess
from _kit_deploys import deploy_again, deploy_first, deploy_killed, deploy_migration
from _kit_faults import Trial, faults
from _kit_machine import Machine, find, fresh_debian, scratch, this_machine
from _kit_site import AI, SECURITY, Installation, clone_to

from tests.servers.gemini import RemoteGemini, replies, run_gemini_process

#: In which steps a deploy is killed.
KILLED = ("Settings", "Packages", "Release", "Services", "Migrations", "Indexes", "Start")
NEEDED = ("git", "nginx", "redis-server", "openssl", "setpriv")


def lacking() -> list[str]:
    """Return what this machine does not have of what the kit needs."""
    missing = [name for name in NEEDED if find(name) is None]
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        missing.append("postgresql")
    # The one that an ordinary user has, not that of the proof.
    look = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"
    python = Path("/usr/bin/python3")
    if not python.exists() or subprocess.run([python, "-c", look], capture_output=True).returncode:
        missing.append("python3 (3.11 or later) with python3-venv")
    return missing


def free_port(first: int = 0) -> int:
    """Return a port that nobody listens at, `first` if it can be."""
    for port in (first, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SystemExit("There is no free port.")


def ports(*, is_shared: bool) -> tuple[str, ...]:
    """Return the options of ports, where others need the usual ones; other proofs run beside."""
    web = (free_port(8080), free_port(8443))
    found = [] if web == (8080, 8443) else [f"--http-port={web[0]}", f"--https-port={web[1]}"]
    if is_shared:
        found = [f"--http-port={free_port()}", f"--https-port={free_port()}"]
        for name in ("postgres_port", "redis_port"):
            found += ["--set", f"{name}={free_port()}"]
    return tuple(found)


def expect_green(site: Installation, report: Report, script: str, what: str, *only: str) -> str:
    """Run a whole verification, which must not fail; return what it counted."""
    found = site.verify(script, *only)
    print(found.output, flush=True)
    report.expect(found.is_consistent, f"{what}: {script}: {found.counts}, results differ")
    report.expect(found.code == 0, f"{what}: {script}: {found.failures()}")
    skipped = found.unexpected_skips()
    report.expect(not skipped, f"{what}: {script}: skipped: {skipped}")
    return f"{found.counts} ({found.seconds:.0f} s)"


def script_gemini(gemini: RemoteGemini) -> None:
    """Let the loopback server answer each question with a plan, and what it is told with a text."""
    plan = (
        '{"kind": "query", "model": "communities.Province", "aggregate":'
        ' [{"function": "count", "path": "", "alias": "count"}]}'
    )
    gemini.script(replies.answer(plan), marker="into a plan, as JSON", is_repeated=True)
    text = replies.answer("There are some provinces [1]. " * 5, chunks=5)
    gemini.script(text, is_repeated=True)


def with_a_key(site: Installation, report: Report, gemini: RemoteGemini, *, is_small: bool) -> None:
    """With a key that the loopback Gemini takes the chat costs, and its cost is seen; remove it."""
    asked = len(gemini.journal)
    found = site.verify(AI, *(("chat-cost", "provider") if is_small else ()))
    security = "" if is_small else expect_green(site, report, SECURITY, "with a key")
    cost = found.text("chat-cost")
    report.expect(found.code == 0, f"with the right key: {found.failures()}")
    skipped = found.unexpected_skips()
    report.expect(not skipped, f"with the right key: skipped: {skipped}")
    report.expect(bool(re.match(r"\$0\.0*[1-9]", cost)), f"no cost is seen: {cost}")
    answered = len(gemini.journal) - asked
    report.expect(answered > 0, "the loopback Gemini was never asked")
    report.line(
        f"- With a key that the loopback Gemini takes: {found.counts}"
        f"{f'; `{SECURITY}`: {security}' if security else ''}. It was asked {answered} times."
        f" `chat-cost`: {cost}."
    )
    planting.use_key(site, "", "")


def verify_deployed(site: Installation, report: Report, *, is_small: bool) -> None:
    """Run both verifications, and look into the clone's history."""
    report.lines += ["", "## Verified", ""]
    # Reduced: that of the deploy was one; and what is published of packages changes by the day.
    told = "" if is_small else expect_green(site, report, AI, "after the deploy")
    if told:
        report.line(f"- `{AI}`: {told}.")
    past = site.verify(SECURITY, "secrets-history", from_clone=True)
    report.expect(
        past.code == 0 and past.has_passed("secrets-history"),
        f"the clone's history: {past.failures()} {past.text('secrets-history')}",
    )
    report.line(f"- From the clone, `secrets-history`: {past.text('secrets-history')}.")
    ids = [each for each in site.ids(SECURITY) if each != "audit"] if is_small else []
    told = expect_green(site, report, SECURITY, "after the deploy", *ids)
    report.line(f"- `{SECURITY}`: {told}.")


def plant(site: Installation, report: Report, gemini: RemoteGemini, given: Options) -> list[str]:
    """Plant all faults; return the lines of the table."""
    trial = Trial(site, report, is_small=given.small)
    chosen = [
        each
        for each in faults(gemini.url)
        if each.is_small >= given.small
        and (not given.fault or any(word in each.what for word in given.fault))
    ]
    together = [each for each in chosen if each.check in ("worker", "index", "vectors")]
    for fault in chosen:
        group = [fault]
        if fault.group and not given.small:
            group = [each for each in chosen if each.group == fault.group]
        if group[0] is fault and not (given.small and fault in together):
            trial.run(*group)
        if fault.what == "wrong key" and given.small:
            with_a_key(site, report, gemini, is_small=True)
        elif fault.what == "wrong key":
            planting.use_key(site, "", "")
    if given.small and together:
        trial.run(*together)
    return trial.rows


def prove(machine: Machine, report: Report, given: Options, part: str) -> None:
    """Deploy, verify, plant."""
    is_kit, is_faults = given.small or part == "kit", given.small or part == "faults"
    clone = machine.house / "django-obc-ai"
    clone_to(machine, clone)
    # An embedder that needs no minute for two thousand places, where it is not about that.
    hashing = {"OBC_SITE_EMBEDDER": "hashing"}
    variables = hashing if is_faults else {}
    options = ports(is_shared=machine.root == Path("/"))
    site = Installation(machine, clone, machine.house / "atlas", options, variables)
    with ExitStack() as stack:
        stack.callback(site.stop)
        gemini = stack.enter_context(run_gemini_process())
        script_gemini(gemini)
        deploy_first(site, report)
        if is_kit:
            verify_deployed(site, report, is_small=given.small)
            deploy_again(site, report, *(["--no-verify"] if given.small else []))
            # Afterwards, since a worker that was stopped and started makes a deploy renew all.
            assess(site, report, is_small=given.small)
        if is_kit and not given.small:
            planting.use_key(site, f"loopback-{secrets.token_hex(16)}", gemini.url)
            with_a_key(site, report, gemini, is_small=False)
            deploy_migration(site, report)
            other = machine.house / "second"
            second = Installation(machine, clone, other, ports(is_shared=True), hashing)
            stack.callback(second.stop)
            deploy_killed(second, report, KILLED)
        if not is_faults:
            return
        rows = plant(site, report, gemini, given)
        if not given.small and not given.fault:
            for script in (AI, SECURITY):
                told = expect_green(site, report, script, "after all faults")
                report.line(f"- After all faults were taken away, `{script}`: {told}.")
    report.lines += ["", "## Faults", ""]
    report.lines += ["| fault | script | check | its message | in all |", "|---|---|---|---|---|"]
    report.lines += rows


class Options(argparse.Namespace):
    """The command line."""

    small: bool
    here: bool
    fault: list[str]
    out: str


def main(part: str = "kit", title: str = "The deployment kit", about: str | None = __doc__) -> None:
    """Prove a part, "kit" or "faults"."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--here", action="store_true", help="on this machine's own Debian")
    parser.add_argument("--fault", action="append", default=[], help="these faults alone")
    parser.add_argument("--out", required=True)
    given = parser.parse_args(namespace=Options())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended before its time"))  # all is taken down
    report, began = Report(), time.monotonic()
    is_fresh = not (given.small or given.here or os.geteuid() or find("debootstrap") is None)
    if not is_fresh and (missing := lacking()):
        print(f"SKIPPED: there is no {', '.join(missing)} (tests/debian_packages.sh brings it).")
        return
    with scratch() as folder, (fresh_debian if is_fresh else this_machine)(folder) as machine:
        made = time.monotonic() - began
        versions = [
            machine.program("nginx", "-v"), machine.program("redis-server", "--version")[:30],
            machine.program("bash", "-c", "/usr/lib/postgresql/*/bin/postgres --version"),
            machine.program("python3", "--version"),
        ]  # fmt: skip
        prove(machine, report, given, part)
        told = machine.told
    facts = (
        f"On {told} (made in {made:.0f} s), {os.cpu_count()} cores: {'; '.join(versions)}."
        f" {time.monotonic() - began:.0f} s in all."
        f" Command: `./tests/acceptance/run.sh deploy_{part}`"
    )
    lines = [f"# {title}", "", (about or "").strip(), "", facts, "", *report.lines, ""]
    Path(given.out).write_text("\n".join(lines), encoding="utf-8")
    raise SystemExit("\n".join(report.faults) or 0)


if __name__ == "__main__":
    main()
