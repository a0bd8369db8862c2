"""Work in the background on the dashboard: the figures, where they lead, and what is wrong."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from django.test import Client

from django_obc_ai.testing import override_ai
from tests.background import job, runner, task, worker
from tests.dashboard_page import Page, read_page
from tests.test_dashboard import client, page_of

pytestmark = pytest.mark.django_db
HOUR = datetime.timedelta(hours=1)
TILES = {"jobs-waiting", "jobs-running", "jobs-failed", "at-broker", "workers", "beat"}


@pytest.fixture
def viewer() -> Client:
    return client("view_dashboard", "view_job", "view_taskstate", "view_worker")


def look(viewer: Client, **options: Any) -> Page:
    with override_ai(TASK_RUNNERS=runner(**options)):
        return read_page(page_of(viewer))


def behind(viewer: Client, url: str) -> int:
    """How many rows the list behind a link has."""
    response = viewer.get(url)
    assert response.status_code == 200, url
    return int(response.context["cl"].result_count)


def test_each_figure_leads_to_the_rows_that_it_counts(viewer: Client) -> None:
    job(HOUR)
    job(provider="gone")
    job(status="running")
    for ago in (HOUR, 2 * HOUR, 30 * HOUR):
        job(ago, status="failed")
    worker()
    page = look(viewer)
    told = {name: page.tiles[name]["data-value"] for name in TILES - {"beat"}}
    assert told == {
        "jobs-waiting": "2", "jobs-running": "1", "jobs-failed": "2", "at-broker": "3",
        "workers": "1",
    }  # fmt: skip
    for name in TILES - {"beat", "at-broker"}:
        assert behind(viewer, page.tiles[name]["url"]) == int(told[name]), name
    queues = {row[0][0]: row for row in page.tables["queues"]}
    assert [text for text, _ in queues["default"]] == ["default", "1", "1", "60 minutes"]
    assert behind(viewer, queues["gone"][1][1]) == 1


def test_scheduled_tasks_stand_with_failures_first(viewer: Client) -> None:
    task()
    task("check_budgets", is_ok=False, error_category="transient")
    page = look(viewer)
    first, second = page.tables["tasks"]
    assert (first[0][0], first[3][0]) == ("check_budgets", "failed: transient")
    assert (second[0][0], second[3][0]) == ("recover_jobs", "done")
    assert second[1][0].endswith("seconds ago") and second[2][0] == "0.0 s"
    assert behind(viewer, first[0][1]) == 1


def test_what_is_wrong_stands_first_and_leads_to_its_rows(viewer: Client) -> None:
    job(HOUR)
    job(status="failed")
    task(ago=HOUR)
    concerns = {about: (text, url) for about, text, url in look(viewer).concerns}
    assert set(concerns) >= {"workers", "jobs"} and "schedule" not in concerns
    assert "Show the jobs" in concerns["jobs"][0] and behind(viewer, concerns["jobs"][1]) == 1
    worker()
    concerns = {about: (text, url) for about, text, url in look(viewer).concerns}
    assert "workers" not in concerns
    assert "Show the scheduled tasks" in concerns["schedule"][0]


def test_workers_that_are_gone_are_marked_and_blamed_for_the_beat(viewer: Client) -> None:
    task(ago=HOUR)
    shown = page_of_background(viewer)
    assert shown.count('class="ai-short"') == 2 and "no worker is there to note it" in shown
    worker()
    shown = page_of_background(viewer)
    assert shown.count('class="ai-short"') == 1 and "no worker is there" not in shown


def page_of_background(viewer: Client) -> str:
    """The panel as HTML."""
    with override_ai(TASK_RUNNERS=runner()):
        return page_of(viewer).partition("Work in the background")[2].partition("</section>")[0]


def test_a_broker_that_is_away_breaks_nothing(viewer: Client) -> None:
    page = look(viewer, fault="It is <away>.")
    assert page.tiles["at-broker"]["data-value"] == ""
    assert any("cannot be asked" in text for _, text, _ in page.concerns)
    silent = look(viewer, waiting=None)
    assert silent.tiles["at-broker"]["data-value"] == ""


def test_who_may_see_no_jobs_sees_no_link_to_them() -> None:
    job()
    worker()
    task()
    page = look(client("view_dashboard"))
    assert set(page.tiles) >= TILES
    assert all("url" not in page.tiles[name] for name in TILES)
    assert all(not url for row in page.tables["tasks"] for _, url in row)


def test_without_work_in_the_background_there_is_no_panel(viewer: Client) -> None:
    with override_ai():
        assert "Work in the background" not in page_of(viewer)


def test_without_a_broker_its_figures_are_left_out(viewer: Client) -> None:
    job()
    with override_ai():
        page = read_page(page_of(viewer))
    assert TILES & set(page.tiles) == {"jobs-waiting", "jobs-running", "jobs-failed"}
