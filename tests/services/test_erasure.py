"""Erasing a user: what it refuses, what it counts, and what a failure leaves to be done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import override_settings
from django.utils import timezone

from django_obc_ai.backends.embedders.hashing import HashingEmbedder
from django_obc_ai.backends.lexical_stores.words import words_of
from django_obc_ai.exceptions import BadResponseError
from django_obc_ai.indexes import get_index, replica
from django_obc_ai.models import (
    AIOperation,
    BudgetAlert,
    ChatMessage,
    Chunk,
    Conversation,
    IndexRequest,
    IndexState,
    OperationRollup,
    ProviderPause,
    RollupMark,
    StoredContent,
)
from django_obc_ai.querysets import current_day
from django_obc_ai.services.changes import mark_changed
from django_obc_ai.services.costs import CostTracker
from django_obc_ai.services.erasure import ErasureReport, erase_user
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.services.retention import purge_operations
from django_obc_ai.services.rollups import read_days, roll_up
from django_obc_ai.services.text import TextService
from django_obc_ai.signals import erasing_user
from django_obc_ai.testing import override_ai
from tests.extras import is_installed
from tests.gateway.conftest import PRICES
from tests.services.canaries import holding, in_files, in_tables
from tests.testapp.models import Place

pytestmark = pytest.mark.django_db(transaction=True)
BM25 = "django_obc_ai.backends.lexical_stores.bm25.BM25LexicalStore"
FAISS = "django_obc_ai.backends.vector_stores.faiss.FaissVectorStore"


@contextmanager
def receiving(receiver: Any) -> Iterator[None]:
    """Listen to erasing_user for a while."""
    erasing_user.connect(receiver)
    try:
        yield
    finally:
        erasing_user.disconnect(receiver)


@pytest.fixture
def amina() -> Any:
    return get_user_model().objects.create(username="amina")


@pytest.mark.skipif(not is_installed("faiss"), reason="faiss is not installed")
def test_files_hold_no_vector_of_a_text_that_went(tmp_path: Path, amina: Any) -> None:
    store = {"BACKEND": FAISS, "OPTIONS": {"path": str(tmp_path)}}
    with override_ai(VECTOR_STORES={"default": store}):
        for number in range(50):
            Place.objects.create(name=f"Barangay {number}")
        mine = Place.objects.create(name="house of amina", owner=amina)
        IndexingService().index("places")
        replica.sync(get_index("places"))
        vector = bytes(Chunk.objects.get(object_key=str(mine.pk)).vector)
        assert any(vector in content for _, content in in_files(tmp_path))
        mine.delete()  # the snapshot stays as it is, and the row is masked
        replica.sync(get_index("places"))
        assert any(vector in content for _, content in in_files(tmp_path))
        erase_user(amina)
        assert not any(vector in content for _, content in in_files(tmp_path))
        assert replica.sync(get_index("places")).store.count("places") == 50


def test_files_hold_no_word_of_a_text_that_went(tmp_path: Path, amina: Any) -> None:
    options = {"path": str(tmp_path)}
    with override_ai(LEXICAL_STORES={"default": {"BACKEND": BM25, "OPTIONS": options}}):
        Place.objects.create(name="Barangay")
        mine = Place.objects.create(name="house of amina", owner=amina)
        IndexingService().index("places")
        store = replica.sync_words(get_index("places")).store
        word = np.array(words_of("amina"), dtype="<u8").tobytes()
        assert any(word in content for _, content in in_files(tmp_path))
        mine.delete()  # the files stay as they are, and the row is masked
        replica.sync_words(get_index("places"))
        assert store.count("places") == 1
        assert any(word in content for _, content in in_files(tmp_path))
        erase_user(amina)
        assert not any(word in content for _, content in in_files(tmp_path))
        assert store.count("places") == 1  # they are there already, without


def shares() -> Counter[str]:
    """How many operations each user has, by the rollups of the days."""
    days = read_days(current_day() - timedelta(days=4), current_day()).values()
    found: Counter[str] = Counter()
    for day in days:
        found.update({key: share[0] for key, share in day.by["user"].items()})
    return found


@pytest.fixture
def omar(amina: Any) -> Any:
    """Somebody else; three days ago two operations were amina's, one omar's, one nobody's."""
    omar = get_user_model().objects.create(username="omar")
    began = timezone.now() - timedelta(days=3)
    for user in (amina, amina, omar, None):
        AIOperation.objects.create(
            user=user, provider="p", success=True, cost_usd=Decimal("0.5"),
            created_at=began, recorded_at=began,
        )  # fmt: skip
    roll_up()
    assert shares() == {str(amina.pk): 2, str(omar.pk): 1, "": 1}
    return omar


def test_rollups_equal_the_rows_afterwards(amina: Any, omar: Any) -> None:
    report = erase_user(amina)
    assert shares() == {str(omar.pk): 1, "": 3}
    assert (report.operations, report.rollups) == (2, 2)  # a quarter of an hour, and its day
    OperationRollup.objects.all().delete()
    RollupMark.objects.all().delete()
    roll_up()
    assert shares() == {str(omar.pk): 1, "": 3}


def test_sums_of_purged_operations_are_nobodys_afterwards(amina: Any, omar: Any) -> None:
    content = StoredContent.objects.create(operation=AIOperation.objects.first(), prompt="Q")
    assert purge_operations(timedelta(days=2)).deleted == 4
    assert not StoredContent.objects.filter(pk=content.pk).exists()
    days = (current_day() - timedelta(days=4), current_day())
    assert erase_user(amina).rollups == 2
    spent = {
        each["key"]: each["cost"] for each in CostTracker().get_cost_breakdown(*days, by="user")
    }
    assert sorted(spent.values()) == [Decimal("0.5"), Decimal("1.5")]
    assert str(omar.pk) in map(str, spent) and str(amina.pk) not in map(str, spent)
    assert shares() == {str(omar.pk): 1, "": 3}
    kept = OperationRollup.objects.filter(purged__isnull=False).get().purged
    for by_user in (kept["tally"]["by_user"], kept["money"]["by"]["user"]):
        assert {key: share[0] for key, share in by_user.items()} == {str(omar.pk): 1, "": 3}
    assert erase_user(amina) == ErasureReport()


def test_a_dry_run_counts_and_changes_nothing(amina: Any) -> None:
    AIOperation.objects.create(user=amina, provider="p", success=True, error_message="for amina")
    with receiving(_fail):
        assert erase_user(amina, is_dry_run=True) == ErasureReport(operations=1)
    assert AIOperation.objects.get().user == amina


def test_inside_a_transaction_it_refuses(amina: Any) -> None:
    with transaction.atomic(), pytest.raises(RuntimeError, match="on_commit"):
        erase_user(amina)


def test_nobody_cannot_be_erased() -> None:
    for nobody in (None, AnonymousUser(), get_user_model()(), "no key"):
        with pytest.raises(ValueError, match=r"Nobody|not saved|no key"):
            erase_user(nobody)


def test_a_deleted_user_is_erased_by_key(amina: Any) -> None:
    key = amina.pk
    with override_settings(OBC_AI={"LOG": {"store_content": True}}):
        TextService().generate_text("Q", user=amina)
    AIOperation.objects.create(user_id=key + 1, provider="p", success=True)
    roll_up()
    amina.delete()
    assert not StoredContent.objects.exists()
    assert erase_user(key) == ErasureReport()
    assert erase_user(key + 1).operations == 1


def test_a_receiver_that_fails_stops_it_before_anything_goes(amina: Any) -> None:
    AIOperation.objects.create(user=amina, provider="p", success=True)
    with receiving(_fail), pytest.raises(RuntimeError, match="no"):
        erase_user(amina)
    assert AIOperation.objects.filter(user=amina).exists()
    assert erase_user(amina).operations == 1


def test_a_cache_that_fails_leaves_the_rows_to_be_found_again(
    amina: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with override_ai(["answer"], PRICES=PRICES):
        TextService().generate_text("Q", user=amina)
        with monkeypatch.context() as patched:
            patched.setattr("django.core.cache.backends.base.BaseCache.delete_many", _broken)
            with pytest.raises(ConnectionError):
                erase_user(amina)
        assert AIOperation.objects.get().user == amina
        assert erase_user(amina).cached_answers == 1


def _fail(**_: Any) -> None:
    raise RuntimeError("no")


def _broken(*_: Any, **__: Any) -> None:
    raise ConnectionError


def test_what_cannot_be_embedded_now_is_not_found_until_it_can(
    amina: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place.objects.create(name="house of amina")
    other = Place.objects.create(name="a quiet house")
    IndexingService().index("places")

    def change(**_: Any) -> None:
        monkeypatch.setattr(HashingEmbedder, "embed_documents", _refusing)
        Place.objects.filter(pk=place.pk).update(name="a house")
        mark_changed(Place, [place.pk])

    with receiving(change):
        assert erase_user(amina).chunks == 1
    assert [chunk.object_key for chunk in Chunk.objects.all()] == [str(other.pk)]
    monkeypatch.undo()
    IndexingService().sweep("places")
    assert set(Chunk.objects.values_list("object_key", flat=True)) == {str(place.pk), str(other.pk)}


def _refusing(*_: Any, **__: Any) -> None:
    raise BadResponseError("no vectors today")


def test_an_index_that_nobody_declares_is_named(amina: Any) -> None:
    IndexState.objects.create(name="gone")
    assert erase_user(amina).undeclared_indexes == ("gone",)


def test_mentions_are_found_however_they_are_written(amina: Any) -> None:
    talk = Conversation.objects.create()
    for text in ("Amina  B. Salic", "AMINA\nB. SALIC", "amina", "Aminah B. Salic"):
        ChatMessage.objects.create(conversation=talk, role="user", text=text)
    assert erase_user(amina, mentions=["Amina B. Salic", "Salic"]).mentions == 3
    texts = ChatMessage.objects.order_by("id").values_list("text", flat=True)
    assert list(texts) == ["[erased]", "[erased]", "amina", "Aminah B. [erased]"]


def test_a_mention_that_would_be_found_everywhere_is_refused(amina: Any) -> None:
    for short in ("", " ", "Ana", "A n a"):
        with pytest.raises(ValueError, match="fewer than 4"):
            erase_user(amina, mentions=[short])
    with pytest.raises(CommandError, match="fewer than 4"):
        call_command("erase_user", "amina", "--no-input", "--mention", "Ana")


def test_operators_are_no_longer_named(amina: Any) -> None:
    ProviderPause.objects.create(alias="default", reason="r", paused_by="amina")
    IndexRequest.objects.create(name="places", kind="update", requested_by="amina")
    BudgetAlert.objects.create(
        key="global:day:2027-01-01", percent=75, level="warning", unit="usd", limit=1, spent=1,
        acknowledged_by="amina",
    )  # fmt: skip
    assert erase_user(amina, is_dry_run=True).names == 3
    assert erase_user(amina).names == 3
    assert holding("amina", in_tables()) == ["auth_user"]
