"""Checks of what the site does by itself: worker, provider, health, indexes, folders, backups."""

from __future__ import annotations

import datetime
import os
import shutil
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from deploy.verify import processes
from deploy.verify.ai_installed import suite
from deploy.verify.checks import Failed, Skipped
from deploy.verify.context import Context

#: How long a worker may take to answer, and a job to be done.
PING_SECONDS, JOB_SECONDS = 5, 90
#: Generous: a machine may be busy with something else.
_HEALTH_SECONDS = 30
#: A beat that was on its way when the worker answered is done within this.
_ON_ITS_WAY = datetime.timedelta(seconds=5)
_MEGABYTE = 1024 * 1024
_LEAST_FREE = 500 * _MEGABYTE
_NAMED = 5


@suite.check("worker", "Does a worker answer at the broker?", needs=("redis",))
def worker(context: Context) -> str:
    """Ping Celery's workers."""
    from obc_site.celery import app

    answers = app.control.ping(timeout=PING_SECONDS)
    names = sorted(name for answer in answers for name in answer)
    if not names:
        raise Failed(
            "no worker answers: nothing is indexed, no job is done."
            f" {processes.how_to_start(context, 'worker')}"
        )
    here = [name for name in names if name.partition("@")[2] == socket.gethostname()]
    if not here and processes.runs_here(context, "worker"):
        raise Failed(
            f"no worker of this host ({socket.gethostname()}) answers, only {', '.join(names)}."
            f" {processes.how_to_start(context, 'worker')}"
        )
    # The check beat waits for a beat that is newer; meanwhile others are made.
    context.seen["worker"] = datetime.datetime.now(datetime.UTC) + _ON_ITS_WAY
    return ", ".join(names) + ("" if here else "; none of them is of this host")


@suite.check("beat-alive", "Is there a scheduler?", needs=("configuration",))
def beat_alive(context: Context) -> str:
    """Look for its process, where it writes down which that is."""
    context.seen["beat-alive"] = False
    path = context.home / "run" / "beat.pid"
    how = processes.how_to_start(context, "beat")
    if not path.exists():
        if processes.is_supervised(context):
            raise Failed(f"beat does not run: there is no {path}. {how}")
        del context.seen["beat-alive"]  # the check beat waits for what it does
        raise Skipped(f"there is no {path}; see the checks programs and beat")
    try:
        number = int(path.read_text())
        command = Path(f"/proc/{number}/cmdline").read_bytes()
    except (ValueError, OSError):
        raise Failed(f"beat does not run: the process in {path} is gone. {how}") from None
    if b"beat" not in command.split(b"\0"):
        raise Failed(f"beat does not run: {path} names another process, {number}. {how}")
    context.seen["beat-alive"] = True
    return f"process {number}"


@suite.check("provider", "Does the provider accept the key, and know the model?",
             needs=("configuration",))  # fmt: skip
def provider(context: Context) -> str:
    """Ask it what costs nothing."""
    from django_obc_ai.services.health import check_health

    has_key = context.configured().google_api_key is not None
    items = check_health(only=("provider",), timeout_seconds=20).items
    found = [each for each in items if each.name.startswith("provider")]
    bad = [each for each in found if each.status in ("error", "unknown")]
    if bad:
        told = "; ".join(f"{each.name}: {each.message} {each.hint}".strip() for each in bad)
        what = ""
        if has_key and any(each.status == "error" for each in bad):
            what = "Look at GOOGLE_API_KEY and OBC_SITE_GEMINI_MODEL in .env."
        elif has_key:
            what = (
                "It was not reached, or is out of order: look at this server's way out (DNS,"
                " firewall, proxy), and try again; the key was not refused."
            )
        raise Failed(f"{told} {what}".strip())
    told = "; ".join(f"{each.message} {each.hint}".strip() for each in found)
    return told if has_key else f"{told} Without GOOGLE_API_KEY answers come from rules, for free."


@suite.check(
    "job", "Is a job done in the background?", needs=("worker", "provider", "migrations", "web")
)
def job(context: Context) -> str:
    """Submit one over HTTPS, and wait for its end."""
    from django_obc_ai.models import Job

    visitor = context.visitor(is_superuser=True)
    submitted = visitor.send("/api/jobs/", {"prompt": f"Say yes. ({context.token()})"})
    if submitted.status != 202:
        raise Failed(f"/api/jobs/ answers {submitted.status}: {submitted.text[:200]}")
    key = submitted.json()["id"]
    end = time.monotonic() + JOB_SECONDS
    while not Job.objects.filter(pk=key, finished_at__isnull=False).exists():
        if time.monotonic() > end:
            status = Job.objects.values_list("status", flat=True).get(pk=key)
            visitor.send(f"/api/jobs/{key}/cancel/", {})
            raise Failed(
                f"a job is still {status} after {JOB_SECONDS} seconds: look at"
                f" {context.home}/log/worker.log, and whether a provider is paused"
            )
        time.sleep(0.5)
    found = visitor.get(f"/api/jobs/{key}/").json()
    if found["status"] != "succeeded":
        error = (found["result"] or {}).get("error")
        raise Failed(f"a job ended as {found['status']} ({error}): see the check provider")
    return "submitted over HTTPS, done by a worker"


@suite.check("vectors", "Can the site write its index files?", needs=("configuration",))
def vectors(context: Context) -> str:
    """Write a file beside them, as the site's user."""
    from django.conf import settings

    options = settings.OBC_AI["VECTOR_STORES"]["default"]["OPTIONS"]
    path = Path(options["path"])
    name = "OBC_AI['VECTOR_STORES']['default'] has the path"
    if path.exists() and not path.is_dir():
        raise Failed(f"{name} {path}, which is a file: move it away, make a folder, run ai_index")
    if not path.exists():
        raise Failed(f"{name} {path}, which is not there: make it, and run manage.sh ai_index")
    below = [*path.glob("*/*"), *path.glob("*/*/words")]
    folders = [path, *(each for each in below if each.is_dir())]
    for folder in folders:
        try:
            with tempfile.NamedTemporaryFile(dir=folder, prefix="new-verify-") as file:
                file.write(b"written to see whether that is possible")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise Failed(
                f"{name} {path}; {folder} cannot be written ({error.strerror}): give it to the"
                " site's user, or make room"
            ) from None
    return f"{path}, {len(folders)} folders"


@suite.check(
    "health", "Is every part of django-obc-ai in place?", needs=("migrations", "redis", "vectors")
)
def health(context: Context) -> str:
    """Look at all parts as ai_health_check does; providers have a check of their own."""
    from django_obc_ai.services.health import check_health

    items = check_health(may_ping=False, timeout_seconds=_HEALTH_SECONDS).items
    bad = [each for each in items if each.status in ("error", "unknown")]
    told = [each for each in items if each.status == "warning"]
    if bad:
        raise Failed("; ".join(_item(each) for each in bad))
    warnings = f"; warnings: {'; '.join(_item(each) for each in told)}" if told else ""
    return f"{len(items)} parts, none broken{warnings}"


def _item(each: Any) -> str:
    return f"{each.name}: {each.message} {each.hint}".strip()


@suite.check("index", "Do the indexes equal the data?", needs=("migrations",))
def index(context: Context) -> str:
    """Compare every row with its chunks."""
    from django_obc_ai.indexes import get_indexes
    from django_obc_ai.services.indexing import IndexingService

    told = []
    for each in get_indexes():
        found = IndexingService().verify(each.name)
        repair = f"Run manage.sh ai_index {each.name} --verify --repair"
        if found.reason:
            raise Failed(f"index {each.name}: {found.reason}. Run manage.sh ai_index {each.name}")
        for what, keys in (
            ("stale: rows differ from what is indexed", found.different),
            ("broken: vectors are no numbers", found.broken),
            ("stale: rows are gone and still found", found.dangling),
            ("unreadable rows", found.unreadable),
        ):
            if keys:
                named = ", ".join(keys[:_NAMED]) + (", …" if len(keys) > _NAMED else "")
                raise Failed(f"index {each.name} is {what}, {len(keys)}: {named}. {repair}.")
        if not found.rows:
            raise Failed(f"index {each.name} has no rows: load data, and run manage.sh ai_index")
        told.append(f"{each.name}: {found.rows} rows, {found.chunks} chunks, {found.waiting} wait")
    return "; ".join(told)


@suite.check("index-files", "Do the index files hold what the database does?", needs=("index",
             "vectors"))  # fmt: skip
def index_files(context: Context) -> str:
    """Load them, and look for some chunks by their own vectors."""
    import numpy as np

    from django_obc_ai.indexes import get_indexes
    from django_obc_ai.indexes.replica import sync
    from django_obc_ai.models import Chunk

    told = []
    for each in get_indexes():
        replica = sync(each)
        rows = Chunk.objects.using(each.database).filter(generation=replica.generation.id)
        held, wanted = replica.store.count(each.name), rows.count()
        repair = f"Run manage.sh rebuild_vector_index {each.name}"
        if held != wanted:
            raise Failed(f"the files of {each.name} hold {held} vectors, not {wanted}. {repair}.")
        sample = list(rows.order_by("content_hash").values_list("pk", "vector")[:50])
        queries = np.array([np.frombuffer(bytes(one), dtype="<f4") for _, one in sample])
        hits = replica.store.search(each.name, queries, k=1)
        if any(not found or found[0].score < 0.999 for found in hits):
            raise Failed(f"chunks of {each.name} are not found by their own vectors. {repair}.")
        told.append(f"{each.name}: {held} vectors, {len(sample)} found by themselves")
    return "; ".join(told)


@suite.check("search", "Does the site find what is indexed?", needs=("web", "index"))
def search(context: Context) -> str:
    """Ask the site for a row by its own words."""
    from django_obc_ai.indexes import get_indexes
    from django_obc_ai.indexes.replica import sync
    from django_obc_ai.models import Chunk

    visitor = context.visitor(is_superuser=True)
    told = []
    for each in get_indexes():
        rows = Chunk.objects.using(each.database).filter(generation=sync(each).generation.id)
        chunk = rows.order_by("content_hash").first()
        if chunk is None:
            continue
        answer = visitor.send("/api/search/", {"query": chunk.text, "index": each.name, "k": 5})
        if answer.status != 200:
            raise Failed(f"/api/search/ answers {answer.status}: {answer.text[:200]}")
        texts = [found["text"] for found in answer.json()["results"]]
        if chunk.text not in texts:
            raise Failed(
                f"the site does not find {chunk.object_key} of {each.name} by its own text: are its"
                " processes of another release, or do they have another database? Restart them."
            )
        told.append(f"{each.name}: {chunk.object_key}")
    return f"found by its own text: {', '.join(told)}"


@suite.check("disk", "Is there room?")
def disk(context: Context) -> str:
    """Look at the disks that the site writes to."""
    usage = {}
    for name in ("", "log", "backups", "vectors", "spool"):
        folder = context.home / name
        if folder.is_dir():
            usage.setdefault(folder.stat().st_dev, (folder, shutil.disk_usage(folder)))
    for folder, found in usage.values():
        if found.free < _LEAST_FREE:
            raise Failed(
                f"{folder} has {found.free // _MEGABYTE} MB left: remove old backups and releases"
            )
    return ", ".join(f"{each}: {found.free / 1e9:.1f} GB free" for each, found in usage.values())


@suite.check("backup", "Is there a backup of these days?")
def backup(context: Context) -> str:
    """Look for the newest one that is whole."""
    from deploy import nights
    from deploy.backups import archive

    root = context.home / "backups"
    folders = archive.all_in(root)
    if not folders:
        script = context.home / "current" / "example_project" / "scripts" / "nightly.sh"
        what = f"the night makes one, or {script} --once"
        hours = (time.time() - _installed_at(context.home)) / 3600
        if hours * 3600 > nights.OLD_SECONDS:
            raise Failed(
                f"there is none in {root}, {hours:.0f} hours after the installation: {what}. Does"
                " nightly run (supervisord's program, or obc-site-nightly.timer)?"
            )
        raise Skipped(f"there is none in {root} yet: {what}")
    try:
        archive.read(folders[-1])
    except archive.Problem as problem:
        raise Failed(f"the newest backup cannot be used. {problem}") from None
    age = nights.backup_age(context.home)
    if age.is_old:
        raise Failed(age.text)
    return f"{age.text}; {len(folders)} in all"


def _installed_at(home: Path) -> float:
    """Return when the oldest release or file of the installation was made; now if there is none."""
    found = [time.time()]
    for release in (home / "releases").glob("*T*-*"):
        with suppress(ValueError):
            made = datetime.datetime.fromisoformat(release.name.partition("-")[0])
            found.append(made.replace(tzinfo=datetime.UTC).timestamp())
    for path in (home / ".env", home / "render.conf"):
        with suppress(OSError):
            found.append(path.stat().st_ctime)
    return min(found)
