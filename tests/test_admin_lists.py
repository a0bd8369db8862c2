"""The list of operations over a ledger of any length, and its CSV."""

from __future__ import annotations

import asyncio
import csv
import datetime
import io
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.db import connections
from django.test import AsyncClient, Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_obc_ai.admin import downloads, large_lists
from django_obc_ai.models import AIOperation
from django_obc_ai.querysets import AIOperationQuerySet
from tests.test_admin import LIST, _client, listed, make, text_of

CSV = "admin:django_obc_ai_aioperation_csv"
pytestmark = pytest.mark.django_db
T0 = datetime.datetime(2026, 10, 31, 15, 30, tzinfo=datetime.UTC)  # 23:30 in Manila


@pytest.fixture
def viewer() -> Client:
    return _client("view_aioperation")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let ten rows be more than a list counts."""
    monkeypatch.setattr(large_lists, "MOST", 4)
    return 4


def ten() -> None:
    for number in range(10):
        make(
            operation_type=f"t{number}",
            cost_usd=Decimal(number % 3),
            created_at=T0 + datetime.timedelta(hours=number),
        )


def test_a_short_list_is_counted_and_sorts_by_any_column(viewer: Client) -> None:
    ten()
    page = text_of(viewer.get(reverse(LIST)))
    assert "10 AI operations" in page
    assert "More than" not in page
    cheapest = listed(viewer.get(reverse(LIST), {"o": "6"}))
    assert cheapest[:4] == ["t9", "t6", "t3", "t0"]


def test_a_long_list_says_so_and_shows_as_many_pages_as_it_counts(
    viewer: Client, short: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ten()
    monkeypatch.setattr("django_obc_ai.admin.operations.AIOperationAdmin.list_per_page", 2)
    page = text_of(viewer.get(reverse(LIST)))
    assert "More than 4 AI operations" in page
    assert listed(viewer.get(reverse(LIST), {"p": 2})) == ["t7", "t6"]
    assert viewer.get(reverse(LIST), {"p": 3}).status_code == 302  # as Django does with no page
    day = {"created_at__day": 31, "created_at__month": 10, "created_at__year": 2026}
    assert "1 AI operation" in text_of(viewer.get(reverse(LIST), day))


def test_a_long_list_sorts_by_time_alone(viewer: Client, short: int) -> None:
    ten()
    assert listed(viewer.get(reverse(LIST), {"o": "6"}))[:2] == ["t9", "t8"]
    assert listed(viewer.get(reverse(LIST), {"o": "0"}))[:2] == ["t0", "t1"]
    page = text_of(viewer.get(reverse(LIST)))
    assert "?o=0" in page
    assert "?o=6" not in page


@pytest.mark.django_db(databases=["default", "postgres"])
def test_postgres_estimates_the_whole_table(
    short: int, postgres_alias: str, viewer: Client
) -> None:
    with override_settings(OBC_AI={"DATABASE": postgres_alias}):
        ten()
        with connections[postgres_alias].cursor() as cursor:
            cursor.execute("ANALYZE django_obc_ai_aioperation")
        superuser = _client(is_superuser=True)
        page = text_of(superuser.get(reverse(LIST)))
        assert "About 10 (estimated) AI operations" in page
        filtered = text_of(superuser.get(reverse(LIST), {"success__exact": "1"}))
        assert "More than 4 AI operations" in filtered


def test_days_are_links_in_the_sites_time_zone(viewer: Client) -> None:
    ten()  # from the last half hour of October on, in Manila
    page = text_of(viewer.get(reverse(LIST)))
    assert "October 2026" in page and "November 2026" in page
    chosen = {"created_at__year": 2026, "created_at__month": 10}
    page = text_of(viewer.get(reverse(LIST), chosen))
    assert "October 31" in page and "October 30" not in page
    assert listed(viewer.get(reverse(LIST), {**chosen, "created_at__day": 31})) == ["t0"]
    assert listed(viewer.get(reverse(LIST), {**chosen, "created_at__month": 11}))[-1] == "t1"
    wrong = {**chosen, "created_at__month": 13}
    assert viewer.get(reverse(LIST), wrong).status_code == 302


def test_an_empty_ledger_has_no_days(viewer: Client) -> None:
    page = text_of(viewer.get(reverse(LIST)))
    assert "0 AI operations" in page
    assert "date-hierarchy" not in page


def test_years_are_offered_where_there_are_several(viewer: Client) -> None:
    make(created_at=datetime.datetime(2024, 5, 5, tzinfo=datetime.UTC))
    make(created_at=datetime.datetime(2026, 5, 5, tzinfo=datetime.UTC))
    page = text_of(viewer.get(reverse(LIST)))
    for year in (2024, 2025, 2026):
        assert f'href="?created_at__year={year}"' in page


def test_filters_offer_the_values_in_use_and_the_one_that_is_chosen(viewer: Client) -> None:
    make(module="mana", model_used="m-1", operation_type="chat")
    page = text_of(viewer.get(reverse(LIST), {"module": "gone"}))
    for value in ("module=mana", "module=gone", "model_used=m-1", "operation_type=chat"):
        assert value in page
    assert "error_category=timeout" in page  # a code that errors can have


def test_a_search_finds_all_that_the_text_names(viewer: Client) -> None:
    both = make(operation_type="by_id")
    make(operation_type="by_scope", scope=str(both.pk))
    assert set(listed(viewer.get(reverse(LIST), {"q": str(both.pk)}))) == {"by_id", "by_scope"}
    make(operation_type="hash_1", prompt_hash="ab" * 32)
    make(operation_type="hash_2", prompt_hash="ab" * 31 + "cd")
    assert listed(viewer.get(reverse(LIST), {"q": "ab" * 32})) == ["hash_1"]


def _plans(client: Client, query: dict[str, Any], alias: str) -> list[str]:
    """The plans of all statements about operations that the list makes."""
    connection = connections[alias]
    with CaptureQueriesContext(connection) as caught:
        text_of(client.get(reverse(LIST), query))
    found = []
    mine = [each["sql"] for each in caught.captured_queries if "aioperation" in each["sql"]]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
        for statement in mine:
            if not statement.startswith("SELECT") or "reltuples" in statement:
                continue
            kind = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
            cursor.execute(f"{kind} {statement.replace('%', '%%')}", ())
            found.append("\n".join(str(row[-1]) for row in cursor.fetchall()))
    assert found
    return found


@pytest.mark.parametrize("alias", ["default", "postgres"])
@pytest.mark.parametrize(
    "query",
    [
        {},
        {"module": "mana"},
        {"operation_type": "chat"},
        {"model_used": "m-1"},
        {"success__exact": "0"},
        {"error_category": "timeout"},
        {"cached__exact": "1"},
        {"coalesced__exact": "1"},
        {"fell_back": "yes"},
        {"cost_known__exact": "0"},
        {"user__id__exact": "7"},
        {"q": "tenant"},
        {"q": "amina"},
        {"q": "ab" * 32},
        {"q": "7a1fbd1c-0c6d-4b7e-9d1c-2f6d0f1f9b11"},
        {"created_at__year": 2026, "created_at__month": 10},
    ],
    ids=str,
)
@pytest.mark.django_db(databases=["default", "postgres"])
def test_no_statement_reads_the_whole_ledger(
    alias: str, query: dict[str, Any], postgres_alias: str
) -> None:
    superuser = _client(is_superuser=True)
    with override_settings(OBC_AI={"DATABASE": alias}):
        ten()
        make(prompt_hash="ab" * 32)
        make(user=get_user_model().objects.create(username="amina"))
        for plan in _plans(superuser, query, alias):
            assert "Seq Scan on django_obc_ai_aioperation" not in plan, plan
            if "SCAN django_obc_ai_aioperation" in plan:  # SQLite: in the order of an index
                assert "SCAN django_obc_ai_aioperation USING" in plan, plan


def rows_of(response: Any) -> list[dict[str, str]]:
    assert response.status_code == 200
    text = b"".join(response.streaming_content).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_has_the_rows_of_the_list_and_exact_amounts(viewer: Client) -> None:
    user = get_user_model().objects.create(username="=cmd|amina")
    make(user=user, module="mana", cost_usd=Decimal("0.000000001"), created_at=T0)
    make(module="other")
    (row,) = rows_of(viewer.get(reverse(CSV), {"module": "mana"}))
    assert row["created_at"] == "2026-10-31T15:30:00+00:00"
    assert row["cost_usd"] == "0.000000001"
    assert (row["user_id"], row["user"]) == (str(user.pk), "'=cmd|amina")
    assert set(row) == {field.attname for field in AIOperation._meta.fields} | {"user"}
    entry = LogEntry.objects.get()
    assert entry.change_message == "Downloaded as CSV: module=mana"


def test_no_cell_is_a_formula(viewer: Client) -> None:
    make(module="=1+1", error_message="@SUM(A1)", success=False)
    (row,) = rows_of(viewer.get(reverse(CSV)))
    assert (row["module"], row["error_message"]) == ("'=1+1", "'@SUM(A1)")


def test_csv_is_read_in_parts_without_losing_or_repeating_a_row(
    viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "_SIZE", 3)
    made = [make(created_at=T0 + datetime.timedelta(seconds=n // 4)) for n in range(11)]
    response = viewer.get(reverse(CSV))
    seen = iter(response.streaming_content)
    next(seen)
    next(seen)
    make(module="late", created_at=T0 + datetime.timedelta(days=1))  # while it is being sent
    text = b"".join(seen).decode()
    lines = text.strip().splitlines()
    assert len(lines) == 11 - 3
    assert not any("late" in line for line in lines)
    rows = rows_of(viewer.get(reverse(CSV)))
    assert len(rows) == 12 and {str(each.pk) for each in made} <= {row["id"] for row in rows}
    assert [row["created_at"] for row in rows] == sorted(
        (row["created_at"] for row in rows), reverse=True
    )


def test_parts_hold_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        make()
    with CaptureQueriesContext(connections["default"]) as caught:
        parts = AIOperation.objects.all().in_parts(["module"], size=2)
        assert [len(each) for each in parts] == [2, 2, 1]
    assert len(caught) == 3
    assert all("LIMIT 2" in each["sql"] for each in caught.captured_queries)


def test_csv_takes_the_permission_to_view() -> None:
    make()
    assert _client("view_dashboard").get(reverse(CSV)).status_code == 403
    assert Client().get(reverse(CSV)).status_code == 302
    assert not LogEntry.objects.exists()


def test_csv_of_a_filter_that_makes_no_sense_leads_back(viewer: Client) -> None:
    response = viewer.get(reverse(CSV), {"created_at__year": "x"})
    assert response.status_code == 302
    assert response["Location"] == f"{reverse(LIST)}?e=1"


@pytest.mark.django_db(transaction=True)
def test_csv_streams_under_asgi_too() -> None:
    make(module="mana")
    user = get_user_model().objects.create_superuser("root")

    async def read() -> str:
        client = AsyncClient()
        await client.aforce_login(user)
        response: Any = await client.get(reverse(CSV))
        assert response.is_async
        text = b"".join([piece async for piece in response.streaming_content]).decode()
        await sync_to_async(connections.close_all)()
        return text

    assert "mana" in asyncio.run(read())


def test_values_in_use_stop_at_so_many() -> None:
    for name in "abcab":
        make(module=name)
    rows: AIOperationQuerySet = AIOperation.objects.all()
    assert rows.values_in_use("module", most=9) == ["a", "b", "c"]
    assert rows.values_in_use("module", most=2) == ["a", "b"]
