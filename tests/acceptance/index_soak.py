"""Any mix of edits, kills and lost files: index == queryset within a second, in every process.

Hypothesis draws what happens in each round: lists of creates, saves, deletes, bulk writes, moves
out of the queryset, changes of owner and rollbacks for two threads in each of two "web workers";
which of the workers and whether the indexer (building, rebuilding or repairing in a loop) is ended
by SIGKILL, and when; and what is done to the files of the vector store, if it keeps any: lost,
truncated, overwritten, a bit flipped, replaced by those of another database, of another history
or by older ones. All processes, and two that only search, search meanwhile as three users.

When the last edit has ended, a clock starts. Each process that is left must come to find exactly
the rows: all vectors that its searches read, with their texts and scores, and what each user may
see, compared with the queryset; the clock stops when a process has read the index that turns out
equal. No search may raise, return a row that was deleted before it began, or one outside
visible_to.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

LIMIT_SECONDS = 1.0
ROUND_SECONDS = 1.2
COMBINATIONS = [(d, s) for d in ("sqlite", "postgres") for s in ("faiss", "numpy")]
NODE = Path(__file__).with_name("_soak_node.py")


class Node:
    """A process that searches, and does what it is told; see `_soak_node.py`."""

    def __init__(self, log: Path) -> None:
        with log.open("a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(NODE)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.searches = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.answers.put(json.loads(line))
        self.answers.put(None)

    def tell(self, *command: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        told = self.answers.get(timeout=120)
        if told is None:
            raise SystemExit(f"A process of the soak ended with {self.process.wait()}.")
        self.searches = told.get("searches", self.searches)
        return told

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Cluster:
    """The processes of one soak, and what came of it."""

    def __init__(self, folder: Path, store: str) -> None:
        from tests.acceptance._soak_files import Files

        self.store, self.fault_file, self.log = store, folder / "faults", folder / "log"
        (folder / "scratch").mkdir()
        self.files = Files(folder / "vectors", folder / "scratch")
        self.watchers = [Node(self.log) for _ in range(2)]
        self.workers = [Node(self.log) for _ in range(2)]
        self.indexer = Node(self.log)
        for node in [*self.watchers, *self.workers, self.indexer]:
            node.answer()
        self.total: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.faults: list[str] = []

    def play(self, plan: dict[str, Any]) -> None:
        """Play one round."""
        began = time.monotonic()
        for worker, lists in zip(self.workers, plan["edits"], strict=True):
            worker.tell("edit", lists)
        self.indexer.tell("index", plan["indexer"], ROUND_SECONDS)
        editing, fresh = list(self.workers), []
        for at, kind, pick in sorted(plan["events"]):
            time.sleep(max(0.0, began + at / 100 * ROUND_SECONDS - time.monotonic()))
            if kind == "kill a worker":
                number = pick % len(self.workers)
                if self.workers[number] not in editing:
                    continue
                editing.remove(self.workers[number])
                fresh.append(self.replace(self.workers[number]))
                self.workers[number] = fresh[-1]
            elif kind == "kill the indexer":
                if self.indexer in fresh:
                    continue
                fresh.append(self.replace(self.indexer))
                self.indexer = fresh[-1]
            elif self.store == "numpy" or not self.files.damage(kind, pick):
                continue
            self.total[kind] += 1
        for worker in editing:
            self.total.update({k: v for k, v in worker.answer().items() if k != "searches"})
        ended = time.monotonic()
        self.compare([*self.watchers, *editing], ended, plan)
        for node in fresh:
            node.answer()
        if self.indexer not in fresh:
            self.total["runs of the indexer"] += self.indexer.answer().get("runs", 0)
        self.compare([*fresh, self.indexer], None, plan)
        self.total["rounds"] += 1
        self.verify(plan)

    def replace(self, node: Node) -> Node:
        node.kill()
        self.total["searches of killed processes"] += node.searches
        return Node(self.log)

    def compare(self, nodes: list[Node], since: float | None, plan: dict[str, Any]) -> None:
        """Wait until each process finds exactly the rows; note how long that took."""
        nodes = list(dict.fromkeys(nodes))
        for node in nodes:
            node.tell("compare", time.monotonic() if since is None else since)
        for node in nodes:
            told = node.answer()
            self.total["comparisons"] += 1
            if told["wrong"]:
                self.fail(f"after {told['seconds']:.1f} s: {told['wrong']}", plan)
            elif since is not None:
                self.seconds.append(told["seconds"])

    def verify(self, plan: dict[str, Any]) -> None:
        """Let the product's own verification agree, and the outbox be empty."""
        from django_obc_ai.models import DirtyRow
        from django_obc_ai.services.indexing import IndexingService

        end = time.monotonic() + 10
        while DirtyRow.objects.exists() and time.monotonic() < end:
            time.sleep(0.02)
        told = IndexingService().verify("places")
        if not told.is_equal:
            self.fail(f"verify() says {told}", plan)
        if self.fault_file.exists():
            for line in self.fault_file.read_text().splitlines():
                self.fail(line, plan)
            self.fault_file.unlink()

    def fail(self, fault: str, plan: dict[str, Any]) -> None:
        self.faults.append(fault)
        events = [(at, kind, pick) for at, kind, pick in sorted(plan["events"])]
        print(f"FAULT in round {self.total['rounds']}: {fault}\n  {plan['indexer']}, {events}")
        tail = self.log.read_text().splitlines()[-40:]
        print("".join(f"  {line}\n" for line in tail), flush=True)

    def end(self) -> int:
        """End all processes; return how many searches they made."""
        nodes = [*self.watchers, *self.workers, self.indexer]
        for node in nodes:
            assert node.process.stdin
            node.process.stdin.close()
            node.process.wait(timeout=60)
        return self.total["searches of killed processes"] + sum(node.searches for node in nodes)


def plans() -> Any:
    """Return the strategy that draws a round."""
    from hypothesis import strategies as st

    from tests.acceptance._soak_edits import KINDS, WORDS
    from tests.acceptance._soak_files import DAMAGES

    numbers = st.integers(0, 9_999)
    edits = st.tuples(
        st.sampled_from(sorted(KINDS)), numbers, st.sampled_from(WORDS), numbers, st.booleans()
    )
    of_thread = st.lists(edits, min_size=12, max_size=40)
    kinds = ["kill a worker", "kill the indexer", *sorted(DAMAGES)]
    event = st.tuples(st.integers(0, 100), st.sampled_from(kinds), numbers)
    kill = st.tuples(st.integers(0, 100), st.sampled_from(kinds[:2]), numbers)
    return st.fixed_dictionaries(
        {
            "edits": st.tuples(*[st.tuples(of_thread, of_thread)] * 2),
            "indexer": st.sampled_from(["rebuild", "index", "verify"]),
            # A kill in each round, and whatever else happens.
            "events": st.tuples(kill, st.lists(event, max_size=6)).map(lambda x: [x[0], *x[1]]),
        }
    )


def soak(cluster: Cluster, options: argparse.Namespace) -> None:
    """Play rounds until the time is over."""
    from hypothesis import HealthCheck, Phase, given, seed, settings

    end = time.monotonic() + options.seconds
    batch = 0
    while time.monotonic() < end and not cluster.faults:

        @seed(options.seed + batch)
        @settings(
            max_examples=3 if options.small else 12,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(plans())
        def play(plan: dict[str, Any]) -> None:
            if time.monotonic() < end and not cluster.faults:
                cluster.play(plan)

        play()
        batch += 1


def run(database: str, options: argparse.Namespace) -> list[str]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        os.environ["SOAK_FOLDER"], os.environ["SOAK_STORE"] = str(folder), options.store
        os.environ["OBC_AI_TEST_SQLITE"] = str(folder / "soak.sqlite3")
        if database == "postgres":
            import psycopg

            from tests.servers.postgres import run_postgres

            server = stack.enter_context(run_postgres())
            with psycopg.connect(server.dsn, autocommit=True) as admin:
                admin.execute("CREATE DATABASE test")
            os.environ["OBC_AI_TEST_DATABASE"] = "postgres"
            os.environ["OBC_AI_TEST_POSTGRES_HOST"] = server.host
        from tests.acceptance._soak_node import set_up

        set_up()
        from django.contrib.auth import get_user_model
        from django.core.management import call_command
        from django.db import connections

        from django_obc_ai.services.indexing import IndexingService
        from tests.testapp.models import Place

        call_command("migrate", run_syncdb=True, verbosity=0)
        for name in ("amina", "badal"):
            get_user_model().objects.create(username=name)
        Place.objects.bulk_create([Place(name=f"river {n}", province="Sulu") for n in range(250)])
        for name in ("places", "uuids", "slugs", "composites"):
            IndexingService().index(name)
        connections.close_all()
        cluster = Cluster(folder, options.store)
        soak(cluster, options)
        searches = cluster.end()
        connections.close_all()
    return judge(f"{database}, {options.store}", cluster, searches, options)


def judge(name: str, cluster: Cluster, searches: int, options: argparse.Namespace) -> list[str]:
    """Return the report's lines; end the run if a promise was broken."""
    total, times = cluster.total, sorted(cluster.seconds)
    if cluster.faults or not (times and searches and total["edits"]):
        raise SystemExit(f"{name}: {len(cluster.faults)} faults, {searches} searches, {total}")
    at = {share: times[round(share / 100 * (len(times) - 1))] for share in (50, 95, 100)}
    waits = f"{at[50]:.2f} / {at[95]:.2f} / {at[100]:.2f} s"
    # At reduced size, on a machine that does other things, time is reported alone.
    if at[100] > LIMIT_SECONDS and not options.small:
        raise SystemExit(f"{name}: index == queryset after {waits} (p50 / p95 / max)")
    print(f"{name}: {total['rounds']} rounds, equal after {waits}", flush=True)
    kills = total["kill a worker"] + total["kill the indexer"]
    damages = sum(n for kind, n in total.items() if kind in damage_names())
    row = [name, total["rounds"], total["edits"], searches, kills, damages or "no files", waits]
    kinds = ", ".join(f"{kind.replace('_', ' ')} {total[kind]}" for kind in damage_names())
    return ["| " + " | ".join(str(each) for each in row) + " |", kinds if damages else ""]


def damage_names() -> list[str]:
    from tests.acceptance._soak_files import DAMAGES

    return sorted(DAMAGES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=20261125)
    parser.add_argument("--seconds", type=float, help="of each of the four parts")
    parser.add_argument("--store", choices=("faiss", "numpy"))
    parser.add_argument("--only", choices=("sqlite", "postgres"))
    options = parser.parse_args()
    options.seconds = options.seconds or (8.0 if options.small else 150.0)
    if options.only and options.store:
        lines = run(options.only, options)
        Path(options.out).write_text("\n".join(lines), encoding="utf-8")
        return
    rows, details = [], []
    for database, store in COMBINATIONS:
        if options.only not in (None, database) or options.store not in (None, store):
            continue
        with tempfile.NamedTemporaryFile() as part:
            command = [sys.executable, __file__, "--only", database, "--store", store]
            command += ["--out", part.name, "--seed", str(options.seed)]
            command += ["--seconds", str(options.seconds), *(["--small"] if options.small else [])]
            if subprocess.run(command, check=False).returncode:
                raise SystemExit(1)
            row, detail = Path(part.name).read_text(encoding="utf-8").split("\n")
            rows.append(row)
            details += [f"Files, {database}: {detail}.", ""] if detail else []
    parts = ["# Soak of the search index", "", (__doc__ or "").strip(), ""]
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores, seed {options.seed}."
    parts += [f"{machine} Command: `./tests/acceptance/run.sh index_soak`", ""]
    parts += ["| database, store | rounds | edits | searches | SIGKILLs | file damages |"]
    parts[-1] += " index == queryset after, p50 / p95 / max |"
    parts += ["|---|---|---|---|---|---|---|", *rows, "", *details]
    parts += ["No search broke a promise. Edits are those of processes that were not killed.", ""]
    Path(options.out).write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
