"""Four processes of gunicorn, and what is asked of them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

WORKERS = 4
TOKEN = "only-for-this-proof"
Scrape = dict[tuple[str, ...], Decimal]


class Site:
    """Gunicorn, and what is asked of it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.workers: set[int] = set()

    def get(self, path: str) -> tuple[str, int]:
        request = urllib.request.Request(  # noqa: S310 - our own server
            self.url + path, headers={"Authorization": f"Bearer {TOKEN}"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            worker = int(answer.headers["X-Worker"])
            self.workers.add(worker)
            return answer.read().decode(), worker

    def scrape(self) -> tuple[Scrape, int]:
        from prometheus_client.parser import text_string_to_metric_families

        text, worker = self.get("/metrics")
        return {
            (each.name, *each.labels.values()): Decimal(repr(each.value))
            for family in text_string_to_metric_families(text)
            for each in family.samples
        }, worker

    def scrape_each(self, count: int) -> dict[int, Scrape]:
        """One scrape of every worker; several are asked at once, so that all get their turn."""
        found: dict[int, Scrape] = {}
        for _ in range(200):
            threads = [
                threading.Thread(target=lambda: found.update([self.scrape()[::-1]]))
                for _ in range(WORKERS * 2)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if len(found) >= count:
                return found
        raise SystemExit(f"Only the workers {sorted(found)} answered.")


def falling(before: Scrape, after: Scrape) -> list[str]:
    ends = ("_total", "_count", "_bucket", "_sum")
    return [str(key) for key in before if key[0].endswith(ends) and after[key] < before[key]]


@contextmanager
def gunicorn(port: int, environment: dict[str, str]) -> Iterator[None]:
    command = [
        sys.executable, "-m", "gunicorn", "--workers", str(WORKERS), "--bind", f"127.0.0.1:{port}",
        "--log-level", "warning", "--no-control-socket",
        "tests.acceptance._metrics_project:application",
    ]  # fmt: skip
    process = subprocess.Popen(command, env={**os.environ, **environment})
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def wait_for(site: Site) -> None:
    for _ in range(300):
        try:
            site.get("/metrics")
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("gunicorn does not answer.")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
