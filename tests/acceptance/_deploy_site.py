"""The example site in an installation folder of its own, for the proof of the kit's servers."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import django_obc_ai
from tests.servers.gemini import replies
from tests.servers.gemini.remote import run_gemini_process
from tests.servers.valkey import run_redis

ROOT = Path(__file__).resolve().parent.parent.parent
KIT = ROOT / "example_project"
HERE = Path(__file__).resolve().parent
#: Names that the site answers to; requests go to 127.0.0.1.
HOSTS = ("ai.example.org", "127.0.0.1")
PATIENCE_SECONDS = 60
CHUNKS, SECONDS = 20, 4.0
PIECE = "There are three provinces in the region that was asked about [1]. "


def install(*more: str) -> None:
    """Bring what no other test needs into this environment.

    Args:
        more: Of the dependency group deploy-files, what is asked for.
    """
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if any(importlib.util.find_spec(name) is None for name in ("supervisor", "axes", "uvicorn")):
        subprocess.run([*pip, "-r", str(KIT / "deploy" / "requirements.in")], check=True)
    if any(importlib.util.find_spec(name) is None for name in more):
        subprocess.run([*pip, "--group", "deploy-files"], check=True, cwd=ROOT)
    importlib.invalidate_caches()


def find(*names: str) -> str | None:
    """Return a program; those of administrators lie outside of most people's PATH."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_until(is_so: Callable[[], Any], what: str, *, seconds: float = PATIENCE_SECONDS) -> Any:
    """Return what is true once it is."""
    end = time.monotonic() + seconds
    while True:
        try:
            if found := is_so():
                return found
        except OSError:
            pass
        if time.monotonic() > end:
            raise SystemExit(f"Waited {seconds:g} s in vain: {what}.")
        time.sleep(0.1)


class KitSite:
    """An installation folder, whose path holds a space, with two releases of the same code.

    Attributes:
        home: The folder.
        http, https: Ports of the proxy.
        environment: Of the site's processes.
    """

    #: Module of the settings, and what the kit's command is told besides them.
    settings = "trial_settings"
    rendered: ClassVar[dict[str, str]] = {"longest_answer": "60", "web_workers": "2"}

    def __init__(self, stack: ExitStack, folder: Path, **variables: str) -> None:
        """Make it, with servers and a database that has its tables.

        Args:
            stack: Ends all.
            folder: For it.
            variables: Of the environment, besides or in place of what stands here.
        """
        self.home = folder / "the site"
        self.http, self.https = free_port(), free_port()
        self.gemini = stack.enter_context(run_gemini_process())
        self.redis = stack.enter_context(run_redis())
        for release in ("one", "two"):
            self._copy(self.home / "releases" / release / "example_project")
        self.switch("one")
        for name in ("static", "vectors", "tls"):
            (self.home / name).mkdir()
        hosts = ",".join(HOSTS)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OBC_", "DJANGO_"))}
        self.environment = {
            **inherited,
            "SECRET_KEY": os.urandom(40).hex(),
            "DEBUG": "0", "ALLOWED_HOSTS": hosts,
            "CSRF_TRUSTED_ORIGINS": ",".join(f"https://{host}:{self.https}" for host in HOSTS),
            "REDIS_URL": self.redis.url, "GOOGLE_API_KEY": self.gemini.key,
            "OBC_SITE_VAR": str(self.home), "OBC_SITE_GEMINI_URL": self.gemini.url,
            "OBC_SITE_EMBEDDER": "hashing", "OBC_SITE_DAY_BUDGET": "50",
            "OBC_SITE_LONGEST_ANSWER": "60",
            "DJANGO_SETTINGS_MODULE": self.settings, **variables,
        }  # fmt: skip
        self._make_certificate()
        self.manage("migrate", "--verbosity", "0")
        for release in ("two", "one"):  # each has its own list of static files
            self.switch(release)
            self.manage("collectstatic", "--no-input", "--verbosity", "0")
        self.script()

    def switch(self, release: str) -> None:
        """Let `current` lead to a release, in one step."""
        link = self.home / "current.new"
        link.symlink_to(Path("releases") / release)
        link.replace(self.home / "current")

    def render(self, *files: str, **changed: str) -> None:
        """Fill files of the kit, by its own command."""
        changed = {
            "address": "127.0.0.1", "settings": self.settings,
            "requests_per_second": "2000", "burst": "2000", "worker_processes": "1",
            **self.rendered, **changed,
        }  # fmt: skip
        command = [
            sys.executable, str(self.home / "current/example_project/deploy/render.py"),
            "--home", str(self.home), "--python", sys.executable,
            "--http-port", str(self.http), "--https-port", str(self.https),
            *(f"--host={host}" for host in HOSTS),
            *(f"--set={name}={value}" for name, value in changed.items()), *files,
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)

    def manage(self, *command: str) -> None:
        """Run a management command."""
        app = self.home / "current" / "example_project"
        subprocess.run(
            [sys.executable, "-P", str(app / "manage.py"), *command],
            check=True, env={**self.environment, "PYTHONPATH": str(app)}, timeout=300,
        )  # fmt: skip

    def log(self, name: str) -> str:
        """Return what a process wrote."""
        path = self.home / "log" / name
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def _copy(self, to: Path) -> None:
        ignored = shutil.ignore_patterns("var", "__pycache__")
        shutil.copytree(KIT, to, ignore=ignored)
        for name in ("settings", "urls"):
            shutil.copy(HERE / f"_deploy_trial_{name}.py", to / f"trial_{name}.py")
        # Where the package under test is not installed, it lies beside the site.
        package = Path(django_obc_ai.__file__).resolve().parent
        if package.parent == ROOT:
            (to / "django_obc_ai").symlink_to(package)

    def _make_certificate(self) -> None:
        names = "subjectAltName=DNS:ai.example.org,DNS:localhost,IP:127.0.0.1"
        subprocess.run(
            [
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                "/CN=ai.example.org", "-addext", names,
                "-keyout", str(self.home / "tls/key.pem"), "-out", str(self.home / "tls/cert.pem"),
            ],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip

    def script(self) -> None:
        """Let the provider answer each question: with a plan, and a text in pieces."""
        count = {"function": "count", "path": "", "alias": "count"}
        plan = {"kind": "query", "model": "communities.Province", "aggregate": [count]}
        import json

        self.gemini.script(
            replies.answer(json.dumps(plan)), operation="generateContent", is_repeated=True
        )
        self.gemini.script(
            replies.answer(
                PIECE * CHUNKS, chunks=CHUNKS, chunk_interval_seconds=SECONDS / (CHUNKS - 1)
            ),
            operation="streamGenerateContent", is_repeated=True,
        )  # fmt: skip
