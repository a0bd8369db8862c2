"""Pages of an approximate search follow each other, and together show what an exact one shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_obc_ai.indexes import get_index
from django_obc_ai.indexes.replica import sync
from django_obc_ai.services._legs import VectorLeg
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.services.search import SimilaritySearchService
from django_obc_ai.testing import override_ai
from tests.extras import requires
from tests.testapp.ai_indexes import PlaceIndex
from tests.testapp.models import Place

pytestmark = [requires("faiss"), pytest.mark.django_db(transaction=True)]
NUMPY = "django_obc_ai.backends.vector_stores.numpy.NumpyVectorStore"
FAISS = "django_obc_ai.backends.vector_stores.faiss.FaissVectorStore"
#: One of seven lists is read: most of what is near is missed.
POOR = {"kind": "ivf_sq8", "above": 100, "lists": 7, "probes": 1}
ROWS = 300
#: Of so many places one is seen.
STEPS = (1, 3, 50)


@pytest.fixture(autouse=True)
def _poorly_indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(PlaceIndex, "minimum_recall", 0.0)
    options = {"path": str(tmp_path), "approximate": POOR}
    with override_ai(VECTOR_STORES={"default": {"BACKEND": FAISS, "OPTIONS": options}}):
        yield


def fill(step: int) -> None:
    towns = ["Jolo", "Bongao", "Isabela", "Lamitan", "Marawi", "Cotabato"]
    Place.objects.bulk_create(
        Place(name=f"San Isidro {n}", province=f"{towns[n % 6]} {n // 50}", is_hidden=n % step > 0)
        for n in range(ROWS)
    )
    IndexingService().index("places")
    assert not sync(get_index("places")).is_exact


def pages(k: int, **options: Any) -> list[int]:
    search, keys = SimilaritySearchService().search, []
    for offset in range(0, ROWS + k, k):
        page = search(
            "places", "san isidro 7 bongao", user=None, k=k, offset=offset, threshold=-1, **options
        )
        keys += [each.object.pk for each in page]
        if not page:
            break
    return keys


@pytest.mark.parametrize("mode", ["vector", "hybrid"])
@pytest.mark.parametrize("step", STEPS)
def test_nothing_comes_twice_and_nothing_is_left_out(
    step: int, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(step)
    approximate: list[int] = []
    original = VectorLeg._search

    def noting(self: Any, wanted: int, *arguments: Any, is_exact: bool = True) -> Any:
        approximate.extend([] if is_exact else [wanted])
        return original(self, wanted, *arguments, is_exact=is_exact)

    monkeypatch.setattr(VectorLeg, "_search", noting)
    visible = set(Place.objects.filter(is_hidden=False).values_list("pk", flat=True))
    for k in (12, 40):
        approximate.clear()
        shown = pages(k, mode=mode)
        assert len(shown) == len(set(shown))
        assert set(shown) == visible
        assert set(approximate) == {{12: 50, 40: 120}[k] if mode == "vector" else 150}


def test_among_few_visible_rows_the_order_is_that_of_an_exact_search() -> None:
    """Hits of all rows would hold hardly one of them."""
    fill(50)
    shown = pages(3, mode="vector")
    with override_ai(VECTOR_STORES={"default": {"BACKEND": NUMPY}}):
        assert shown == pages(3, mode="vector")
