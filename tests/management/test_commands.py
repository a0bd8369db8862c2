"""The indexing commands: options, progress, and what they say when something is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models import QuerySet

from django_obc_ai.indexes import VectorIndex, generations, get_index, get_indexes, register
from django_obc_ai.indexes.registry import unregister
from django_obc_ai.models import Chunk, IndexGeneration, IndexState
from django_obc_ai.services.indexing import BATCH_SIZE
from django_obc_ai.testing import override_ai
from tests.fakes import TinyEmbedder, entry
from tests.testapp.models import Place, Slugged

pytestmark = pytest.mark.django_db
#: Each with arguments that name the index of places.
COMMANDS = [
    ("ai_index", ["places"]),
    ("rebuild_vector_index", ["--indices", "places"]),
]


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _fresh_stores() -> Iterator[None]:
    with override_ai():
        yield


@pytest.fixture
def rows() -> list[Place]:
    return Place.objects.bulk_create([Place(name=f"Place {n}") for n in range(10)])


def run(command: str, *arguments: str, out: StringIO | None = None, **options: Any) -> str:
    out = out or StringIO()
    call_command(command, *arguments, stdout=out, no_color=True, **options)
    return out.getvalue()


def refused(command: str, *arguments: str) -> str:
    with pytest.raises(CommandError) as raised:
        run(command, *arguments)
    assert raised.value.returncode == 1
    return str(raised.value)


def serving() -> IndexGeneration | None:
    return generations.serving_of(get_index("places"))


def line_of(output: str, name: str) -> str:
    (line,) = [line for line in output.splitlines() if line.startswith(f"{name}: ")]
    return re.sub(r"\d+\.\d s", "N s", line)


# --- ai_index ------------------------------------------------------------------------------------
def test_ai_index_brings_every_index_up_to_date(rows: list[Place]) -> None:
    Slugged.objects.create(slug="a", title="b")
    output = run("ai_index")
    assert [line.partition(":")[0] for line in output.splitlines()] == [
        index.name for index in get_indexes()
    ]
    assert line_of(output, "places") == (
        "places: 10 rows, 10 texts embedded in N s (new generation: first build)"
    )
    assert line_of(output, "slugs").startswith("slugs: 1 rows, 1 texts embedded")
    assert Chunk.objects.count() == 11


def test_ai_index_takes_names(rows: list[Place]) -> None:
    Slugged.objects.create(slug="a", title="b")
    output = run("ai_index", "slugs")
    assert len(output.splitlines()) == 1
    assert Chunk.objects.count() == 1


def test_a_second_run_embeds_nothing(rows: list[Place]) -> None:
    run("ai_index", "places")
    assert (
        line_of(run("ai_index", "places"), "places") == "places: 10 rows, 0 texts embedded in N s"
    )


def test_removed_rows_are_counted(rows: list[Place]) -> None:
    run("ai_index", "places")
    Place.objects.filter(pk__in=[row.pk for row in rows[:2]])._raw_delete("default")
    assert "2 removed" in run("ai_index", "places")


def test_limit_says_that_the_index_does_not_serve_yet(rows: list[Place]) -> None:
    output = run("ai_index", "places", "--limit", "4", "--batch-size", "3")
    assert output.endswith("; not serving yet, run again without --limit\n")
    assert "places: 4 rows, 4 texts embedded" in output
    assert serving() is None
    assert "6 texts embedded" in run("ai_index", "places")
    assert serving() is not None


def test_rebuild_and_force_do_it_all_again(rows: list[Place]) -> None:
    run("ai_index", "places")
    first = serving()
    assert "(new generation: rebuild)" in run("ai_index", "places", "--rebuild")
    second = serving()
    assert first and second and first.pk != second.pk
    assert "10 texts embedded in" in run("ai_index", "places", "--force")
    assert serving() == second


def test_a_changed_embedder_builds_a_new_generation(rows: list[Place]) -> None:
    run("ai_index", "places")
    with override_ai(EMBEDDERS=entry(TinyEmbedder)):
        output = run("ai_index", "places")
    assert "(new generation: embedder or text template changed)" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["places", "--batch-size", "0"], "batch_size is 0; give 1 to 500."),
        (["places", "--batch-size", "501"], "batch_size is 501; give 1 to 500."),
        (["places", "--limit", "0"], "limit is 0; give at least 1"),
        (["place"], "No index is named 'place'. Did you mean 'places'?"),
    ],
)
def test_what_cannot_be_done_is_explained(arguments: list[str], message: str) -> None:
    assert message in refused("ai_index", *arguments)
    assert not IndexGeneration.objects.exists()


@pytest.mark.parametrize(("command", "arguments"), COMMANDS)
def test_wrong_settings_are_explained(command: str, arguments: list[str]) -> None:
    with override_ai(EMBEDDERS=entry("no.such.Embedder")):
        assert "OBC_AI['EMBEDDERS']['default']['BACKEND'] cannot" in refused(command, *arguments)


@pytest.mark.parametrize(("command", "arguments"), COMMANDS)
def test_rows_that_failed_end_the_command_with_an_error(
    command: str, arguments: list[str], rows: list[Place]
) -> None:
    Place.objects.create(name="unreadable")
    out = StringIO()
    with pytest.raises(CommandError) as raised:
        run(command, *arguments, out=out)
    assert str(raised.value) == (
        "1 rows could not be indexed; the log of django_obc_ai.indexes says why."
        " Everything else is up to date."
    )
    assert "places: 11 rows, 10 texts embedded, 1 failed in" in out.getvalue()
    assert Chunk.objects.count() == 10


def test_the_other_indexes_are_done_before_failed_rows_are_reported(rows: list[Place]) -> None:
    Place.objects.create(name="unreadable")
    Slugged.objects.create(slug="a", title="b")
    out = StringIO()
    with pytest.raises(CommandError):
        run("ai_index", "places", "slugs", out=out)
    assert "slugs: 1 rows" in out.getvalue()


@pytest.fixture
def _no_indexes() -> Iterator[None]:
    known = get_indexes()
    for index in known:
        unregister(index.name)
    yield
    for index in known:
        register(type(index))


@pytest.mark.usefixtures("_no_indexes")
@pytest.mark.parametrize("command", ["ai_index", "rebuild_vector_index"])
def test_a_project_without_an_index_is_told_how_to_declare_one(command: str) -> None:
    message = refused(command)
    assert message.startswith("No index is registered. Declare one in an app's ai_indexes.py")


# --- progress ------------------------------------------------------------------------------------
@pytest.fixture
def many() -> int:
    count = BATCH_SIZE + 50
    Slugged.objects.bulk_create([Slugged(slug=f"s{n:04}") for n in range(count)])
    return count


def test_a_terminal_shows_a_bar(many: int) -> None:
    output = run("ai_index", "slugs", "--batch-size", "50", out=Terminal())
    bars = re.findall(r"\rslugs \[(#* *)\] (\d+)/(\d+)", output)
    assert [int(done) for _, done, _ in bars] == [50, 100, 150, 200, 250]
    assert {(len(bar), int(total)) for bar, _, total in bars} == {(30, many)}
    assert [bar.count("#") for bar, _, _ in bars] == [6, 12, 18, 24, 30]
    assert re.search(rf"{many}/{many}, [\d,]+ rows/s *\nslugs: {many} rows", output)


def test_a_log_gets_a_line_every_quarter(many: int) -> None:
    lines = run("ai_index", "slugs", "--batch-size", "5").splitlines()[:-1]
    speed = r", [\d,]+ rows/s"
    left = [rf"slugs: {done}/250{speed}, about [\w ]+ left" for done in (65, 125, 190)]
    assert len(lines) == 4
    assert all(map(re.fullmatch, [*left, f"slugs: 250/250{speed}"], lines))


def test_a_log_of_short_work_has_no_progress(rows: list[Place]) -> None:
    assert len(run("ai_index", "places", "--batch-size", "1").splitlines()) == 1


@pytest.mark.parametrize("out", [StringIO, Terminal])
def test_verbosity_zero_says_nothing(out: Callable[[], StringIO], many: int) -> None:
    assert run("ai_index", "slugs", verbosity=0, out=out()) == ""
    assert Chunk.objects.count() == many


def test_an_empty_index_has_no_progress() -> None:
    assert "\r" not in run("ai_index", "places", out=Terminal())


def test_an_interrupted_bar_ends_its_line(rows: list[Place]) -> None:
    Place.objects.create(name="unreadable")
    out = Terminal()
    with pytest.raises(CommandError):
        run("ai_index", "places", out=out)
    assert re.search(r"11/11, [\d,]+ rows/s\nplaces: 11 rows", out.getvalue())


# --- index_communities ---------------------------------------------------------------------------
@contextmanager
def communities() -> Iterator[None]:
    class CommunityIndex(VectorIndex):
        name = "communities"
        model = Place
        fields = ("name",)

        def visible_to(self, queryset: QuerySet[Any], user: Any) -> QuerySet[Any]:
            return queryset

    register(CommunityIndex)
    try:
        yield
    finally:
        unregister("communities")


def test_index_communities_indexes_the_index_of_that_name(rows: list[Place]) -> None:
    with communities():
        output = run("index_communities", "--limit", "3", "--batch-size", "2")
        assert output.startswith("communities: 3 rows, 3 texts embedded")
        assert "7 texts embedded" in run("index_communities")
        assert "(new generation: rebuild)" in run("index_communities", "--rebuild")
        assert "10 texts embedded in" in run("index_communities", "--force")
    assert list(IndexState.objects.values_list("name", flat=True)) == ["communities"]


def test_index_communities_without_such_an_index_says_so() -> None:
    message = refused("index_communities")
    assert message.startswith("No index is named 'communities'.")
    assert "ai_indexes.py" in message


# --- rebuild_vector_index ------------------------------------------------------------------------
def test_rebuild_builds_every_index_anew(rows: list[Place]) -> None:
    run("ai_index")
    before = set(IndexGeneration.objects.values_list("pk", flat=True))
    output = run("rebuild_vector_index", "--batch-size", "4")
    assert output.count("(new generation: rebuild)") == len(get_indexes())
    after = set(IndexGeneration.objects.values_list("pk", flat=True))
    assert len(after) == len(before)
    assert not after & before


def test_rebuild_of_some_leaves_the_others(rows: list[Place]) -> None:
    run("ai_index")
    slugs = generations.serving_of(get_index("slugs"))
    output = run("rebuild_vector_index", "--indices", "places", "uuids")
    assert [line.partition(":")[0] for line in output.splitlines()] == ["places", "uuids"]
    assert generations.serving_of(get_index("slugs")) == slugs


def test_an_unknown_name_is_refused_before_anything_is_rebuilt(rows: list[Place]) -> None:
    run("ai_index", "places")
    before = serving()
    message = refused("rebuild_vector_index", "--indices", "places", "slug")
    assert message.startswith("No index is named 'slug'. Did you mean 'slugs'?")
    assert serving() == before
