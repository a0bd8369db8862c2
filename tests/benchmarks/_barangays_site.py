"""The example with its places, and gunicorn that serves it; see barangays.py."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.acceptance._metrics_site import free_port
from tests.benchmarks._barangays_memory import Memory, children_of, memory_of

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 4
_EMBEDDERS = "django_obc_ai.backends.embedders"
_STORES = "django_obc_ai.backends.vector_stores"
STORES = {
    "FaissVectorStore": f"{_STORES}.faiss.FaissVectorStore",
    "NumpyVectorStore": f"{_STORES}.numpy.NumpyVectorStore",
}


class Example:
    """One folder with the example's database and files, for one embedder."""

    def __init__(self, folder: Path, embedder: str, options: Mapping[str, Any] | None = None):
        """Make the tables.

        Args:
            folder: For all that the example writes.
            embedder: Such as "hashing.HashingEmbedder".
            options: Its options.
        """
        self.folder = folder
        folder.mkdir()
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("OBC_", "DJANGO_"))},
            "DJANGO_SETTINGS_MODULE": "tests.benchmarks._barangays_settings",
            "PYTHONPATH": os.pathsep.join(
                [str(ROOT / "example_project"), os.environ.get("PYTHONPATH", "")]
            ).rstrip(os.pathsep),
            "OBC_SITE_VAR": str(folder), "OBC_SITE_DEBUG": "0",
            "OBC_SITE_HOSTS": "127.0.0.1", "OBC_SITE_SECRET_KEY": "only for this measurement",
            "OBC_BENCH_EMBEDDER": f"{_EMBEDDERS}.{embedder}",
            "OBC_BENCH_OPTIONS": json.dumps(dict(options or {})),
        }  # fmt: skip
        self.manage("migrate", "--verbosity", "0")

    def environment(self, store: str) -> dict[str, str]:
        return {**self._environment, "OBC_BENCH_STORE": STORES[store]}

    def manage(self, *command: str) -> float:
        """Run a command of Django's; return its seconds, start and end of Python included."""
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-P", "-m", "django", *command],
            check=True, env=self.environment("FaissVectorStore"), stdout=subprocess.DEVNULL,
        )  # fmt: skip
        return time.perf_counter() - began

    def inside(self, store: str, queries: Sequence[str], documents: int) -> dict[str, Any]:
        """Return what `_barangays_inside.py` measures."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", "tests.benchmarks._barangays_inside"],
            input=json.dumps({"queries": queries, "documents": documents}),
            env=self.environment(store), check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        return dict(json.loads(done.stdout))

    @contextmanager
    def served(self, store: str) -> Iterator[Site]:
        """Serve it by four processes."""
        port = free_port()
        command = [
            sys.executable, "-P", "-m", "gunicorn", "obc_site.wsgi:application",
            "--workers", str(WORKERS), "--worker-class", "gthread", "--threads", "2",
            "--bind", f"127.0.0.1:{port}", "--log-level", "warning", "--no-control-socket",
            "--chdir", str(ROOT / "example_project"),
        ]  # fmt: skip
        process = subprocess.Popen(command, env=self.environment(store))
        try:
            yield Site(process, port, self.folder / "vectors")
        finally:
            process.terminate()
            process.wait(60)


class Site:
    """Gunicorn, what is asked of it, and what its processes hold."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, files: Path) -> None:
        self._process, self.port, self._files = process, port, files
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/search/").read()
                return
            except urllib.error.HTTPError as error:
                raise SystemExit(f"The search page answers {error.code}.") from error
            except OSError as error:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise SystemExit("gunicorn does not answer.") from error
                time.sleep(0.1)

    def ask(self, queries: Sequence[str], *, people: int, requests: int) -> list[tuple[str, float]]:
        """Let people search; return the process and the milliseconds of each page.

        Raises:
            SystemExit: A page was no good answer.
        """
        facts = {"port": self.port, "queries": queries, "people": people, "requests": requests}
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("_barangays_people.py"))],
            input=json.dumps(facts), check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        told = json.loads(done.stdout)
        if told["failures"]:
            raise SystemExit(f"{len(told['failures'])} pages failed: {told['failures'][:3]}")
        return [(worker, took) for worker, took in told["answers"]]

    def warm(self, queries: Sequence[str]) -> list[float]:
        """Ask until every process has answered; return the milliseconds of its first page."""
        first: dict[str, float] = {}
        for _ in range(100):
            for worker, took in self.ask(queries, people=2 * WORKERS, requests=2 * WORKERS):
                first.setdefault(worker, took)
            if len(first) == WORKERS:
                return list(first.values())
        raise SystemExit(f"Only the processes {sorted(first)} answered.")

    def memory(self) -> list[Memory]:
        """Return what each process holds."""
        return [memory_of(pid, self._files) for pid in children_of(self._process.pid)]


def queries_of(count: int, texts: tuple[list[str], list[str]], *, prefix: str = "") -> list[str]:
    """Return "<barangay> in <city>" of so many places, spread over those whose text has a word.

    Args:
        count: How many.
        texts: See `_places.texts`.
        prefix: Of the documents that count, by a regular expression.
    """
    chosen = [q for d, q in zip(*texts, strict=True) if re.search(prefix, d)]
    return chosen[:: max(1, len(chosen) // count)][:count]
