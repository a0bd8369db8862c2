"""Kill the indexer with SIGKILL at random points; after the next run, index == queryset.

Every trial edits random rows (saves, deletes, bulk writes without signals), starts
``ai_index`` in its own process, sometimes as a rebuild, sometimes with four workers, kills
it at a random moment of its run, edits again, and lets it run to the end. Then every chunk,
text and vector, is compared with every row.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.servers.new_database import use_database

MANAGE = [sys.executable, "-m", "django"]


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*MANAGE, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def finish(*arguments: str) -> float:
    began = time.monotonic()
    process = start(*arguments)
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{errors.decode()}")
    return time.monotonic() - began


def edit(chance: random.Random, rows: int) -> None:
    """Change rows in the ways a project does, with and without signals."""
    from tests.testapp.models import Place

    for place in Place.objects.order_by("?")[: rows // 50]:
        place.name = f"saved {chance.random()}"
        place.save()
    Place.objects.filter(pk__in=list(ids(chance, rows // 50))).delete()
    Place.objects.filter(pk__in=list(ids(chance, rows // 50))).update(
        name=f"updated {chance.random()}"
    )
    gone = Place.objects.filter(pk__in=list(ids(chance, rows // 100)))
    gone._raw_delete(gone.db)
    missing = rows - Place.objects.count()
    Place.objects.bulk_create(
        [Place(name=f"bulk {chance.random()}", province="Sulu") for _ in range(missing)]
    )


def ids(chance: random.Random, count: int) -> list[int]:
    from tests.testapp.models import Place

    known = list(Place.objects.values_list("pk", flat=True))
    return chance.sample(known, min(count, len(known)))


def differences() -> tuple[int, int]:
    """Return (rows that differ from their chunks, chunks compared)."""
    from django_obc_ai.indexes import generations, get_index
    from django_obc_ai.models import Chunk
    from django_obc_ai.services.embeddings import EmbeddingService

    index = get_index("places")
    serving = generations.serving_of(index)
    held: dict[str, list[str]] = {}
    chunks = list(Chunk.objects.filter(generation=serving).order_by("object_key", "number"))
    service = EmbeddingService(index.embedder)
    texts = [chunk.text for chunk in chunks]
    vectors = service.embed_documents(texts, state=bytes(serving.fitted_state))
    for chunk, vector in zip(chunks, vectors, strict=True):
        # A vector that is not its text's counts as another text.
        is_right = bytes(chunk.vector) == vector.astype("<f4").tobytes()
        text = chunk.text if is_right else f"wrong vector: {chunk.text}"
        held.setdefault(chunk.object_key, []).append(text)
    wanted = {
        index.key_of(row): [each.text for each in index.split(index.get_text(row))]
        for row in index.get_queryset()
    }
    wrong = {key for key in held.keys() | wanted.keys() if held.get(key) != wanted.get(key)}
    return len(wrong), len(chunks)


def trial(chance: random.Random, rows: int, start_up: float, full_run: float) -> tuple[float, bool]:
    """Edit, kill a run at a random point, edit, and let a run end.

    Returns:
        When it was killed, or had ended; whether it was running then.
    """
    edit(chance, rows)
    options = ["--rebuild"] if chance.random() < 0.5 else []
    options += ["--workers", "4"] if chance.random() < 0.5 else []
    began = time.monotonic()
    process = start("ai_index", "places", "--batch-size", "20", "--verbosity", "0", *options)
    try:
        process.wait(chance.uniform(min(0.8 * start_up, full_run), full_run))
        was_running = False
    except subprocess.TimeoutExpired:
        was_running = True
    passed = time.monotonic() - began
    process.send_signal(signal.SIGKILL)
    process.communicate()
    edit(chance, rows)
    finish("ai_index", "places", "--verbosity", "0")
    return passed, was_running


def run(database: str, trials: int, rows: int, seed: int) -> list[str]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        use_database(database, folder, stack)
        import django

        django.setup()
        from django.db import connection

        from tests.testapp.models import Place

        finish("migrate", "--run-syncdb", "--verbosity", "0")
        chance = random.Random(seed)
        Place.objects.bulk_create([Place(name=f"place {n}", province="Lanao") for n in range(rows)])
        start_up = finish("check")
        full_run = finish(
            "ai_index", "places", "--batch-size", "20", "--rebuild", "--verbosity", "0"
        )
        lines, killed = [], 0
        number, longest = 0, full_run
        while killed < trials:
            number += 1
            wait, was_running = trial(chance, rows, start_up, longest)
            killed += was_running
            if not was_running:
                longest = min(longest, wait)  # the first run was slower: other work, cold files
            wrong, chunks = differences()
            state = "killed" if was_running else "had ended"
            lines.append(f"| {number} | {wait:.2f} s, {state} | {chunks} | {wrong} |")
            print(f"{database} {lines[-1]}", flush=True)
            if wrong:
                raise SystemExit(f"{wrong} rows differ from their chunks in trial {number}.")
            if number > 10 * trials:
                raise SystemExit(f"Only {killed} of {number} runs were alive when killed.")
        connection.close()
        summary = (
            f"{number} trials over {rows} rows, {killed} of them killed while running; a full run"
            f" takes {full_run:.1f} s, of which {start_up:.1f} s is Python's start. Differences"
            " after the next run: **0** in every trial."
        )
        head = [
            f"## {database}",
            "",
            summary,
            "",
            "| trial | killed after | chunks compared | rows that differ |",
            "|---|---|---|---|",
        ]
        return [*head, *lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--only", choices=("sqlite", "postgres"))
    options = parser.parse_args()
    trials, rows = (4, 400) if options.small else (20, 2_000)
    if options.only:
        part = run(options.only, trials, rows, options.seed)
        Path(options.out).write_text("\n".join(part), encoding="utf-8")
        return
    command_line = (
        f"Python {platform.python_version()}, {os.cpu_count()} cores. Command:"
        " `./tests/acceptance/run.sh indexing_kill`"
    )
    parts = [
        "# Killing the indexer",
        "",
        (__doc__ or "").strip(),
        "",
        command_line,
        "",
    ]
    for database in ("sqlite", "postgres"):
        with tempfile.NamedTemporaryFile() as part_file:
            # A process of its own for each database: Django is set up once per process.
            command = [sys.executable, __file__, "--only", database, "--out", part_file.name]
            command += ["--seed", str(options.seed), *(["--small"] if options.small else [])]
            if subprocess.run(command, check=False).returncode:
                raise SystemExit(1)
            parts.append(Path(part_file.name).read_text(encoding="utf-8"))
    Path(options.out).write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
