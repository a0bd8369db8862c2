"""The kit's files, as far as programs that know their formats judge them without running them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from tests.acceptance._api_report import Report
from tests.acceptance._deploy_site import KIT, ROOT, KitSite

DEPLOY = KIT / "deploy"


class Files:
    """Asks each program that is there, and says which is not."""

    def __init__(self, site: KitSite, report: Report) -> None:
        self.site, self.report = site, report

    def prove(self, *, is_small: bool) -> None:
        """Judge all of them."""
        self.systemd()
        schema = ("--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yml"))
        self.module("check_jsonschema", "compose.yml, by the specification's schema", *schema)
        self.program("hadolint", "Dockerfile, by hadolint", str(DEPLOY / "Dockerfile"))
        with tempfile.TemporaryDirectory() as folder:
            self.prometheus(Path(folder))
        conf = self.site.home / "conf" / "logrotate.conf"
        state = str(self.site.home / "run" / "logrotate.state")
        self.program("logrotate", "logrotate.conf", "--debug", "--state", state, str(conf))
        self.compose()
        if is_small:
            self.report.line("- Not run in the small proof: the steps of the Dockerfile.")
        else:
            with tempfile.TemporaryDirectory() as folder:
                self.dockerfile(Path(folder))

    def program(self, name: str, what: str, *arguments: str, **environment: str) -> None:
        # What pip has installed lies beside this Python.
        found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
        if found is None:
            self.report.line(f"- Skipped, {name} is not there: {what}.")
            return
        done = subprocess.run(
            [found, *arguments], env={**os.environ, **environment}, capture_output=True, text=True,
            timeout=120,
        )  # fmt: skip
        output = (done.stdout + done.stderr).strip()
        self.report.expect(done.returncode == 0, f"{what}: {output[-500:]}")
        self.report.line(f"- Judged: {what}.")

    def module(self, name: str, what: str, *arguments: str) -> None:
        if find_spec(name) is None:
            self.report.line(f"- Skipped, {name} is not installed: {what}.")
        else:
            self.program(sys.executable, what, "-m", name, *arguments)

    def systemd(self) -> None:
        folder = self.site.home / "conf" / "systemd"
        units = sorted(str(path) for path in folder.iterdir())
        what = f"{len(units)} units, by systemd-analyze verify"
        self.program("systemd-analyze", what, "verify", *units, SYSTEMD_UNIT_PATH=f"{folder}:")

    def prometheus(self, folder: Path) -> None:
        token = folder / "metrics.token"
        token.write_text("token")
        self.site.render(
            "prometheus.yml.in", alerts=str(DEPLOY / "alerts"), metrics_token=str(token)
        )
        path = str(self.site.home / "conf" / "prometheus.yml")
        self.program("promtool", "prometheus.yml and the alerts", "check", "config", path)

    def compose(self) -> None:
        done = None
        if shutil.which("docker"):
            done = subprocess.run(["docker", "compose", "version"], capture_output=True)
        if done is None or done.returncode:
            self.report.line("- Skipped, docker compose is not there: docker compose config.")
            return
        with tempfile.TemporaryDirectory() as folder:
            for name in ("site.env", "postgres.env"):
                Path(folder, name).write_text("")
            self.program(
                "docker", "compose.yml, by docker compose config",
                "compose", "-f", str(DEPLOY / "compose.yml"), "config", "--quiet",
                OBC_SITE_ENV=f"{folder}/site.env", OBC_SITE_POSTGRES_ENV=f"{folder}/postgres.env",
            )  # fmt: skip

    def dockerfile(self, folder: Path) -> None:
        """Run the first stage's steps with this machine's Python, in place of /src and /srv."""
        build = (DEPLOY / "Dockerfile").read_text("utf-8").split("\nFROM ")[1]
        steps = re.sub(r"^\s*#.*\n", "", build, flags=re.MULTILINE).replace("\\\n", " ")
        command = ""
        (folder / "src").mkdir()
        for name in ("django_obc_ai", "example_project", "LICENSE", "README.md", "pyproject.toml"):
            source = ROOT / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("var", "__pycache__", ".env*", "*.pem")
                shutil.copytree(source, folder / "src" / name, ignore=ignored)
            else:
                shutil.copy(source, folder / "src" / name)
        shutil.copy(DEPLOY / "constraints.txt", folder / "src")
        begun = time.monotonic()
        for line in steps.splitlines():
            if not line.startswith("RUN "):
                continue
            command = line.removeprefix("RUN ").replace("/src", str(folder / "src"))
            command = command.replace("/srv", str(folder / "srv"))
            if command.startswith("python "):
                command = sys.executable + command.removeprefix("python")
            clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
            done = subprocess.run(
                ["sh", "-euc", command], cwd=folder, env=clean, capture_output=True, text=True,
                timeout=600,
            )  # fmt: skip
            self.report.expect(done.returncode == 0, f"Dockerfile: {command}: {done.stderr[-500:]}")
        taken = time.monotonic() - begun
        python = folder / "srv/site/venv/bin/python"
        app = folder / "srv/site/current/example_project"
        done = subprocess.run(
            [python, "-P", str(app / "manage.py"), "check", "--deploy", "--fail-level", "ERROR"],
            env={
                **clean, "PYTHONPATH": str(app), "DJANGO_SETTINGS_MODULE": "deploy.settings",
                **{k: v for k, v in self.site.environment.items() if k.isupper() and k in NEEDED},
                "OBC_SITE_VAR": str(folder / "srv/site"),
            },
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        self.report.expect(done.returncode == 0, f"the image's site: {done.stderr[-800:]}")
        self.report.line(
            "- Run in a scratch folder: the steps of the Dockerfile's first stage, in"
            f" {taken:.0f} s; the site that they make passes manage.py check --deploy."
        )


NEEDED = {"SECRET_KEY", "DEBUG", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "REDIS_URL"}
