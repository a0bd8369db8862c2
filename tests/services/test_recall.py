"""Approximate search is used where its measured recall allows it, and nowhere else."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_obc_ai.backends.vector_stores import BaseVectorStore
from django_obc_ai.exceptions import ConfigurationError, IndexNotReadyError, UnknownIndexError
from django_obc_ai.indexes import VectorIndex, get_index, register
from django_obc_ai.indexes.replica import sync
from django_obc_ai.models import IndexState
from django_obc_ai.services import recall
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.services.recall import decide_by_recall, measure_recall
from django_obc_ai.services.search import SimilaritySearchService
from django_obc_ai.testing import override_ai
from tests.extras import requires
from tests.testapp.models import Place

pytestmark = [requires("faiss"), pytest.mark.django_db(transaction=True)]
FAISS = "django_obc_ai.backends.vector_stores.faiss.FaissVectorStore"
GOOD = {"kind": "ivf_sq8", "above": 100, "probes": 7}
#: One of seven lists is read: whatever else is near is lost.
POOR = {"kind": "ivf_sq8", "above": 100, "lists": 7, "probes": 1}
SETTINGS = "ivf_sq8 probes=7"


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    return {"path": str(tmp_path)}


def using(options: dict[str, Any], approximate: dict[str, Any] | None) -> Any:
    entry = {"BACKEND": FAISS, "OPTIONS": {**options, "approximate": approximate}}
    return override_ai(VECTOR_STORES={"default": entry})


@pytest.fixture
def places() -> None:
    towns = ["Jolo", "Bongao", "Isabela", "Lamitan", "Marawi", "Cotabato"]
    Place.objects.bulk_create(
        Place(name=f"San Isidro {n}", province=f"{towns[n % 6]} {n // 50}") for n in range(300)
    )


def is_exact() -> bool:
    return sync(get_index("places")).is_exact


def state() -> IndexState:
    return IndexState.objects.get(pk="places")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each search of a FAISS store was to be exact."""
    from django_obc_ai.backends.vector_stores.faiss import FaissVectorStore

    found: list[bool] = []
    original = FaissVectorStore.search

    def noting(self: Any, *arguments: Any, is_exact: bool = True, **rest: Any) -> Any:
        found.append(is_exact)
        return original(self, *arguments, is_exact=is_exact, **rest)

    monkeypatch.setattr(FaissVectorStore, "search", noting)
    return found


def test_a_run_of_the_indexer_measures_and_searches_are_approximate_from_then_on(
    options: dict[str, Any], places: None, asked: list[bool]
) -> None:
    with using(options, GOOD):
        IndexingService().index("places")
        assert state().recall == 1.0
        assert state().recall_of == SETTINGS
        asked.clear()
        results = SimilaritySearchService().search("places", "san isidro 7 bongao", user=None)
        assert len(results) == 10
        assert asked == [False]


def test_a_recall_below_the_floor_is_refused_and_search_stays_exact(
    options: dict[str, Any], places: None
) -> None:
    with using(options, POOR):
        IndexingService().index("places")
        assert (state().recall, is_exact()) == (None, True)
        report = decide_by_recall("places")
        assert (report.kind, report.is_allowed, report.reason) == ("IVF+SQ8, 7 lists", False, "")
        assert 0 < report.worst_decile <= report.recall < report.floor == 0.95
    with using(options, GOOD):
        assert decide_by_recall("places").is_allowed
        assert not is_exact()
    with using(options, POOR):  # a switch to it is refused, and takes back what was allowed
        decide_by_recall("places")
    with using(options, GOOD):
        assert is_exact()


def test_measuring_changes_nothing(options: dict[str, Any], places: None) -> None:
    with using(options, None):
        IndexingService().index("places")
    with using(options, GOOD):
        report = measure_recall("places", k=5, sample=20)
        assert (report.recall, report.k, report.queries) == (1.0, 5, 20)
        assert report.settings == SETTINGS
        assert report.exact_ms > 0 < report.approximate_ms
        assert (state().recall, is_exact()) == (None, True)


def test_other_settings_than_were_measured_search_exactly(
    options: dict[str, Any], places: None
) -> None:
    with using(options, GOOD):
        IndexingService().index("places")
        assert not is_exact()
    for other in (POOR, {**GOOD, "probes": 6}, None):
        with using(options, other):
            assert is_exact()
    with using(options, GOOD):
        assert not is_exact()


def test_another_generation_is_measured_before_it_is_searched_approximately(
    options: dict[str, Any], places: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with using(options, GOOD):
        IndexingService().index("places")
        with monkeypatch.context() as patch:
            patch.setattr("django_obc_ai.services.indexing.renew_recall", lambda _: None)
            IndexingService().index("places", rebuild=True)
        assert (state().recall, state().recall_of, is_exact()) == (None, "", True)
        IndexingService().index("places")
        assert not is_exact()


def test_a_switch_beside_the_measurement_is_not_overruled(
    options: dict[str, Any], places: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with using(options, GOOD):
        IndexingService().index("places")
        original = recall._measured

        def slow(*arguments: Any, **rest: Any) -> Any:
            found = original(*arguments, **rest)
            with monkeypatch.context() as patch:
                patch.setattr("django_obc_ai.services.indexing.renew_recall", lambda _: None)
                IndexingService().index("places", rebuild=True)
            return found

        monkeypatch.setattr(recall, "_measured", slow)
        assert decide_by_recall("places").is_allowed
        assert (state().recall, is_exact()) == (None, True)


@pytest.mark.parametrize(
    ("approximate", "reason"),
    [
        (None, "its vector store's options ask for no approximate index"),
        ({**GOOD, "above": 301}, "it has 300 chunks, and the option 'above' says 301"),
    ],
)
def test_what_is_not_to_be_approximated_is_not_measured(
    approximate: dict[str, Any] | None, reason: str, options: dict[str, Any], places: None
) -> None:
    with using(options, approximate):
        IndexingService().index("places")
        report = decide_by_recall("places")
        assert (report.reason, report.is_allowed, report.chunks) == (reason, False, 300)


def test_the_numpy_store_cannot(places: None) -> None:
    numpy = "django_obc_ai.backends.vector_stores.numpy.NumpyVectorStore"
    with override_ai(VECTOR_STORES={"default": {"BACKEND": numpy}}):
        IndexingService().index("places")
        assert "no approximate index" in decide_by_recall("places").reason


# --- whose queries ------------------------------------------------------------------------------
def test_queries_are_given_or_the_index_s_own_or_made_of_its_chunks(
    options: dict[str, Any], places: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with using(options, GOOD):
        IndexingService().index("places")
        report = measure_recall("places")
        assert (report.source, report.queries) == ("first words of sampled chunks", 200)
        own = ["isidro jolo", "san isidro", "???"]  # no words: nothing is searched for
        monkeypatch.setattr(type(get_index("places")), "recall_queries", lambda _: own)
        report = measure_recall("places")
        assert (report.source, report.queries) == ("recall_queries()", 2)
        report = measure_recall("places", queries=["bongao 3"])
        assert (report.source, report.queries) == ("given", 1)
        report = measure_recall("places", queries=["???"])
        assert report.reason == "none of the queries finds anything"


# --- errors -------------------------------------------------------------------------------------
def test_what_cannot_be_measured_is_an_error_and_a_run_of_the_indexer_goes_on(
    options: dict[str, Any], places: None, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    with using(options, GOOD):
        with pytest.raises(IndexNotReadyError, match="has not been built"):
            measure_recall("places")
        with pytest.raises(UnknownIndexError):
            measure_recall("nothing")
        IndexingService().index("places")
        for wrong in ({"k": 0}, {"sample": 0}):
            with pytest.raises(ValueError, match="at least 1"):
                measure_recall("places", **wrong)

        def refuse(*_: Any, **__: Any) -> Any:
            raise IndexNotReadyError("The disk is full.")

        monkeypatch.setattr(recall, "_measured", refuse)
        assert IndexingService().index("places").is_serving
        assert "was not measured" in caplog.text
        assert not is_exact()  # as before


@pytest.mark.parametrize("floor", [0, 1.5, -1, "0.9", True, None])
def test_a_floor_that_is_no_share_is_refused_at_registration(floor: Any) -> None:
    made = type("Odd", (VectorIndex,), {"name": "odd", "model": Place, "minimum_recall": floor})
    with pytest.raises(ConfigurationError, match="minimum_recall of"):
        register(made)


# --- the command --------------------------------------------------------------------------------
def run(*arguments: str) -> str:
    out = StringIO()
    call_command("ai_index", *arguments, stdout=out, no_color=True)
    return out.getvalue()


@pytest.fixture
def indexed(options: dict[str, Any], places: None) -> None:
    with using(options, None):
        IndexingService().index("places")


def test_the_command_says_what_was_reached_and_switches(
    indexed: None, options: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "queries.txt").write_text("isidro jolo\n\nsan isidro 4\n")
    with using(options, GOOD):
        line = run("places", "--measure-recall")
        assert line.startswith("places: recall@10 1.000 (worst tenth 1.000) of 200 queries (first")
        assert line.endswith(": searched approximately\n")
        assert not is_exact()
        line = run("places", "--measure-recall", "--queries", str(tmp_path / "queries.txt"))
        assert "of 2 queries (given), at least 0.950 wanted; IVF+SQ8, 7 lists over 300" in line


def test_the_command_refuses_what_is_below_the_floor(
    indexed: None, options: dict[str, Any]
) -> None:
    with using(options, POOR), pytest.raises(CommandError, match="Refused: recall is") as raised:
        run("places", "--measure-recall")
    assert raised.value.returncode == 1
    assert "places: ivf_sq8 lists=7 probes=1" in str(raised.value)


def test_the_command_says_what_stays_exact(indexed: None, options: dict[str, Any]) -> None:
    with using(options, {**GOOD, "above": 1_000}):
        line = run("places", "--measure-recall")
    assert line == (
        "places: searched exactly; it has 300 chunks, and the option 'above' says 1,000.\n"
    )


def test_the_command_s_file_of_queries_must_be_usable(
    indexed: None, options: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    for arguments, message in (
        (["places", "--queries", "x"], "goes with --measure-recall"),
        (["--measure-recall", "--queries", "x"], "the name of one index"),
        (["places", "--measure-recall", "--queries", str(tmp_path / "no")], "cannot be read"),
        (["places", "--measure-recall", "--queries", str(tmp_path / "empty.txt")], "no text"),
    ):
        with pytest.raises(CommandError, match=message):
            run(*arguments)


def test_every_store_says_whether_it_can() -> None:
    assert BaseVectorStore.can_approximate is False
