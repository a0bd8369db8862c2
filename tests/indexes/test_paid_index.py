"""An index whose embedder costs money: what it would cost, and what a spent budget does to it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db.models import Sum

from django_obc_ai.exceptions import BudgetExceededError
from django_obc_ai.models import AIOperation, Chunk
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.services.recall import measure_recall
from django_obc_ai.testing import override_ai
from tests.extras import requires
from tests.gateway.test_embed import GENAI, settings_of
from tests.servers.gemini import GeminiServer
from tests.testapp.models import Place

pytestmark = [requires("google.genai"), pytest.mark.django_db(transaction=True)]


@pytest.fixture
def places(gemini_server: GeminiServer) -> Iterator[GeminiServer]:
    Place.objects.bulk_create(Place(name=f"Barangay number {n}") for n in range(250))
    with override_ai(**settings_of(GENAI, gemini_server)):
        yield gemini_server


def test_a_dry_run_asks_nobody_and_bounds_the_bill(places: GeminiServer) -> None:
    estimate = IndexingService().estimate("places")
    assert (estimate.rows, estimate.texts, estimate.minutes) == (250, 250, None)
    assert places.journal == [] and not Chunk.objects.exists()
    IndexingService().index("places")
    cost = AIOperation.objects.aggregate(sum=Sum("cost_usd"))["sum"]
    assert estimate.cost_usd is not None
    assert Decimal(0) < cost <= estimate.cost_usd
    again = IndexingService().estimate("places")
    assert (again.texts, again.cost_usd) == (0, 0)


def test_a_spent_budget_stops_the_run_and_the_next_one_continues(places: GeminiServer) -> None:
    # A request of 100 texts is held at $0.00075, and bills a tenth of that.
    small = [{"scope": "global", "period": "total", "limit_usd": "0.00078"}]
    with override_ai(**settings_of(GENAI, places, BUDGETS=small)):
        with pytest.raises(BudgetExceededError):
            IndexingService().index("places")
        done = Chunk.objects.count()
        assert 0 < done < 250
        with pytest.raises(CommandError, match="budget"):
            call_command("ai_index", "places")
    texts = sum(len(entry.body["requests"]) for entry in places.journal)
    IndexingService().index("places")
    assert Chunk.objects.count() == 250
    # Nothing that was paid for and stored is paid for again.
    assert sum(len(entry.body["requests"]) for entry in places.journal) - texts == 250 - done


@requires("faiss")
def test_measuring_recall_asks_for_given_texts_only_and_under_the_budgets(
    places: GeminiServer, tmp_path: Path
) -> None:
    options = {"path": str(tmp_path), "approximate": {"kind": "ivf_sq8", "above": 100}}
    store = {
        "BACKEND": "django_obc_ai.backends.vector_stores.faiss.FaissVectorStore",
        "OPTIONS": options,
    }
    stores = {"VECTOR_STORES": {"default": store}}
    with override_ai(**settings_of(GENAI, places, **stores)):
        IndexingService().index("places")  # measures, too
        paid = AIOperation.objects.count()
        report = measure_recall("places")
        assert (report.source, report.queries) == ("midpoints of sampled chunks", 125)
        assert AIOperation.objects.count() == paid
        measure_recall("places", queries=["barangay 7", "number 9"])
        assert AIOperation.objects.count() == paid + 1
    spent = [{"scope": "global", "period": "total", "limit_usd": "0.0000001"}]
    with (
        override_ai(**settings_of(GENAI, places, BUDGETS=spent, **stores)),
        pytest.raises(BudgetExceededError),
    ):
        measure_recall("places", queries=["barangay 8"])
