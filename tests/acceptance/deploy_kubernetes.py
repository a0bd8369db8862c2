"""The Kubernetes manifests of the kit: judged by their schema, and what their pods run is run.

There is no cluster here. Every object is compared with Kubernetes' own schema of two versions, in
which unknown fields are faults. Then each container's command runs as a process, with the variables
that its ConfigMap and secret give it, in a folder in place of the image's: init containers to their
ends, web, streams and nginx with its ConfigMap, worker, beat, and the jobs. PostgreSQL and Redis
are real. What the kubelet would ask is asked as the manifests say, before the migrations and after
them.

What is not seen here: images, networks, volumes and their rights, and how a cluster schedules.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import psycopg

from tests.acceptance._api_report import Report
from tests.acceptance._deploy_clients import Client
from tests.acceptance._deploy_site import find, install
from tests.acceptance._kubernetes_pods import Node, Running, containers
from tests.deploy.manifests import FOLDER, SECRET, documents, environment
from tests.servers.postgres import run_postgres
from tests.servers.valkey import run_redis

VERSIONS = ("1.34.0", "1.37.0")
MANAGE = ("python", "current/example_project/manage.py")
PASSWORD = "Made-for-this-proof-7"


def judge(report: Report) -> None:
    """Compare every object with the schemas, and one that is wrong, which has to be refused."""
    import kubernetes_validate

    every = [*documents(), *documents(SECRET)]
    for version in VERSIONS:
        for each in every:
            name = f"{each['kind']} {each['metadata']['name']}"
            try:
                kubernetes_validate.validate(each, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                report.fault(f"{name}, Kubernetes {version}: {error.message}")
        wrong = json.loads(json.dumps(next(e for e in every if e["kind"] == "CronJob")))
        wrong["spec"]["schedul"] = wrong["spec"].pop("schedule")
        try:
            kubernetes_validate.validate(wrong, version, strict=True)
            report.fault(f"Kubernetes {version}: a misspelt field is taken")
        except kubernetes_validate.ValidationError:
            pass
    kinds = sorted({each["kind"] for each in every})
    own = importlib.metadata.version("kubernetes-validate")
    report.line(
        f"- {len(every)} objects of {len(kinds)} kinds are valid by the schemas of Kubernetes"
        f" {' and '.join(VERSIONS)} (kubernetes-validate {own}), with no unknown field; one with a"
        " misspelt field is refused."
    )
    if shutil.which("kubectl") is None:
        report.line("- Skipped, kubectl is not there: kubectl kustomize.")
        return
    done = subprocess.run(["kubectl", "kustomize", FOLDER], capture_output=True, text=True)
    report.expect(done.returncode == 0, f"kubectl kustomize: {done.stderr}")
    report.line("- `kubectl kustomize` puts the folder together.")


class Cluster:
    """What a cluster would do with the pods, in order."""

    def __init__(self, node: Node, report: Report) -> None:
        self.node, self.report = node, report
        self.seconds: list[tuple[str, float]] = []
        self.site, self.client = containers("site"), Client(node.port, None)
        self.host = environment(self.site["web"])["ALLOWED_HOSTS"].split(",")[0]

    def end(self, what: str, container: dict[str, object], *command: str, code: int = 0) -> str:
        """Run something to its end, which has to be that code."""
        found, output, seconds = self.node.run(container, *command)
        self.report.expect(found == code, f"{what}: {found} in place of {code}: {output[-1500:]}")
        self.seconds.append((what, seconds))
        print(f"{seconds:.1f} s: {what}", flush=True)
        return output

    def headers(self, **more: str) -> dict[str, str]:
        """Return what an ingress controller sends."""
        return {
            "Host": self.host,
            "X_Forwarded_Proto": "https",
            "X_Forwarded_For": "192.0.2.7",
            **more,
        }

    def begin(self) -> list[Running]:
        """Start the pods before their tables are there, and then make these."""
        expect = self.report.expect
        migrated, migrate = containers("worker")["migrated"], containers("migrate")["migrate"]
        self.end(
            "worker and beat before the migrations: init container `migrated`", migrated, code=1
        )
        self.end("site: init container `static`", self.site["static"])
        parts = [self.node.start(self.site[name]) for name in ("web", "streams", "proxy")]
        for part, probe in zip(parts, ("startup", "startup", "liveness"), strict=True):
            self.seconds.append((f"site: {part.name} until its {probe} probe", part.wait(probe)))
        expect(not parts[2].probe("readiness"), "ready without tables")
        self.end("Job `migrate`, from an empty database", migrate)
        seconds = parts[2].wait("readiness")
        self.seconds.append(
            ("site: proxy, from the last migration until its readiness probe", seconds)
        )
        self.end("worker and beat after the migrations: init container `migrated`", migrated)
        self.report.line(
            "- Before the migrations web, streams and nginx live and the pod is not ready, and the"
            " init containers of worker and beat fail; after them it is ready, without a restart."
        )
        worker, beat = (self.node.start(containers(name)[name]) for name in ("worker", "beat"))
        self.seconds.append(("worker until its liveness probe", worker.wait("liveness")))
        return [*parts, worker, beat]

    def fill(self) -> None:
        """Do what the page has people do once."""
        worker = containers("worker")["worker"]
        self.node.variables |= {
            "DJANGO_SUPERUSER_PASSWORD": PASSWORD, "DJANGO_SUPERUSER_USERNAME": "admin",
            "DJANGO_SUPERUSER_EMAIL": "it@example.org",
        }  # fmt: skip
        self.end("`createsuperuser`", worker, *MANAGE, "createsuperuser", "--no-input")
        self.end("`load_places`", worker, *MANAGE, "load_places")
        self.end("`ai_index`", worker, *MANAGE, "ai_index", "--verbosity", "0")
        self.end("CronJob `verify-indexes`", containers("verify-indexes")["verify-indexes"])
        self.end("CronJob `backup`", containers("backup")["backup"])
        (backup,) = (self.node.folder / "backups").iterdir()
        size = backup.stat().st_size
        self.report.expect(size > 100_000, f"the backup has {size} bytes")
        self.end("`ai_health_check`", worker, *MANAGE, "ai_health_check", "--timeout", "90")

    def ask(self) -> None:
        """Ask what people ask, through nginx."""
        expect, client, headers = self.report.expect, self.client, self.headers()
        page = client.ask("/", **headers)
        expect(page.status == 200, f"the first page: {page.status}")
        plain = client.ask("/", **{**headers, "X_Forwarded_Proto": "http"})
        expect(plain.status == 301, f"the first page without HTTPS: {plain.status}")
        other = client.ask("/", **{**headers, "Host": "other.example.org"})
        expect(other.status == 400, f"another host: {other.status}")
        style = page.body.decode().partition('href="/static/')[2].partition('"')[0]
        static = client.ask(f"/static/{style}", **headers)
        kept = "".join(static.all("cache-control"))
        expect(static.status == 200 and "immutable" in kept, f"{style}: {static.status} {kept}")
        body = json.dumps({"username": "admin", "password": PASSWORD}).encode()
        json_headers = self.headers(Content_Type="application/json")
        token = client.ask("/api/token/", body, **json_headers).json()["access"]
        told = client.ask(
            "/api/chat/stream/", json.dumps({"message": "How many provinces are there?"}).encode(),
            Authorization=f"Bearer {token}", **json_headers,
        )  # fmt: skip
        events = [line for line in told.body.decode().splitlines() if line.startswith("event: ")]
        expect(told.status == 200 and events[-1:] == ["event: answer"], f"{told.status} {events}")
        buffering = told.all("transfer-encoding")
        expect(buffering == ["chunked"], f"the stream comes as {buffering}")
        self.report.line(
            "- Through nginx: a page; HTTPS by the controller's word alone; no other host; a style"
            " sheet that may be kept for ever; a token; a chat in a stream, answered by the offline"
            " provider."
        )

    def table(self, running: list[Running]) -> None:
        """Tell times, and memory beside what the manifests ask for."""
        lines = self.report.lines
        lines += ["", "## Times", "", "| what | seconds |", "| --- | ---: |"]
        lines += [f"| {what} | {seconds:.1f} |" for what, seconds in self.seconds]
        lines += [
            "",
            "## Memory",
            "",
            "After these questions; what processes share is counted once.",
            "",
        ]
        lines += ["| container | MiB | asked for | killed at |", "| --- | ---: | ---: | ---: |"]
        for each in running:
            memory, (asked, most) = each.memory(), each.given()
            lines.append(f"| {each.name} | {memory} | {asked} | {most} |")
            self.report.expect(0 < memory <= asked, f"{each.name} takes {memory} of {asked} MiB")
        lines.append("")

    def stop(self, running: list[Running]) -> None:
        """End all as a cluster does."""
        codes = {each.name: each.stop() for each in running}
        self.report.expect(set(codes.values()) == {0}, f"ended with {codes}")
        self.report.line("- Told to end, each container ended by itself with 0.")


def prove(report: Report, *, is_small: bool) -> None:
    """Judge the files and run the pods."""
    report.lines += ["## Files", ""]
    judge(report)
    report.lines += ["", "## Pods", ""]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="obc-", dir="/tmp")))
        postgres = stack.enter_context(run_postgres())
        redis = stack.enter_context(run_redis())
        with psycopg.connect(postgres.dsn, autocommit=True) as admin:
            admin.execute("CREATE DATABASE site")
        node = Node(
            stack, folder, SECRET_KEY=os.urandom(40).hex(), REDIS_URL=redis.url,
            DATABASE_URL=f"postgres://postgres@{quote(postgres.host, safe='')}:5432/site",
            OBC_SITE_METRICS_TOKEN=os.urandom(20).hex(),
            **({"OBC_SITE_EMBEDDER": "hashing"} if is_small else {}),
        )  # fmt: skip
        cluster = Cluster(node, report)
        running = cluster.begin()
        cluster.fill()
        cluster.ask()
        cluster.table(running)
        cluster.stop(running)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    # Told to end, it ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if find("nginx") is None:
        print("SKIPPED: there is no nginx (on Debian: apt-get install nginx).")
        return
    install("kubernetes_validate")
    report, began = Report(), time.monotonic()
    prove(report, is_small=options.small)
    facts = (
        f"Python {platform.python_version()}, {os.cpu_count()} cores,"
        f" {time.monotonic() - began:.0f} s. Command: `./tests/acceptance/run.sh deploy_kubernetes`"
    )
    lines = ["# The kit on Kubernetes", "", (__doc__ or "").strip(), "", facts, ""]
    Path(options.out).write_text("\n".join([*lines, *report.lines, ""]), encoding="utf-8")
    raise SystemExit("\n".join(report.faults) or 0)


if __name__ == "__main__":
    main()
