"""The site that two hundred people use; see deploy_load.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import psycopg

from tests.acceptance._deploy_site import HOSTS, KitSite
from tests.acceptance._streams_site import MODEL, make_persons
from tests.servers.gemini import replies
from tests.servers.postgres import DURABLE, run_postgres

#: Before each answer of the provider, and between the pieces of one that is streamed.
LATENCY_SECONDS, INTERVAL_SECONDS, CHUNKS = 0.3, 0.12, 12
PIECE = "There are three provinces in the region that was asked about [1]. "
_COUNT = {"function": "count", "path": "", "alias": "count"}
#: Plans by the words that questions begin with: a figure, a list, a search.
PLANS = {
    "How many": {"kind": "query", "model": "communities.Province", "aggregate": [_COUNT]},
    "Which": {
        "kind": "query", "model": "communities.Municipality", "limit": 10,
        "fields": ["name", "population"], "order_by": ["-population"],
    },
    "Where": {"kind": "search", "search": "poblacion near the coast", "index": "communities"},
}  # fmt: skip


class LoadSite(KitSite):
    """The example with the kit's own settings, on PostgreSQL."""

    settings = "deploy.settings"
    #: As the kit has it on two cores; the last three let a crowd at one address through.
    rendered: ClassVar[dict[str, str]] = {
        "web_workers": "4", "web_threads": "8", "stream_workers": "2", "worker_processes": "2",
        "requests_per_second": "1000", "burst": "1000", "connections": "1000",
    }  # fmt: skip

    def __init__(self, stack: ExitStack, folder: Path, *, is_small: bool = False) -> None:
        """Make it, with places that are indexed.

        Args:
            stack: Ends all.
            folder: For it.
            is_small: With a database that syncs nothing, with an embedder that needs no time to
                index, and with workers of gunicorn that are replaced after a few requests each.
        """
        small = {
            "OBC_SITE_EMBEDDER": "hashing",
            "GUNICORN_CMD_ARGS": "--max-requests 8 --max-requests-jitter 4",
        }
        settings = {"shared_buffers": "128MB", **({} if is_small else DURABLE)}
        self.postgres = stack.enter_context(run_postgres(**settings))
        with psycopg.connect(self.postgres.dsn, autocommit=True) as admin:
            admin.execute("CREATE DATABASE site")
        self.dsn = self.postgres.dsn.replace("dbname=postgres", "dbname=site")
        super().__init__(
            stack, folder,
            DATABASE_URL=f"postgres://postgres@{quote(self.postgres.host, safe='')}:5432/site",
            OBC_SITE_GEMINI_MODEL=MODEL, OBC_SITE_LONGEST_ANSWER="180",
            OBC_SITE_DAY_BUDGET="1000", OBC_SITE_MONTH_BUDGET="5000",
            OBC_SITE_PER_MINUTE="none", OBC_SITE_PER_DAY="none",
            **(small if is_small else {"OBC_SITE_EMBEDDER": ""}),
        )  # fmt: skip
        self.manage("load_places")
        self.manage("ai_index", "communities", "--verbosity", "0")
        #: Of logs, what was written before anybody came.
        self.postgres_log = self.postgres.supervised.folder / "log"
        self.read_before = {self.postgres_log: self.postgres_log.stat().st_size}

    def script(self) -> None:
        """Let the provider answer: with plans, with texts, and with texts in pieces."""
        for words, plan in PLANS.items():
            self.gemini.script(
                replies.answer(json.dumps(plan), delay_seconds=LATENCY_SECONDS),
                operation="generateContent", marker=f"<question>\\n{words}",
                also="responseJsonSchema", is_repeated=True,
            )  # fmt: skip
        self.gemini.script(
            replies.answer(PIECE * CHUNKS, delay_seconds=LATENCY_SECONDS),
            operation="generateContent", is_repeated=True,
        )  # fmt: skip
        self.gemini.script(
            replies.answer(
                PIECE * CHUNKS, delay_seconds=LATENCY_SECONDS, chunks=CHUNKS,
                chunk_interval_seconds=INTERVAL_SECONDS,
            ),
            operation="streamGenerateContent", is_repeated=True,
        )  # fmt: skip
        self.gemini.load({"is_slim": True})

    def enter(self) -> None:
        """Set up Django in this process, with the site's settings, but for its logs."""
        import django

        os.environ.update(self.environment)
        sys.path.insert(0, str(self.home / "current" / "example_project"))
        sys.argv[0] = "manage.py"  # what is printed here is the proof's own
        django.setup()

    def people(self, count: int, **facts: object) -> subprocess.Popen[str]:
        """Let people live in a process of their own.

        They have sessions: logins would measure how long passwords take to hash. One more is an
        editor.
        """
        from django.contrib.auth import get_user_model

        *sessions, editor = make_persons(count + 1, "django.contrib.auth.backends.ModelBackend")
        get_user_model().objects.filter(username=f"person{count}").update(
            is_staff=True, is_superuser=True
        )
        facts |= {
            "port": self.https, "host": HOSTS[0], "sessions": sessions, "editor": editor,
            "certificate": str(self.home / "tls" / "cert.pem"), **_places(),
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.acceptance._load_people"], stdin=subprocess.PIPE,
            text=True, cwd=Path(__file__).resolve().parents[2],
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(json.dumps(facts))
        process.stdin.close()
        return process


def _places() -> dict[str, object]:
    """Return what to search for, and what the editor may change."""
    from communities.models import Community

    places = list(Community.objects.with_places())
    edits = [
        (
            each.code,
            {
                "name": each.name, "municipality": each.municipality_id, "setting": each.setting,
                "latitude": each.latitude, "longitude": each.longitude,
                "population": "" if each.population is None else each.population,
                "is_position_verified": "on",
            },
        )
        for each in places[7::17]
    ]  # fmt: skip
    return {"names": [str(each) for each in places[::20]], "edits": edits}
