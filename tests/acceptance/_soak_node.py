"""One process of the search index's soak: it searches all the time and does what it is told.

Commands come as lines of JSON on standard input, and each is answered by a line. What a search
did wrong goes to a file at once, so that it outlives a kill.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["SOAK_FOLDER"])
STORES = "django_obc_ai.backends.vector_stores"
STORE = {"faiss": f"{STORES}.faiss.FaissVectorStore", "numpy": f"{STORES}.numpy.NumpyVectorStore"}
QUERY = "river market school coast"
EVERYTHING = 100_000
GIVE_UP_SECONDS = 30.0


def set_up() -> None:
    import django
    from django.conf import settings

    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    store = os.environ["SOAK_STORE"]
    options = {"path": str(FOLDER / "vectors")} if store == "faiss" else {}
    settings.OBC_AI = {"VECTOR_STORES": {"default": {"BACKEND": STORE[store], "OPTIONS": options}}}
    django.setup()
    if store == "faiss":
        from django_obc_ai.backends.vector_stores import _content

        # Snapshots follow each other within a round, not after a thousand changes.
        _content._FOLD_ROWS = (60, 16_384)


def report(fault: str) -> None:
    line = json.dumps({"pid": os.getpid(), "at": time.monotonic(), "fault": fault[:500]}) + "\n"
    descriptor = os.open(FOLDER / "faults", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())
    os.close(descriptor)


class Searcher(threading.Thread):
    """Searches as three users in turn and checks every result."""

    def __init__(self, users: list[Any]) -> None:
        super().__init__(daemon=True)
        self.users, self.count = users, 0
        self.is_wanted = threading.Event()
        self.is_idle = threading.Event()
        self.gone: set[int] = set()

    def run(self) -> None:
        from django.db import connection

        from tests.testapp.models import Place

        live: set[int] = set()
        for number in count():
            if not self.is_wanted.is_set():
                self.is_idle.set()
                self.is_wanted.wait()
                self.is_idle.clear()
            user = self.users[number % len(self.users)]
            before = live
            live = set(Place.objects.values_list("pk", flat=True))
            # A row that was there and is not: primary keys do not come again.
            self.gone |= before - live
            try:
                found = self.find(number % 5, user, live)
            except Exception as error:  # any error is what this looks for
                report(f"a search raised {type(error).__name__}: {error}")
                connection.close()
                found = []
            self.count += 1
            for each in found:
                self.check(each.object, user)
            time.sleep(random.uniform(0.005, 0.03))

    def find(self, kind: int, user: Any, live: set[int]) -> list[Any]:
        from django_obc_ai.services.search import SimilaritySearchService

        service = SimilaritySearchService()
        if kind == 0:
            return service.find_similar("places", random.choice([*live, -1]), user=user, k=10)
        if kind == 1:
            return service.search_all("market", user=user, k=10)
        if kind == 2:
            return service.search("places", QUERY, user=user, k=EVERYTHING, threshold=-1)
        filters = {"province": "Sulu"} if kind == 3 else {}
        return service.search("places", QUERY, user=user, k=20, filters=filters)

    def check(self, place: Any, user: Any) -> None:
        from tests.acceptance._soak_edits import SECRET

        is_own = user is not None and place.owner_id == user.pk
        if place.pk in self.gone:
            report(f"row {place.pk} was deleted before the search began")
        if place.name.startswith(("deleted ", "never ")):
            report(f"row {place.pk} {place.name!r} is out of the queryset or was rolled back")
        if (place.is_hidden and not is_own) or place.province == SECRET:
            report(f"row {place.pk} is hidden from {user}")


class Comparison:
    """Compares what this process's searches find with the rows."""

    def __init__(self, users: list[Any]) -> None:
        self.users = users
        self.embedded: dict[tuple[Any, str], Any] = {}

    def until_equal(self, since: float) -> dict[str, Any]:
        """Compare until nothing differs; the time is that of the replica that was compared."""
        while True:
            began = time.monotonic()
            seen = Seen(self.users)
            wrong = seen.difference() or self.difference_of_vectors(seen)
            if not wrong or began - since > GIVE_UP_SECONDS:
                return {"seconds": seen.at - since, "wrong": wrong}
            time.sleep(0.005)

    def difference_of_vectors(self, seen: Seen) -> str:
        """Compare vectors and scores, those of hidden rows included, with the texts."""
        import numpy as np

        from django_obc_ai.services.embeddings import EmbeddingService

        service, generation = EmbeddingService("default"), seen.replica.generation
        for each in seen.chunks:
            key = (generation.id, each.text)
            if key not in self.embedded:
                self.embedded[key] = service.embed_documents(
                    [each.text], state=generation.fitted_state
                )[0]
            vector = np.frombuffer(bytes(each.vector), dtype="<f4")
            if not np.allclose(vector, self.embedded[key], atol=1e-6):
                return f"the vector of chunk {each.pk} is not that of its text"
            if abs(float(vector @ seen.query[0]) - seen.hits[each.pk]) > 1e-4:
                return f"the score of chunk {each.pk} is not that of its vector"
        return ""


class Seen:
    """The rows, and what this process's index and searches say of them, at one time."""

    def __init__(self, users: list[Any]) -> None:
        from django_obc_ai.indexes import get_index
        from django_obc_ai.indexes.replica import sync
        from django_obc_ai.models import Chunk
        from django_obc_ai.services.embeddings import EmbeddingService
        from django_obc_ai.services.search import SimilaritySearchService
        from tests.testapp.models import Place

        self.index = index = get_index("places")
        self.rows = list(index.get_queryset().prefetch_related("tags"))
        self.replica = sync(index)
        #: Nothing is edited any more: if this replica equals the rows, later searches must, too.
        self.at = time.monotonic()
        generation = self.replica.generation
        service = EmbeddingService("default")
        self.query = service.embed_queries([QUERY], state=generation.fitted_state)
        found = self.replica.store.search("places", self.query, EVERYTHING)[0]
        self.hits = {hit.id: hit.score for hit in found}
        chunks = Chunk.objects.filter(generation_id=generation.id)
        self.chunks = list(chunks.order_by("number"))
        live = Place.objects.filter(pk__in=[row.pk for row in self.rows])
        search = SimilaritySearchService().search
        self.of_users = [
            (
                user,
                search("places", QUERY, user=user, k=EVERYTHING, threshold=-1),
                {index.key_of(row) for row in index.visible_to(live, user)},
            )
            for user in users
        ]

    def difference(self) -> str:
        """Say what differs first, "" if nothing does."""
        texts = {
            self.index.key_of(row): [
                each.text for each in self.index.split(self.index.get_text(row))
            ]
            for row in self.rows
        }
        wanted = {key: found for key, found in texts.items() if found}
        if self.hits.keys() != {each.pk for each in self.chunks}:
            return f"{len(self.hits)} vectors of {len(self.chunks)} chunks"
        held: dict[str, list[str]] = {}
        for each in self.chunks:
            held.setdefault(each.object_key, []).append(each.text)
        if held != wanted:
            return f"{len(held)} objects held, {len(wanted)} wanted, or a text differs"
        for user, found, visible in self.of_users:
            if {self.index.key_of(each.object) for each in found} != visible & wanted.keys():
                return f"{user} finds {len(found)} objects of {len(visible & wanted.keys())}"
            if any(each.text not in wanted[self.index.key_of(each.object)] for each in found):
                return f"{user} finds an outdated text"
        return ""


def edit_all(lists: list[list[list[Any]]], owners: list[int]) -> dict[str, int]:
    """Make several lists of edits at once, a thread each."""
    from django.db import DatabaseError, connections

    from tests.acceptance._soak_edits import Editor

    told = {"edits": 0, "refused": 0}

    def work(edits: list[list[Any]]) -> None:
        editor = Editor(owners)
        for one in edits:
            try:
                editor.make(*one)
                told["edits"] += 1
            except DatabaseError:
                # A row deleted under an editor's hands, or a deadlock of two editors.
                told["refused"] += 1
            time.sleep(one[1] % 20 / 1_000)
        connections.close_all()

    threads = [threading.Thread(target=work, args=(edits,)) for edits in lists]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told


def run_indexer(kind: str, seconds: float) -> dict[str, int]:
    from django_obc_ai.services.indexing import IndexingService

    service, runs, end = IndexingService(), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        if kind == "verify":
            service.verify("places", repair=True)
        else:
            service.index("places", rebuild=kind == "rebuild", batch_size=40)
        runs += 1
        time.sleep(0.05)
    return {"runs": runs}


def main() -> None:
    set_up()
    from django.contrib.auth import get_user_model

    owners = list(get_user_model().objects.order_by("pk"))
    searcher, comparison = Searcher([None, *owners]), Comparison([None, *owners])
    searcher.start()
    searcher.is_wanted.set()
    print(json.dumps({"ready": os.getpid()}), flush=True)
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        told: dict[str, Any] = {}
        if command == "edit":
            told = edit_all(arguments[0], [each.pk for each in owners])
        elif command == "index":
            try:
                told = run_indexer(*arguments)
            except Exception as error:  # any error is what this looks for
                report(f"the indexer raised {type(error).__name__}: {error}")
        elif command == "compare":
            searcher.is_wanted.clear()
            told = comparison.until_equal(float(arguments[0]))
            searcher.is_wanted.set()
        print(json.dumps({**told, "searches": searcher.count}), flush=True)


if __name__ == "__main__":
    main()
