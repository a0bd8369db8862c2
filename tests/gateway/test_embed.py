"""A paid embedder: every request is held, tried again, priced and logged, and none is merged.

The real SDKs talk to the loopback server, which decides by itself what it bills.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tenacity
from django.contrib.auth import get_user_model
from django.db import connections, transaction
from django.test import TransactionTestCase, override_settings

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.backends.embedders import BaseEmbedder, embedders
from django_obc_ai.exceptions import (
    AuthenticationError,
    BadResponseError,
    BudgetExceededError,
    ConfigurationError,
    InvalidRequestError,
    ProviderPausedError,
    TransientError,
)
from django_obc_ai.gateway.budget import period_key
from django_obc_ai.models import AIOperation, CostReservation
from django_obc_ai.services.embeddings import EmbeddingService
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.services.pauses import pause_provider
from django_obc_ai.services.search import SimilaritySearchService
from django_obc_ai.testing import EmbedderContract, override_ai
from tests.extras import is_installed, requires
from tests.fakes import WatchedProvider
from tests.servers.gemini import GeminiServer, replies, run_gemini
from tests.testapp.models import Place

if TYPE_CHECKING:
    from numpy.typing import NDArray

pytestmark = pytest.mark.django_db(transaction=True)

EMBEDDER = "django_obc_ai.backends.embedders.gemini.GeminiEmbedder"
GENAI = "django_obc_ai.backends.providers.google_genai.GoogleGenAIProvider"
GENERATIVEAI = "django_obc_ai.backends.providers.google_generativeai.GoogleGenerativeAIProvider"
SDKS = {"google.genai": GENAI, "google.generativeai": GENERATIVEAI}
#: $0.15 per million tokens.
NANO_PER_TOKEN = 150
BUDGETS = [{"scope": "global", "period": "total", "limit_usd": "1"}]


def settings_of(backend: str, server: GeminiServer, **more: Any) -> dict[str, Any]:
    options = {"api_key": server.key, "base_url": server.url, "model": "gemini-2.5-flash"}
    return {
        "PROVIDERS": {"default": {"BACKEND": backend, "OPTIONS": options}},
        "EMBEDDERS": {"default": {"BACKEND": EMBEDDER, "OPTIONS": {"dimension": 256}}},
        "BUDGETS": BUDGETS,
        **more,
    }


@pytest.fixture(params=sorted(SDKS))
def server(
    request: pytest.FixtureRequest, gemini_server: GeminiServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GeminiServer]:
    if not is_installed(request.param):
        pytest.skip(f"{request.param} is not installed")
    monkeypatch.setattr("django_obc_ai.gateway.retry._BACKOFF", tenacity.wait_none())
    with override_ai(**settings_of(SDKS[request.param], gemini_server)):
        yield gemini_server


def spent() -> Decimal:
    """What the budget's store says: spent, and nothing held any more."""
    from django.utils import timezone

    from django_obc_ai.conf import get_settings

    key = period_key(get_settings().budgets[0], timezone.now())
    totals = cost_stores["default"].totals([key])[key]
    assert totals.held_nano == 0
    return Decimal(totals.spent_nano).scaleb(-9)


def bill(server: GeminiServer) -> Decimal:
    tokens = sum(entry.billed.prompt for entry in server.journal if entry.billed)
    return Decimal(tokens * NANO_PER_TOKEN).scaleb(-9)


class Service(BaseEmbedder):
    """What callers see of a paid embedder, under the names of the contract."""

    @property
    def identity(self) -> str:
        return EmbeddingService().identity

    @property
    def dimension(self) -> int:
        return EmbeddingService().dimension

    def embed_documents(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[np.float32]:
        try:
            return EmbeddingService().embed_documents(texts, state=state)
        finally:  # the contract's threads end without closing what they wrote through
            if threading.current_thread() is not threading.main_thread():
                connections.close_all()

    def embed_queries(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[np.float32]:
        return EmbeddingService().embed_queries(texts, state=state)


@requires("google.genai")
class GeminiEmbedderTests(EmbedderContract, TransactionTestCase):
    backend = GENAI

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        server = cls.enterClassContext(run_gemini())
        cls.enterClassContext(override_ai(**settings_of(cls.backend, server, BUDGETS=[])))

    def make_embedder(self) -> BaseEmbedder:
        return Service()


@requires("google.generativeai")
class GenerativeAIEmbedderTests(GeminiEmbedderTests):
    backend = GENERATIVEAI


def test_a_batch_is_one_call_priced_and_logged(server: GeminiServer) -> None:
    user = get_user_model().objects.create_user("ana")
    texts = [f"Barangay {number}" if number != 7 else " " for number in range(251)]
    vectors = EmbeddingService().embed_documents(texts, user=user)
    assert vectors.shape == (251, 256)
    assert not vectors[7].any()
    assert [len(entry.body["requests"]) for entry in server.journal] == [100, 100, 50]
    rows = AIOperation.objects.all()
    assert len(rows) == 3
    for row in rows:
        assert (row.operation_type, row.module, row.user, row.success) == (
            "embedding", "general", user, True,
        )  # fmt: skip
        assert row.model_used == row.model_requested == "gemini-embedding-001"
        assert row.provider == "default" and row.output_tokens == 0 and row.attempts == 1
        assert row.tokens_exact and row.cost_known
    assert sum(row.cost_usd for row in rows) == spent() == bill(server) > 0
    (alone,) = EmbeddingService().embed_documents([texts[200]])
    np.testing.assert_allclose(alone, vectors[200], atol=1e-5)


def test_documents_and_queries_are_asked_for_as_such(server: GeminiServer) -> None:
    EmbeddingService().embed_documents(["rice"])
    EmbeddingService().embed_queries(["rice"])
    kinds = [entry.body["requests"][0]["taskType"] for entry in server.journal]
    assert kinds in (["RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY"], [2, 1])


def test_a_failure_is_tried_again_and_every_attempt_is_settled(server: GeminiServer) -> None:
    server.script(
        replies.rate_limited("0s"), replies.error(503), replies.answer(), operation="embed"
    )
    EmbeddingService().embed_documents(["rice", "fish"])
    row = AIOperation.objects.get()
    assert (row.attempts, row.success) == (3, True)
    assert row.cost_usd == spent() == bill(server)


def test_a_refusal_is_logged_and_raised(server: GeminiServer) -> None:
    server.script(replies.bad_key(), operation="embed")
    with pytest.raises(AuthenticationError):
        EmbeddingService().embed_documents(["rice"])
    row = AIOperation.objects.get()
    assert (row.error_category, row.cost_usd, row.attempts) == ("authentication", 0, 1)
    assert spent() == 0


def test_an_answer_without_usage_is_booked_at_its_ceiling(server: GeminiServer) -> None:
    server.script(replies.answer(usage="missing"), operation="embed")
    EmbeddingService().embed_documents(["rice", "fish"])
    row = AIOperation.objects.get()
    assert row.success
    assert not row.tokens_exact
    assert not row.cost_known
    assert row.cost_usd == spent() >= bill(server) > 0


def test_a_broken_connection_is_booked_at_its_ceiling(server: GeminiServer) -> None:
    server.script(*[replies.cut("no_answer")] * 3, operation="embed")
    with pytest.raises(TransientError):
        EmbeddingService().embed_documents(["rice"])
    row = AIOperation.objects.get()
    assert (row.error_category, row.attempts) == ("transient", 3)
    assert row.cost_usd == spent() > 0
    assert not row.cost_known


def test_a_budget_refuses_before_anything_is_sent(server: GeminiServer) -> None:
    from django.conf import settings

    poor = [{"scope": "global", "period": "total", "limit_usd": "0.00001"}]
    with override_settings(OBC_AI={**settings.OBC_AI, "BUDGETS": poor}):
        with pytest.raises(BudgetExceededError):
            EmbeddingService().embed_documents(["a long text about rice and fish " * 20])
        assert server.journal == []
        assert AIOperation.objects.get().error_category == "budget_exceeded"
        EmbeddingService().embed_documents(["rice"])
    assert len(server.journal) == 1


def test_one_query_again_comes_from_the_cache_and_documents_never_do(
    server: GeminiServer,
) -> None:
    service = EmbeddingService()
    first = service.embed_queries(["where is rice"])
    np.testing.assert_array_equal(service.embed_queries(["where is rice"]), first)
    assert len(server.journal) == 1
    fresh, cached = AIOperation.objects.order_by("created_at")
    assert (fresh.cached, cached.cached, cached.cost_usd, cached.attempts) == (False, True, 0, 0)
    assert fresh.prompt_hash == cached.prompt_hash
    service.embed_queries(["where is fish"])
    for _ in range(2):
        service.embed_documents(["where is rice"])
    assert len(server.journal) == 4
    assert spent() == bill(server)


def test_an_index_is_built_saved_and_searched_with_paid_vectors(server: GeminiServer) -> None:
    Place.objects.bulk_create(Place(name=name) for name in ("Rice market", "Fishing port"))
    report = IndexingService().index("places")
    assert (report.embedded, len(server.journal)) == (2, 1)
    user = get_user_model().objects.create_user("ben")
    for _ in range(2):
        (result, *_) = SimilaritySearchService().search("places", "rice market", user=user, k=1)
        assert result.object.name == "Rice market"
    assert IndexingService().index("places").embedded == 0
    assert len(server.journal) == 2
    assert AIOperation.objects.filter(user=user).values_list("cached", flat=True).count() == 2
    assert AIOperation.objects.filter(user=user, cached=True).count() == 1
    assert spent() == bill(server)


# --- With a provider of the tests' own ----------------------------------------------------------


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[WatchedProvider]]:
    monkeypatch.setattr(WatchedProvider, "in_transaction", [])
    monkeypatch.setattr("django_obc_ai.gateway.retry._BACKOFF", tenacity.wait_none())
    options = {"model": "words", "dimension": 4, "provider": "other"}
    with override_ai(
        PROVIDERS={
            "default": {"BACKEND": "django_obc_ai.backends.providers.offline.OfflineProvider"},
            "other": {"BACKEND": "tests.fakes.WatchedProvider"},
        },
        EMBEDDERS={"default": {"BACKEND": EMBEDDER, "OPTIONS": options}},
        COST_STORES={
            "default": {"BACKEND": "django_obc_ai.backends.cost_stores.database.DatabaseCostStore"}
        },
        PRICES={"words": {"input_usd": "1", "output_usd": "0"}},
        BUDGETS=BUDGETS,
    ):
        yield WatchedProvider


def test_no_paid_call_is_made_inside_a_transaction_of_ours(
    watched: type[WatchedProvider],
) -> None:
    with transaction.atomic():
        Place.objects.create(name="Rice market")
    IndexingService().index("places")
    place = Place.objects.create(name="Fishing port")  # indexed after its commit
    place.name = "Fishing village"
    place.save()
    SimilaritySearchService().search("places", "rice", user=None)
    assert len(watched.in_transaction) >= 4
    assert not any(watched.in_transaction)
    assert not CostReservation.objects.filter(is_open=True).exists()


@pytest.mark.parametrize("fault", ["merged", "short"])
def test_vectors_that_do_not_fit_their_texts_are_paid_for_and_not_used(
    watched: type[WatchedProvider], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(watched, "fault", fault)
    with pytest.raises(BadResponseError, match="None of them is used"):
        EmbeddingService().embed_documents(["rice", "fish"])
    row = AIOperation.objects.get()
    assert (row.error_category, row.attempts) == ("bad_response", 3)
    assert row.cost_usd == Decimal("0.00003")


def test_a_fault_of_the_provider_class_is_booked_and_told_without_the_text(
    watched: type[WatchedProvider], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "fault", "bug")
    with pytest.raises(BadResponseError, match="KeyError") as caught:
        EmbeddingService().embed_documents(["rice"])
    assert "secret" not in str(caught.value)
    assert AIOperation.objects.get().cost_usd > 0


def test_a_batch_is_what_the_provider_takes(watched: type[WatchedProvider]) -> None:
    assert EmbeddingService().embed_documents(["a", "b", "c"]).shape == (3, 4)
    assert AIOperation.objects.count() == 2
    assert AIOperation.objects.filter(provider="other", input_tokens=10).count() == 2


def test_a_provider_that_does_not_embed_is_a_configuration_error() -> None:
    embedder = {"default": {"BACKEND": EMBEDDER}}
    with override_ai(EMBEDDERS=embedder):
        with pytest.raises(ConfigurationError, match="does not embed"):
            EmbeddingService().embed_documents(["rice"])
    assert AIOperation.objects.get().error_category == "configuration"


def test_a_paid_embedder_has_no_way_around_the_gateway() -> None:
    with override_ai(EMBEDDERS={"default": {"BACKEND": EMBEDDER}}):
        for embed in (embedders["default"].embed_documents, embedders["default"].embed_queries):
            with pytest.raises(InvalidRequestError, match="EmbeddingService"):
                embed(["rice"])


def test_a_paused_provider_embeds_nothing(server: GeminiServer) -> None:
    pause_provider("default", reason="x")
    with pytest.raises(ProviderPausedError):
        EmbeddingService().embed_documents(["a text"])
    assert server.journal == [] and spent() == 0
    assert AIOperation.objects.get().error_category == "provider_paused"
