"""Containers of the Kubernetes manifests as processes of this machine; see deploy_kubernetes.py."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import django_obc_ai
from tests.acceptance._deploy_site import KIT, ROOT, find, free_port, wait_until
from tests.acceptance._load_samples import use_of
from tests.deploy.manifests import environment, named, pod
from tests.servers.postgres import programs

MIB = 1024 * 1024
_FOLDERS = ("run", "log", "spool", "static", "vectors", "tmp", "nginx-tmp")


class Node:
    """A folder in place of the image's, in which commands of pods run.

    Attributes:
        port: Of nginx, in place of 8080.
        variables: Of every container of the site, in place of the secret and besides it.
    """

    def __init__(self, stack: ExitStack, folder: Path, **variables: str) -> None:
        self._stack, self.folder, self.port = stack, folder, free_port()
        self.home, self.variables = folder / "srv" / "site", variables
        for name in _FOLDERS:
            (self.home / name).mkdir(parents=True, exist_ok=True)
        release = self.home / "releases" / "image"
        ignored = shutil.ignore_patterns("var", "__pycache__")
        shutil.copytree(KIT, release / "example_project", ignore=ignored)
        # Where the package under test is not installed, it lies beside the site.
        package = Path(django_obc_ai.__file__).resolve().parent
        if package.parent == ROOT:
            (release / "example_project" / "django_obc_ai").symlink_to(package)
        (self.home / "current").symlink_to("releases/image")
        (folder / "backups").mkdir()
        nginx = named("ConfigMap", "obc-site-nginx")["data"]["nginx.conf"]
        nginx = self._here(nginx).replace("listen 8080;", f"listen 127.0.0.1:{self.port};")
        # Started by root, it would make its workers "nobody", to whom the sockets are closed.
        user = "user root;\n" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(user + nginx)

    def _here(self, text: str) -> str:
        places = {
            "/srv/site": str(self.home),
            "/etc/site/nginx.conf": str(self.folder / "nginx.conf"),
            "/tmp/": f"{self.home}/nginx-tmp/",
            "/backups": str(self.folder / "backups"),
        }
        return re.sub("|".join(places), lambda found: places[found[0]], text)

    def command(self, given: list[str]) -> list[str]:
        """Return a container's command with this machine's programs and paths."""
        found = [self._here(part) for part in given]
        programs = {"python": sys.executable, "nginx": find("nginx") or "nginx"}
        return [programs.get(found[0], found[0]), *found[1:]]

    def environment(self, container: dict[str, Any]) -> dict[str, str]:
        """Return the variables that a container has: those of the image, and its own."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("OBC_", "DJANGO_", "PYTHON", "GOOGLE_"))
        }
        shims = self.folder / "bin"
        shims.mkdir(exist_ok=True)
        if not (shims / "python").exists():
            (shims / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
            (shims / "python").chmod(0o755)
        own = {
            "DJANGO_SETTINGS_MODULE": "deploy.settings",
            "OBC_SITE_VAR": str(self.home),
            "PYTHONPATH": str(self.home / "current" / "example_project"),
            "PYTHONSAFEPATH": "1",
            "PYTHONUNBUFFERED": "1",
            "HOSTNAME": os.uname().nodename,
            "PATH": f"{shims}:{programs()}:{os.environ['PATH']}",
            "TMPDIR": str(self.home / "tmp"),
        }
        given = environment(container)
        # As the page says of a site whose provider is the offline one.
        given.pop("GOOGLE_API_KEY", None)
        return {**inherited, **own, **given, **self.variables}

    def run(self, container: dict[str, Any], *command: str) -> tuple[int, str, float]:
        """Run a container to its end, or another command in it.

        Returns:
            Exit code, output, seconds.
        """
        began = time.monotonic()
        done = subprocess.run(
            self.command([*command] or container["command"]), cwd=self.home, text=True, timeout=900,
            env=self.environment(container), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return done.returncode, done.stdout, time.monotonic() - began

    def start(self, container: dict[str, Any]) -> Running:
        """Start a container; it is stopped at the end, as a pod is."""
        log = (self.folder / f"{container['name']}.log").open("wb")
        process = subprocess.Popen(
            self.command(container["command"]), cwd=self.home, stdout=log, stderr=log,
            env=self.environment(container), start_new_session=True,
        )  # fmt: skip
        running = Running(self, container, process)
        self._stack.callback(log.close)
        self._stack.callback(running.stop)
        return running


class Running:
    """A container that was started."""

    def __init__(
        self, node: Node, container: dict[str, Any], process: subprocess.Popen[bytes]
    ) -> None:
        self._node, self.container, self.process = node, container, process
        self.name: str = container["name"]

    def probe(self, name: str) -> bool:
        """Do what the kubelet does, and return whether that is a success."""
        given = self.container[f"{name}Probe"]
        if "exec" in given:
            return self._node.run(self.container, *given["exec"]["command"])[0] == 0
        if "tcpSocket" in given:
            return self.ask("/health/live/", {}) != 0
        headers = {each["name"]: each["value"] for each in given["httpGet"]["httpHeaders"]}
        return 200 <= self.ask(given["httpGet"]["path"], headers) < 400

    def ask(self, path: str, headers: dict[str, str]) -> int:
        """Return the status of an answer, 0 if there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self._node.port, timeout=8)
        try:
            connection.request("GET", path, headers=headers)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def wait(self, probe: str) -> float:
        """Wait until a probe succeeds, and return how many seconds that took."""
        began = time.monotonic()

        def succeeds() -> bool:
            if self.process.poll() is not None:
                log = (self._node.folder / f"{self.name}.log").read_text(errors="replace")
                raise SystemExit(f"{self.name} has ended: {log[-2000:]}")
            return self.probe(probe)

        wait_until(succeeds, f"{self.name}: {probe}", seconds=300)
        return time.monotonic() - began

    def memory(self) -> int:
        """Return the MiB that all its processes hold."""
        return round(use_of(self.process.pid).memory / MIB)

    def given(self) -> tuple[int, int]:
        """Return the MiB that it asks for, and those at which it is killed."""
        resources = self.container["resources"]
        units = {"Mi": 1, "Gi": 1024}
        asked, most = (resources[each]["memory"] for each in ("requests", "limits"))
        return tuple(int(each[:-2]) * units[each[-2:]] for each in (asked, most))  # type: ignore[return-value]

    def stop(self) -> int:
        """Send SIGTERM, or what the image of nginx sends, and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT if self.name == "proxy" else signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            raise


def containers(name: str) -> dict[str, dict[str, Any]]:
    """Return the containers of one object's pods, by name."""
    return {each["name"]: each for each in pod(name).containers()}
