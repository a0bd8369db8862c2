"""The dashboard: who may see it, and that each figure is that of the rows it links to."""

from __future__ import annotations

import csv
import datetime
import html
import io
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_obc_ai.admin.dashboard_tables import TABLES
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.models import AIOperation
from django_obc_ai.querysets import current_day
from django_obc_ai.testing import index_now, override_ai
from tests.dashboard_page import read_page

pytestmark = pytest.mark.django_db
NAME = "admin:django_obc_ai_dashboard"
BUDGETS = [{"scope": "global", "period": "day", "limit_usd": "5"}]


def client(*permissions: str, **user: Any) -> Client:
    made = get_user_model().objects.create_user(
        f"staff{get_user_model().objects.count()}", is_staff=True, **user
    )
    made.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    found = Client()
    found.force_login(made)
    return found


@pytest.fixture
def viewer() -> Client:
    return client("view_dashboard", "view_aioperation")


def make(days_ago: float = 0, **values: Any) -> AIOperation:
    began = timezone.now() - datetime.timedelta(days=days_ago)
    given = {"provider": "default", "success": True, "prompt_hash": "", "created_at": began}
    return AIOperation.objects.create(**{**given, "recorded_at": began, **values})


def fill() -> None:
    amina = get_user_model().objects.create(username="amina <b>")
    make(1, module="mana", cost_usd=Decimal("1.25"), user=amina, response_time_ms=900)
    make(1, module="mana", cost_usd=Decimal("0.75"), response_time_ms=2_500, first_chunk_ms=300)
    make(2, module="=SUM(A1)", cached=True, saved_usd=Decimal("0.5"))
    make(2, success=False, error_category="timeout", cost_usd=Decimal("0.1"), cost_known=False)
    make(40, module="mana", cost_usd=Decimal(3))


def page_of(viewer: Client, **query: Any) -> str:
    response = viewer.get(reverse(NAME), query)
    assert response.status_code == 200
    return str(response.content.decode())


def data_of(page: str) -> dict[str, Any]:
    match = re.search(r'<script id="ai-data" type="application/json">(.*?)</script>', page)
    assert match
    found: dict[str, Any] = json.loads(match[1])
    return found


def tile(page: str, name: str) -> tuple[str, str]:
    """The value of a tile for machines, and where it leads."""
    found = read_page(page).tiles[name]
    return found["data-value"], found.get("url", "")


# --- who may see it ------------------------------------------------------------------------------
VIEWS = ("", "spend.csv", "users.csv", "repeated/")


@pytest.mark.parametrize("part", VIEWS)
def test_staff_without_the_permission_get_nothing(part: str) -> None:
    url = reverse(NAME) + part
    assert client("view_aioperation").get(url).status_code == 403
    assert client("view_dashboard").get(url).status_code == 200


@pytest.mark.parametrize("part", VIEWS)
def test_others_are_sent_to_log_in(part: str) -> None:
    url = reverse(NAME) + part
    response = Client().get(url)
    assert response.status_code == 302 and "/login/" in response["Location"]


def test_the_list_leads_to_it_whoever_may_see_it(viewer: Client) -> None:
    url = reverse("admin:django_obc_ai_aioperation_changelist")
    assert reverse(NAME) in viewer.get(url).content.decode()
    assert reverse(NAME) not in client("view_aioperation").get(url).content.decode()


# --- figures -------------------------------------------------------------------------------------
def test_figures_are_written_for_people_too(viewer: Client) -> None:
    fill()
    page = page_of(viewer)
    for text in (">4<", ">$2.10<", ">75.0 %<", ">25.0 %<", ">1.70 s<", ">33.3 %<", ">$0.5000<"):
        assert text in page, text
    assert "1 with a presumed cost" in page and "3 operations" in page


def test_the_period_before_stands_beside(viewer: Client) -> None:
    fill()
    today = current_day()
    page = page_of(viewer, **{"from": today - datetime.timedelta(days=29), "to": today})
    assert "-30 % · " in page and ">before: $3.00<" in page
    assert "-25.0 points · " in page and ">before: 100.0 %<" in page
    assert re.search(r"<td class=\"ai-number\">\$3.00</td>", page)  # of nobody in particular


@pytest.mark.parametrize("by", ["module", "operation_type", "model", "user", "scope"])
def test_spend_is_drawn_by_every_dimension_and_leads_to_its_rows(viewer: Client, by: str) -> None:
    fill()
    page = page_of(viewer, by=by)
    spend = data_of(page)["spend"]
    assert len(spend["labels"]) == 30
    assert round(sum(map(sum, spend["series"])), 9) == 2.1
    table = page[page.index('data-chart="spend"') : page.index('data-chart="calls"')]
    links = re.findall(r'<td class="ai-number"><a href="([^"]*)">\$([\d.]+)', table)
    assert len(links) >= 3
    for url, amount in links:
        rows = viewer.get(html.unescape(url)).context["cl"].queryset
        assert f"{rows.total_cost():.4f}".startswith(amount.rstrip("0").rstrip("."))


def test_many_values_are_drawn_as_others(viewer: Client) -> None:
    for number in range(12):
        make(1, module=f"m{number:02}", cost_usd=Decimal(number + 1))
    spend = data_of(page_of(viewer))["spend"]
    assert spend["names"] == [*(f"m{n:02}" for n in range(11, 4, -1)), "5 others"]
    assert sum(spend["series"][-1]) == 1 + 2 + 3 + 4 + 5


@pytest.mark.parametrize("table", [*TABLES, "repeated"])
def test_tables_are_downloaded_and_no_cell_is_a_formula(viewer: Client, table: str) -> None:
    fill()
    response = viewer.get(reverse(f"{NAME}_csv", args=[table]))
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.reader(io.StringIO(response.content.decode())))
    lengths = {"spend": 31, "calls": 31, "times": 31, "tokens": 7, "users": 3, "errors": 2}
    assert len(rows) == {**lengths, "dearest": 4, "slowest": 3, "repeated": 1}[table]
    assert not any(cell.startswith("=") for row in rows for cell in row)
    if table == "spend":
        at = rows[0].index("All")
        assert sum(Decimal(row[at]) for row in rows[1:]) == Decimal("2.1")
    assert viewer.get(reverse(f"{NAME}_csv", args=["nothing"])).status_code == 404


def test_prompts_paid_for_again_are_named_by_their_hash(viewer: Client) -> None:
    for _ in range(3):
        make(1, prompt_hash="a" * 64, cost_usd=Decimal("0.2"))
    page = viewer.get(reverse(f"{NAME}_repeated")).content.decode()
    assert "aaaaaaaaaaaa" in page and "$0.6000" in page and "cost_usd__gt=0" in page


def test_operations_that_were_purged_since_keep_their_figure_and_lead_nowhere(
    viewer: Client,
) -> None:
    fill()
    page_of(viewer)
    dearest = AIOperation.objects.get(cost_usd=Decimal("1.25"))
    AIOperation.objects.filter(pk=dearest.pk).delete()
    page = page_of(viewer)
    first, second = read_page(page).tables["dearest"][:2]
    assert [text for text, _ in first] == ["$1.25", "purged", "", ""]
    assert first[0][1] == "" and str(dearest.pk) not in page
    assert second[0][0] == "$0.7500" and viewer.get(second[0][1]).status_code == 200
    assert tile(page, "spent")[0] == "2.100000000"


def test_a_deleted_user_keeps_the_figures_and_leads_nowhere(viewer: Client) -> None:
    fill()
    page_of(viewer)
    amina = get_user_model().objects.get(username="amina <b>")
    key = amina.pk
    amina.delete()
    users = read_page(page_of(viewer, by="user")).tables["users"]
    assert users[0][:2] == [(f"#{key}, deleted", ""), ("$1.25", "")]


def test_every_user_that_is_shown_has_a_name_however_many_there_are(viewer: Client) -> None:
    users = get_user_model().objects.bulk_create(
        get_user_model()(username=f"u{number}") for number in range(600)
    )
    began = timezone.now() - datetime.timedelta(days=1)
    AIOperation.objects.bulk_create(
        AIOperation(user_id=user.pk, cost_usd=number, provider="p", success=True,
                    created_at=began, recorded_at=began, prompt_hash="")
        for number, user in enumerate(users)
    )  # fmt: skip
    shown = read_page(page_of(viewer)).tables["users"]
    assert [row[0][0] for row in shown] == [f"u{number}" for number in range(599, 589, -1)]


def test_who_may_not_see_operations_gets_figures_without_links() -> None:
    fill()
    with override_ai(BUDGETS=BUDGETS):
        page = page_of(client("view_dashboard"))
    found = read_page(page)
    assert tile(page, "operations") == ("4", "")
    assert not any(url for rows in found.tables.values() for row in rows for _, url in row)
    assert not any("url" in each for each in found.gauges.values())
    assert "/aioperation/?" not in page


def test_indexes_say_what_to_do(viewer: Client) -> None:
    page = page_of(viewer)
    assert "not built: run <code>ai_index places</code>" in page


def test_an_index_whose_embedder_is_broken_does_not_break_the_page(
    viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_now("places")

    def broken(self: Any, name: str) -> bool:
        raise ConfigurationError("The package of the embedder is missing.")

    monkeypatch.setattr("django_obc_ai.services.indexing.IndexingService.is_current", broken)
    assert "The package of the embedder is missing." in page_of(viewer)


# --- the page ------------------------------------------------------------------------------------
def test_nothing_on_the_page_needs_an_inline_script_or_style(viewer: Client) -> None:
    fill()
    page = page_of(viewer)
    own = page[page.index('id="ai-dashboard"') :]
    assert not re.findall(r"<script(?![^>]*(?:src=|application/json))", own)
    assert not re.findall(r"\sstyle=|\son\w+=", own)
    assert "https://" not in own
    assert "amina <b>" not in page  # escaped


def test_what_the_page_asks_for_is_in_the_package(viewer: Client) -> None:
    files = re.findall(r'(?:src|href)="/static/(django_obc_ai/[^"]+)"', page_of(viewer))
    assert len(files) == 3
    for name in files:
        found = finders.find(name)
        assert found and "sourceMappingURL" not in Path(found).read_text(encoding="utf-8")


def test_each_chart_has_a_table_and_a_download(viewer: Client) -> None:
    page = page_of(viewer)
    assert sorted(re.findall(r'data-chart="(\w+)"', page)) == ["calls", "spend", "times"]
    for name in ("calls", "spend", "times"):
        assert reverse(f"{NAME}_csv", args=[name]) in page
    assert page.count("<details>") == 3
    assert "There were no operations on these days." in page


def test_the_page_asks_the_database_no_more_for_more_rows(
    viewer: Client, django_assert_max_num_queries: Any
) -> None:
    for number in range(40):
        make(1, module=f"m{number}", cost_usd=Decimal(1), prompt_hash=f"{number:064}")
    page_of(viewer)
    # 16 of them for the four indexes of the tests, 6 for work in the background.
    with django_assert_max_num_queries(38):
        page_of(viewer)


def test_the_list_of_the_apps_models_leads_to_it(viewer: Client) -> None:
    url = reverse("admin:app_list", args=["django_obc_ai"])
    assert reverse(NAME) in viewer.get(url).content.decode()
    assert reverse(NAME) not in client("view_aioperation").get(url).content.decode()


@pytest.mark.parametrize(("query", "message"), [
    ({"from": "yesterday"}, "“yesterday” is no date"),
    ({"from": "1990-01-01", "to": "2026-01-01"}, "At most 366 days"),
    ({"by": "password"}, ""),
    ({"from": "2026-11-25", "to": "2026-11-01"}, ""),
])  # fmt: skip
def test_addresses_that_make_no_sense_are_answered(
    viewer: Client, query: dict[str, str], message: str
) -> None:
    assert message in html.unescape(page_of(viewer, **query))


def test_what_is_not_added_up_yet_is_said(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_obc_ai.services.rollups.roll_up", lambda most: 7)
    assert "7 quarters of an hour are left" in page_of(viewer)
