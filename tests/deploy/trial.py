"""The example site as deployed, in processes of its own: nginx, gunicorn, uvicorn, Redis, SQLite.

Without supervisord, worker and beat, which tests/acceptance/deploy_servers.py starts: here it is
asked, as its verification asks it, and asked again with faults in its settings.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers.valkey import run_redis
from tests.subprocesses import PACKAGE_HOME, ROOT, python_environment

HOST = "atlas.example.org"
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
#: What has to be there for it; see `missing`.
PROGRAMS = {"nginx": NGINX, "openssl": shutil.which("openssl")}


def missing() -> str:
    """Return the name of a program that is not there, "" if all are."""
    return next((name for name, path in PROGRAMS.items() if path is None), "")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_until(is_so: Callable[[], Any], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while True:
        with suppress(OSError, http.client.HTTPException):
            if is_so():
                return
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s in vain: {what}")
        time.sleep(0.1)


def make_certificate(
    folder: Path, *, host: str = HOST, dates: tuple[str, str] | None = None
) -> None:
    """Write cert.pem and key.pem, signed by its own key, for two days or between two dates."""
    folder.mkdir(parents=True, exist_ok=True)
    key, certificate = folder / "key.pem", folder / "cert.pem"
    names = f"subjectAltName=DNS:{host},DNS:localhost,IP:127.0.0.1"
    base = [
        "openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-subj", f"/CN={host}", "-addext", names, "-keyout", str(key),
    ]  # fmt: skip
    if dates is None:
        command = [*base, "-x509", "-days", "2", "-out", str(certificate)]
        subprocess.run(command, check=True, capture_output=True)
    else:
        _sign_for(dates, base, folder)
    key.chmod(0o600)


def _sign_for(dates: tuple[str, str], base: list[str], folder: Path) -> None:
    """Sign a request by its own key for other dates than from today on; "ca" alone takes them."""
    (folder / "index.txt").write_text("")
    (folder / "ca.cnf").write_text(
        f"[ca]\ndefault_ca=d\n[d]\ndatabase={folder}/index.txt\nnew_certs_dir={folder}\n"
        f"rand_serial=yes\ndefault_md=sha256\npolicy=p\ncopy_extensions=copy\n"
        "[p]\ncommonName=supplied\n"
    )
    request = folder / "request.pem"
    subprocess.run([*base, "-out", str(request)], check=True, capture_output=True)
    subprocess.run(
        [
            "openssl", "ca", "-batch", "-selfsign", "-notext", "-config", str(folder / "ca.cnf"),
            "-keyfile", str(folder / "key.pem"), "-in", str(request),
            "-startdate", dates[0], "-enddate", dates[1], "-out", str(folder / "cert.pem"),
        ],
        check=True, capture_output=True,
    )  # fmt: skip


@dataclass
class TrialSite:
    """An installation folder whose site runs.

    Attributes:
        home: The folder; its path holds a space.
        variables: Those of the site's processes, and of who verifies it.
    """

    home: Path
    variables: dict[str, str]
    http: int = field(default_factory=free_port)
    https: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    started: dict[str, str] = field(default_factory=dict)

    @property
    def app(self) -> Path:
        """The release's project."""
        return self.home / "current" / "example_project"

    def environment(self, **more: str) -> dict[str, str]:
        """Return what the site's processes have."""
        kept = {
            name: value
            for name, value in python_environment().items()
            if not name.startswith(("OBC_", "DJANGO_"))
            and name not in ("PYTHONSAFEPATH", "PYTHONWARNINGS", "PYTHONDEVMODE", "GOOGLE_API_KEY")
        }
        path = os.pathsep.join([str(self.app), str(self.home / "current"), str(PACKAGE_HOME)])
        return {**kept, **self.variables, "PYTHONPATH": path, **more}

    def python(self, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
        """Run Python as the site does."""
        return subprocess.run(
            [sys.executable, "-P", *map(str, arguments)], cwd=self.home, timeout=600, umask=0o027,
            env=self.environment(**more), capture_output=True, text=True,
        )  # fmt: skip

    def manage(self, *arguments: object) -> str:
        """Run a management command that has to succeed."""
        done = self.python(self.app / "manage.py", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def verify(self, module: str, *arguments: str, **more: str) -> tuple[int, str, dict[str, Any]]:
        """Run a verification; return its exit code, what it printed, and results by id."""
        told = self.home / "told.json"
        told.unlink(missing_ok=True)
        done = self.python("-m", module, "--json", told, *arguments, **more)
        found = json.loads(told.read_text()) if told.exists() else {"checks": []}
        results = {each["id"]: each for each in found["checks"]}
        return done.returncode, done.stdout + done.stderr, results

    def render(self, **changed: str) -> None:
        """Fill the kit's files, with values that stay."""
        changed = {
            "address": "", "http_port": str(self.http), "https_port": str(self.https),
            "nginx": str(NGINX), "python": sys.executable, "web_workers": "2", **changed,
        }  # fmt: skip
        given = [f"--set={name}={value}" for name, value in changed.items()]
        done = self.python(
            self.app / "deploy/render.py", "--home", self.home, "--host", f"{HOST},127.0.0.1",
            "--keep", *given,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def start(self, settings: str = "deploy.settings", **more: str) -> None:
        """Start gunicorn and uvicorn with a settings module, and nginx, and wait for all."""
        variables = {"DJANGO_SETTINGS_MODULE": settings, **more}
        if self.started == variables and {"web", "streams", "nginx"} <= set(self.processes):
            return
        self.stop("web", "streams")
        self.started = variables
        gunicorn = ["gunicorn", "--config", str(self.app / "deploy/gunicorn.conf.py")]
        self._spawn("web", ["-m", *gunicorn], **variables, OBC_SITE_WORKERS="2")
        self._spawn("streams", ["-m", "deploy.streams"], **variables, OBC_SITE_STREAM_WORKERS="2")
        if "nginx" not in self.processes:
            self._spawn("nginx", ["-m", "deploy.nginx", str(NGINX)])
        wait_until(lambda: self.status("/health/live/") == 200, "gunicorn answers")
        wait_until(lambda: self.status("/chat/") in (200, 302), "uvicorn answers")

    def stop(self, *names: str) -> None:
        """End processes, their workers included."""
        for name in names:
            if process := self.processes.pop(name, None):
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(5)
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(20)

    def reload_nginx(self) -> None:
        """Let nginx read its files again."""
        self.stop("nginx")
        self._spawn("nginx", ["-m", "deploy.nginx", str(NGINX)])
        wait_until(lambda: self.status("/health/live/") == 200, "nginx answers")

    def status(self, path: str) -> int:
        """Return how the site answers, whatever its certificate is."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.https, timeout=30, context=context
        )
        try:
            connection.request("GET", path, headers={"Host": f"{HOST}:{self.https}"})
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def _spawn(self, name: str, arguments: list[str], **more: str) -> None:
        with (self.home / "log" / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-P", *arguments], cwd=self.home, env=self.environment(**more),
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True, umask=0o027,
            )  # fmt: skip


@contextmanager
def trial_site() -> Iterator[TrialSite]:
    """Make an installation with its database, and run it; what was made is removed."""
    import tempfile

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="obc-", dir="/tmp")))
        redis = stack.enter_context(run_redis())
        home = folder / "a site"
        release = home / "releases" / "20260101T000000-0000000"
        ignored = shutil.ignore_patterns("var", "__pycache__", "acceptance")
        shutil.copytree(ROOT / "example_project", release / "example_project", ignore=ignored)
        shutil.copytree(PACKAGE_HOME / "django_obc_ai", release / "django_obc_ai", ignore=ignored)
        (home / "current").symlink_to(release.relative_to(home))
        for name in ("static", "vectors", "tls", "spool", "backups", "run", "log", "conf"):
            (home / name).mkdir(mode=0o700)
        make_certificate(home / "tls")
        site = TrialSite(home, {})
        site.variables = {
            "OBC_SITE_VAR": str(home),
            "DJANGO_SETTINGS_MODULE": "deploy.settings",
            "OBC_SITE_EMBEDDER": "hashing",
        }
        lines = {
            "SECRET_KEY": os.urandom(40).hex(),
            "ALLOWED_HOSTS": f"{HOST},127.0.0.1",
            "CSRF_TRUSTED_ORIGINS": f"https://{HOST}:{site.https}",
            "REDIS_URL": redis.url,
            "OBC_SITE_METRICS_TOKEN": os.urandom(20).hex(),
        }
        env = home / ".env"
        env.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        env.chmod(0o600)
        site.manage("migrate", "-v0")
        site.manage("load_places")
        site.manage("collectstatic", "--no-input", "-v0")
        site.render()
        stack.callback(lambda: site.stop("web", "streams", "nginx"))
        site.start()
        yield site
