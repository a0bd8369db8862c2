"""Known vulnerabilities of what is installed, as pip-audit finds them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.verify.checks import Failed, Skipped, Suite
from deploy.verify.context import Context
from deploy.verify.security_debug import pinned

#: Where advisories are looked up, if not at PyPI: an address as OSV's query is.
SOURCE = "OBC_SITE_ADVISORIES"
_INSTALL_SECONDS, _ASK_SECONDS = 300, 600
_TOLD = 8


@dataclass(frozen=True, slots=True)
class Finding:
    """One advisory about one package."""

    package: str
    version: str
    advisory: str
    aliases: tuple[str, ...]
    fixed: tuple[str, ...]

    def __str__(self) -> str:
        """Return it in a line."""
        also = f" ({', '.join(self.aliases)})" if self.aliases else ""
        fixed = f"fixed in {', '.join(self.fixed)}" if self.fixed else "no fixed version yet"
        return f"{self.package} {self.version}: {self.advisory}{also}, {fixed}"


def add(suite: Suite) -> None:
    """Add the checks."""
    suite.check("audit", "No package has a known vulnerability")(audit)


def audit(context: Context) -> str:
    """Ask pip-audit about the packages that this Python has."""
    program = _program(context.home / "venvs" / "audit")
    command = [str(program), "--path", sysconfig.get_path("purelib"), "--format", "json",
               "--progress-spinner", "off", "--desc", "off"]  # fmt: skip
    if source := os.environ.get(SOURCE):
        command += ["--vulnerability-service", "osv", "--osv-url", source]
    try:
        done = _run(command, _ASK_SECONDS)
    except subprocess.TimeoutExpired:
        raise Skipped("the source of advisories does not answer; try again later") from None
    if done.returncode not in (0, 1) or not done.stdout.strip():
        raise Skipped(f"no source of advisories is reached: {_last_line(done.stderr)}")
    try:
        findings, asked, unknown = read_report(json.loads(done.stdout))
    except (ValueError, KeyError, TypeError):
        raise Skipped(f"no source of advisories is reached: {_last_line(done.stderr)}") from None
    if findings:
        listed = "; ".join(str(each) for each in findings[:_TOLD])
        more = f"; and {len(findings) - _TOLD} more" if len(findings) > _TOLD else ""
        raise Failed(
            f"{len(findings)} known vulnerabilities: {listed}{more}. Raise the version with"
            " deploy/lock.sh, and run deploy_ai.sh"
        )
    # A source that knows none of them would otherwise look like a good result.
    if lacking := sorted(unknown & {_plain(name) for name in pinned()}):
        raise Skipped(
            f"the source of advisories knows {len(asked)} packages, and not {len(lacking)} of those"
            f" of constraints.txt: {', '.join(lacking[:4])}{', ...' if len(lacking) > 4 else ''}"
        )
    if not asked:
        raise Skipped("the source of advisories was asked about no package")
    return f"{len(asked)} packages, none with a known vulnerability"


def read_report(report: Any) -> tuple[list[Finding], set[str], set[str]]:
    """Read what pip-audit tells in JSON.

    Returns:
        Findings, names of packages that were asked about, and of those that were not.

    Raises:
        KeyError, TypeError: It is of another form.
    """
    findings: list[Finding] = []
    asked: set[str] = set()
    unknown: set[str] = set()
    for package in report["dependencies"]:
        name = _plain(package["name"])
        if "skip_reason" in package:
            unknown.add(name)
            continue
        asked.add(name)
        findings += [
            Finding(
                package=package["name"],
                version=package["version"],
                advisory=each["id"],
                aliases=tuple(each.get("aliases", ())),
                fixed=tuple(each.get("fix_versions", ())),
            )
            for each in package["vulns"]
        ]
    return sorted(findings, key=lambda each: (each.package, each.advisory)), asked, unknown


def _program(folder: Path) -> Path:
    """Return pip-audit in an environment of its own, made if there is none."""
    program = folder / "bin" / "pip-audit"
    if program.exists():
        return program
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet",
         "--disable-pip-version-check", "--no-input", "--retries", "1", "pip-audit>=2.9,<3"],
    ):  # fmt: skip
        try:
            done = _run(command, _INSTALL_SECONDS)
        except subprocess.TimeoutExpired:
            raise Skipped("pip-audit cannot be installed: the index does not answer") from None
        if done.returncode:
            told = _last_line(done.stderr or done.stdout)
            raise Skipped(f"pip-audit cannot be installed into {folder}: {told}")
    return program


def _run(command: list[str], seconds: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own arguments
        command, check=False, capture_output=True, text=True, timeout=seconds, env=_environment()
    )


def _environment() -> dict[str, str]:
    """Return the environment without the site's secrets and paths."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
    return {
        name: value
        for name, value in os.environ.items()
        if name in kept or name.startswith("PIP_") or name.lower().endswith("_proxy")
    }


def _last_line(text: str) -> str:
    """Return the last line of an error, without what may be an address with a password."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return re.sub(r"//[^/@\s]*@", "//", lines[-1])[:200] if lines else "it says nothing"


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
