"""Random edits in threads and processes, kills and lost files: index == queryset within a second.

Each round starts editors (threads in one process, and two processes) that create, save, delete,
bulk-write, update, roll back and rename rows at random, while searchers search all the time. In
every round one "web worker" that edits and one indexer is killed with SIGKILL, and files of the
vector store are corrupted or removed if it keeps any. When the last edit has committed, a clock
starts: the processes that only search must make the index equal to its rows within a second. Then
every row is compared with every chunk, and what was found with the rows. No search may raise,
return a deleted row, or a row outside visible_to.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

NUMPY = "django_obc_ai.backends.vector_stores.numpy.NumpyVectorStore"
LIMIT_SECONDS = 1.0


def set_up() -> None:
    import django
    from django.conf import settings

    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    store, folder = os.environ["SOAK_STORE"], os.environ["SOAK_FOLDER"]
    options = {} if store == NUMPY else {"path": str(Path(folder) / "vectors")}
    settings.OBC_AI = {"VECTOR_STORES": {"default": {"BACKEND": store, "OPTIONS": options}}}
    django.setup()


def edit(chance: random.Random) -> None:  # noqa: C901 - one branch for each kind of edit
    """Make one random edit, as a project does it."""
    from django.db import DatabaseError, transaction

    from django_obc_ai.services.changes import IndexedQuerySet
    from tests.testapp.models import Place, Tag

    rows = IndexedQuerySet(Place)
    pks = list(Place.objects.order_by("?").values_list("pk", flat=True)[:5])
    name = f"{chance.choice(['river', 'market', 'school', 'coast'])} {chance.randrange(10_000)}"
    hidden = chance.random() < 0.3
    kind = chance.randrange(10)
    if kind == 0 or len(pks) < 5:
        Place.objects.create(name=name, province="Sulu", is_hidden=hidden)
    elif kind == 1:
        for place in Place.objects.filter(pk__in=pks[:2]):
            place.name, place.is_hidden = name, hidden
            # A row that another editor has deleted since is not made anew.
            with contextlib.suppress(DatabaseError):
                place.save(force_update=True)
    elif kind == 2:
        for place in Place.objects.filter(pk__in=pks[:1]):
            place.delete()
    elif kind == 3:
        Place.objects.filter(pk__in=pks[:2]).delete()
    elif kind == 4:
        rows.bulk_create([Place(name=f"{name} {n}", province="Lanao") for n in range(4)])
    elif kind == 5:
        rows.filter(pk__in=pks).update(name=name, is_hidden=hidden)
    elif kind == 6:  # out of the index's queryset, without deleting
        rows.filter(pk__in=pks[:1]).update(name=f"deleted {name}")
    elif kind == 7:
        with contextlib.suppress(ZeroDivisionError), transaction.atomic():
            rows.filter(pk__in=pks).update(name=f"never {name}")
            Place.objects.create(name=f"never {name}")
            raise ZeroDivisionError
    elif kind == 8:
        places = list(Place.objects.filter(pk__in=pks))
        for place in places:
            place.name = name
        rows.bulk_update(places, ["name"])
    else:
        tag, _ = Tag.objects.get_or_create(name=f"tag {chance.randrange(20)}")
        tag.places.set(pks[:3]) if chance.random() < 0.5 else tag.places.clear()


def edit_for(seed: int, seconds: float) -> int:
    """Edit until the time is over; a database that is busy or deadlocked is tried again."""
    from django.db import IntegrityError, OperationalError, connections

    chance, count, end = random.Random(seed), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        # Editors delete each other's rows and tags under their hands; that is theirs to bear.
        with contextlib.suppress(OperationalError, IntegrityError):
            edit(chance)
            count += 1
        time.sleep(chance.uniform(0, 0.02))
    connections.close_all()
    return count


def search_until_told(stop: Path) -> dict[str, Any]:
    """Search as anybody; say how many searches, and every one that broke a promise."""
    from django_obc_ai.services.search import SimilaritySearchService

    service, count, faults = SimilaritySearchService(), 0, []
    while not stop.exists():
        began = time.time()
        try:
            found = service.search("places", "river market coast", user=None, k=20)
        except Exception as error:  # any error is what this looks for
            faults.append(f"{type(error).__name__}: {error}"[:200])
            continue
        finally:
            count += 1
        for each in found:
            place = each.object
            if place.is_hidden or place.name.startswith(("deleted ", "never ")):
                faults.append(f"{place.pk} {place.name!r} must not be found ({began})")
        time.sleep(0.005)
    return {"count": count, "faults": faults}


def wait_for_equality() -> tuple[float, int]:
    """Wait until nothing waits, without a hand in it; return seconds and rows that differ."""
    from django_obc_ai.models import DirtyRow
    from django_obc_ai.services.indexing import IndexingService

    began = time.monotonic()
    while DirtyRow.objects.exists() and time.monotonic() - began < 30:
        time.sleep(0.01)
    seconds = time.monotonic() - began
    report = IndexingService().verify("places")
    bad = [*report.different, *report.broken, *report.dangling, *report.unreadable]
    return seconds, len(bad) + report.waiting + bool(report.reason)


def damage_files(chance: random.Random, folder: Path) -> str:
    """Corrupt or remove one file of the vector store; say which, "" if there are none."""
    files = [each for each in (folder / "vectors").rglob("*") if each.is_file()]
    if not files:
        return ""
    victim = chance.choice(files)
    with contextlib.suppress(OSError):
        if chance.random() < 0.5:
            victim.unlink()
            return "removed"
        # Replaced whole: to shorten a file that others have mapped would kill those.
        other = victim.with_name(f"{victim.name}.soak")
        other.write_bytes(b"\0garbage" * 64)
        other.replace(victim)
    return "corrupted"


def worker(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, "--out", "-", "--role", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )


def result(process: subprocess.Popen[str]) -> Any:
    output, _ = process.communicate(timeout=120)
    if process.returncode:
        raise SystemExit(f"A process of the soak failed with {process.returncode}.")
    return json.loads(output.splitlines()[-1])


def play(chance: random.Random, seconds: float, folder: Path) -> dict[str, Any]:
    """Play one round."""
    seed = chance.randrange(10**9)
    editors = [worker("edit", str(seed + n), str(seconds)) for n in range(2)]
    victim = worker("edit", str(seed + 2), "600")
    indexer = worker("index")
    threads = [
        threading.Thread(target=edit_for, args=(seed + 3 + n, seconds + 2.0)) for n in range(2)
    ]
    for thread in threads:
        thread.start()
    time.sleep(chance.uniform(0.5, 0.9) * seconds)
    damage = damage_files(chance, folder)
    edits = sum(result(process) for process in editors)
    for thread in threads:
        thread.join()
    # Killed in the middle of their work, last of all: what they leave is the searchers' to do.
    for process in (indexer, victim):
        process.send_signal(signal.SIGKILL)
        process.communicate()
    waited, wrong = wait_for_equality()
    return {"edits": edits, "waited": waited, "wrong": wrong, "damage": damage}


def run(database: str, options: argparse.Namespace) -> list[str]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
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
        set_up()
        from django.core.management import call_command
        from django.db import connections

        from django_obc_ai.services.indexing import IndexingService
        from tests.testapp.models import Place

        call_command("migrate", run_syncdb=True, verbosity=0)
        Place.objects.bulk_create([Place(name=f"river {n}", province="Sulu") for n in range(300)])
        IndexingService().index("places")
        connections.close_all()
        stop = folder / "stop"
        searchers = [worker("search", str(stop)) for _ in range(2)]
        chance, lines, worst, edits = random.Random(options.seed), [], 0.0, 0
        wrong = 0
        rounds, seconds = (2, 4.0) if options.small else (options.rounds, 6.0)
        for number in range(1, rounds + 1):
            told = play(chance, seconds, folder)
            worst, edits = max(worst, told["waited"]), edits + told["edits"]
            # At reduced size, on a machine that does other things, time is reported alone.
            wrong += told["wrong"] + (told["waited"] > LIMIT_SECONDS and not options.small)
            lines.append(
                f"| {number} | {told['edits']} | {told['damage'] or 'no files'} |"
                f" {told['waited']:.2f} s | {told['wrong']} |"
            )
            print(f"{database} {lines[-1]}", flush=True)
        stop.touch()
        searched = [result(process) for process in searchers]
        connections.close_all()
    faults = [fault for each in searched for fault in each["faults"]]
    count = sum(each["count"] for each in searched)
    if wrong or faults or not count or not edits:
        raise SystemExit(f"{database}: {wrong} faults of rounds; searches: {faults[:5]}")
    summary = (
        f"{rounds} rounds with more than {edits} edits and {count} searches; no search broke a"
        " promise. Each round killed an editor and an indexer. Equal after at most"
        f" {worst:.2f} s."
    )
    return [
        f"## {database}",
        "",
        summary,
        "",
        "| round | edits of the surviving processes | store's files | equal after | rows wrong |",
        "|---|---|---|---|---|",
        *lines,
        "",
    ]


def play_role(role: list[str]) -> None:
    set_up()
    name, *arguments = role
    if name == "edit":
        print(edit_for(int(arguments[0]), float(arguments[1])))
    elif name == "search":
        print(json.dumps(search_until_told(Path(arguments[0]))))
    else:
        from django_obc_ai.services.indexing import IndexingService

        while True:
            IndexingService().index("places", rebuild=True, batch_size=20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=20261125)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--store", default=NUMPY, help="dotted path of a vector store")
    parser.add_argument("--only", choices=("sqlite", "postgres"))
    parser.add_argument("--role", nargs="+")
    options = parser.parse_args()
    if options.role:
        play_role(options.role)
        return
    if options.only:
        Path(options.out).write_text("\n".join(run(options.only, options)), encoding="utf-8")
        return
    parts = ["# Soak of the search index", "", (__doc__ or "").strip(), ""]
    parts += [f"Python {platform.python_version()}, {os.cpu_count()} cores, `{options.store}`.", ""]
    for database in ("sqlite", "postgres"):
        with tempfile.NamedTemporaryFile() as part:
            command = [sys.executable, __file__, "--only", database, "--out", part.name]
            command += ["--seed", str(options.seed), "--store", options.store]
            command += ["--rounds", str(options.rounds), *(["--small"] if options.small else [])]
            if subprocess.run(command, check=False).returncode:
                raise SystemExit(1)
            parts.append(Path(part.name).read_text(encoding="utf-8"))
    Path(options.out).write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
