"""Embedding in several threads: the same index, sooner; what is paid for is stored."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models import Sum
from numpy.typing import NDArray

from django_obc_ai.exceptions import BudgetExceededError, ObcAIError, RateLimitedError
from django_obc_ai.models import AIOperation, Chunk
from django_obc_ai.services.indexing import IndexingService, IndexProgress
from django_obc_ai.testing import override_ai
from tests.extras import requires
from tests.fakes import TinyEmbedder, entry
from tests.gateway.test_embed import GENAI, settings_of
from tests.indexes.test_equal_to_data import assert_equal_to_rows
from tests.servers.gemini import GeminiServer, replies
from tests.testapp.models import Place

pytestmark = pytest.mark.django_db(transaction=True)


class Meeting(TinyEmbedder):
    """Goes on only when so many threads have come."""

    barrier = threading.Barrier(4)
    threads: set[int] = set()

    def embed_documents(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[np.float32]:
        self.threads.add(threading.get_ident())
        self.barrier.wait(30)
        return super().embed_documents(texts, state=state)


def fill(rows: int) -> None:
    Place.objects.bulk_create(Place(name=f"Barangay number {n}") for n in range(rows))


@pytest.fixture
def places(gemini_server: GeminiServer) -> Iterator[GeminiServer]:
    fill(500)
    with override_ai(**settings_of(GENAI, gemini_server)):
        yield gemini_server


def texts_of(server: GeminiServer) -> Counter[str]:
    return Counter(
        request["content"]["parts"][0]["text"]
        for item in server.journal
        for request in item.body["requests"]
    )


def test_so_many_requests_are_under_way_at_once() -> None:
    fill(80)
    Meeting.threads.clear()
    with override_ai(EMBEDDERS=entry(Meeting)):
        report = IndexingService().index("places", batch_size=10, workers=4)
        assert (report.seen, report.embedded, len(Meeting.threads)) == (80, 80, 4)
        assert threading.get_ident() not in Meeting.threads
        assert_equal_to_rows("places")
    assert not [each for each in threading.enumerate() if each.name.startswith("obc-ai-embed")]


def test_the_index_is_the_same_with_any_number_of_workers() -> None:
    fill(130)
    held = []
    with override_ai(EMBEDDERS=entry(TinyEmbedder)):
        for workers in (1, 3, 64):
            steps: list[IndexProgress] = []
            report = IndexingService().index(
                "places", batch_size=20, workers=workers, force=True, progress=steps.append
            )
            assert report.embedded == 130
            assert [step.done for step in steps] == [20, 40, 60, 80, 100, 120, 130]
            rows = Chunk.objects.order_by("pk").values_list("object_key", "text", "vector")
            held.append([(key, text, bytes(vector)) for key, text, vector in rows])
        assert_equal_to_rows("places")
    assert held[0] == held[1] == held[2]


def test_in_a_transaction_everything_is_done_by_its_own_thread() -> None:
    Meeting.threads.clear()
    with override_ai(EMBEDDERS=entry(TinyEmbedder)), transaction.atomic():
        fill(30)
        assert IndexingService().index("places", batch_size=10, workers=4).embedded == 30
        assert_equal_to_rows("places")


def test_edits_beside_the_run_are_in_the_index() -> None:
    fill(200)

    def edit(step: IndexProgress) -> None:
        for place in Place.objects.order_by("-pk")[:3]:
            place.name = f"Changed {step.done}"
            place.save()
        Place.objects.order_by("-pk")[5].delete()

    with override_ai(EMBEDDERS=entry(TinyEmbedder)):
        IndexingService().index("places", batch_size=10, workers=4, progress=edit)
        assert_equal_to_rows("places")


@pytest.mark.parametrize("workers", [0, -1, 65])
def test_a_number_of_workers_out_of_range_is_refused(workers: int) -> None:
    with pytest.raises(ValueError, match="workers"):
        IndexingService().index("places", workers=workers)
    with pytest.raises(CommandError, match="workers"):
        call_command("ai_index", "places", workers=workers)


def test_what_ends_the_run_ends_it_once_all_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    fill(400)
    asked: list[str] = []
    embed = TinyEmbedder.embed_documents

    def noting(self: TinyEmbedder, texts: Sequence[str], **options: Any) -> NDArray[np.float32]:
        asked.extend(texts)
        return embed(self, texts, **options)

    monkeypatch.setattr(TinyEmbedder, "embed_documents", noting)

    def interrupt(step: IndexProgress) -> None:
        raise KeyboardInterrupt

    with override_ai(EMBEDDERS=entry(TinyEmbedder)):
        with pytest.raises(KeyboardInterrupt):
            IndexingService().index("places", batch_size=10, workers=4, progress=interrupt)
        assert 10 < Chunk.objects.count() == len(asked) < 400
        IndexingService().index("places", batch_size=10, workers=4)
        assert_equal_to_rows("places")
    assert Counter(asked).most_common(1)[0][1] == 1


@requires("google.genai")
def test_a_spent_budget_stops_eight_workers_and_nothing_is_paid_for_twice(
    places: GeminiServer,
) -> None:
    # A request of 100 texts is held at $0.00075, and bills a tenth of that.
    limit = "0.00085"
    small = [{"scope": "global", "period": "total", "limit_usd": limit}]
    with override_ai(**settings_of(GENAI, places, BUDGETS=small)):
        with pytest.raises(BudgetExceededError):
            IndexingService().index("places", workers=8)
        paid = texts_of(places)
        assert 0 < len(paid) == Chunk.objects.count() < 500
        with pytest.raises(CommandError, match="budget"):
            call_command("ai_index", "places", workers=8)
        cost = AIOperation.objects.aggregate(sum=Sum("cost_usd"))["sum"]
        assert 0 < cost <= Decimal(limit)
    IndexingService().index("places", workers=8)
    assert_equal_to_rows("places")
    assert set(texts_of(places).values()) == {1}


@requires("google.genai")
def test_what_is_held_for_requests_under_way_does_not_end_a_run(places: GeminiServer) -> None:
    # Two requests at once fit, and all five of them one after the other.
    small = [{"scope": "global", "period": "total", "limit_usd": "0.0016"}]
    with override_ai(**settings_of(GENAI, places, BUDGETS=small)):
        IndexingService().index("places", workers=8)
    assert_equal_to_rows("places")
    assert set(texts_of(places).values()) == {1}


@requires("google.genai")
def test_eight_workers_send_no_more_than_the_limit_allows(places: GeminiServer) -> None:
    rates = {"default": {"per_minute": 3, "when_exceeded": "refuse"}}
    with override_ai(**settings_of(GENAI, places, RATE_LIMITS=rates)):
        with pytest.raises(RateLimitedError):
            IndexingService().index("places", workers=8)
        assert len(places.journal) == 3
        assert Chunk.objects.count() == 300
    IndexingService().index("places", workers=8)
    assert set(texts_of(places).values()) == {1}


@requires("google.genai")
def test_a_failure_of_one_request_stops_the_others_after_theirs(places: GeminiServer) -> None:
    places.script(*[replies.answer(delay_seconds=0.5)] * 3, replies.bad_key(), operation="embed")
    with pytest.raises(ObcAIError):
        IndexingService().index("places", workers=4)
    answered = AIOperation.objects.filter(success=True)
    assert Chunk.objects.count() == 100 * answered.count()
    IndexingService().index("places", workers=4)
    assert_equal_to_rows("places")
    assert answered.count() == 5


_SCRIPT = """
import signal
import time
# A shell that runs the tests in the background lets all that it starts ignore SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
import django
django.setup()
from django.core.management import call_command
from tests.fakes import TinyEmbedder
embed = TinyEmbedder.embed_documents
def slowly(self, texts, **options):
    time.sleep(0.1)
    return embed(self, texts, **options)
TinyEmbedder.embed_documents = slowly
from django_obc_ai.testing import override_ai
from tests.fakes import entry
with override_ai(EMBEDDERS=entry(TinyEmbedder)):
    call_command("ai_index", "places", batch_size=5, workers=4, verbosity=0)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_killed_is_continued_by_the_next(how: signal.Signals) -> None:
    fill(300)
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.Popen([sys.executable, "-c", _SCRIPT], env=environment, cwd=root)
    try:
        while not Chunk.objects.count() and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(how)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
    held = Chunk.objects.count()
    assert 0 < held < 300
    with override_ai(EMBEDDERS=entry(TinyEmbedder)):
        report = IndexingService().index("places", workers=4)
        assert report.embedded == 300 - held
        assert_equal_to_rows("places")
    connection.close()
