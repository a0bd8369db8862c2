"""Jobs in the admin: to look at, to read for those who may, to retry and to cancel."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.db import connections
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_obc_ai.admin import jobs as jobs_admin
from django_obc_ai.admin import large_lists
from django_obc_ai.models import AIOperation, Job
from django_obc_ai.testing import override_ai
from tests.background import job, runner, task, worker
from tests.test_admin import _client, text_of

pytestmark = pytest.mark.django_db
NOTED = ("view_job", "manage_jobs")


def url(page: str, *arguments: Any, model: str = "job") -> str:
    return reverse(f"admin:django_obc_ai_{model}_{page}", args=arguments)


def shown(client: Client, **query: Any) -> set[Any]:
    response = client.get(url("changelist"), query)
    assert response.status_code == 200
    return {each.pk for each in response.context["cl"].result_list}


def act(client: Client, action: str, *jobs: Job) -> str:
    chosen = {"action": action, "_selected_action": [str(each.pk) for each in jobs]}
    with override_ai(TASK_RUNNERS=runner()):
        return text_of(client.post(url("changelist"), chosen, follow=True))


def status_of(row: Job) -> str:
    return Job.objects.get(pk=row.pk).status


def history() -> list[tuple[str, str]]:
    entries = LogEntry.objects.order_by("pk")
    return [(str(each.object_id), each.get_change_message()) for each in entries]


def test_the_list_says_how_long_each_waits_or_when_it_ended() -> None:
    job(datetime.timedelta(minutes=5))
    job(datetime.timedelta(hours=3), status="running")
    job(datetime.timedelta(days=2), status="failed")
    page = text_of(_client("view_job").get(url("changelist")))
    for text in ("waits for 5 minutes", "runs for 3 hours", "ended 2 days ago", "timeout"):
        assert text in page
    later = job(due_at=datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=9.2))
    assert "due in 9 minutes" in text_of(_client("view_job").get(url("change", later.pk)))


def test_filters_and_search_find_jobs() -> None:
    amina = get_user_model().objects.create(username="amina")
    queued = job(module="mana", scope="north", user=amina)
    failed = job(status="failed", provider="gone")
    client = _client("view_job")
    for query, found in (
        ({}, {queued.pk, failed.pk}),
        ({"status__exact": "queued"}, {queued.pk}),
        ({"module": "mana"}, {queued.pk}),
        ({"provider": "gone"}, {failed.pk}),
        ({"error_category": "timeout"}, {failed.pk}),
        ({"q": str(failed.pk)}, {failed.pk}),
        ({"q": "north"}, {queued.pk}),
        ({"q": str(amina.pk)}, {queued.pk}),
        ({"q": "land"}, set()),
    ):
        assert shown(client, **query) == found, query


def test_who_may_only_view_sees_no_text_and_nothing_is_noted() -> None:
    row = job(status="succeeded", request={"prompt": "Whose land?"}, result={"text": "Nobody's"})
    client = _client("view_job")
    for page in (url("changelist"), url("change", row.pk)):
        told = text_of(client.get(page))
        assert "land" not in told and "Nobody" not in told
    assert not LogEntry.objects.exists()


def test_who_may_read_sees_plain_text_and_is_noted() -> None:
    row = job(request={"prompt": "Whose <b>land</b>?"}, result={"text": "Nobody's"})
    client = _client("view_job", "read_content")
    assert "land" not in text_of(client.get(url("changelist")))
    assert history() == []
    told = text_of(client.get(url("change", row.pk)))
    assert "Whose &lt;b&gt;land&lt;/b&gt;?" in told and "Nobody&#x27;s" in told
    assert history() == [(str(row.pk), "Read.")]


def test_the_page_of_a_job_leads_to_its_operation() -> None:
    operation = AIOperation.objects.create(provider="p", success=True)
    row = job(status="succeeded", operation_id=operation.pk)
    page = text_of(_client("view_job").get(url("change", row.pk)))
    assert url("change", operation.pk, model="aioperation") in page


def test_actions_take_a_permission_of_their_own() -> None:
    row = job(status="failed")
    viewer = _client("view_job")
    assert "retry_jobs" not in text_of(viewer.get(url("changelist")))
    act(viewer, "retry_jobs", row)
    act(viewer, "cancel_jobs", row)
    for name in ("retry", "cancel"):
        for client in (viewer, _client("manage_jobs")):
            assert client.post(url(name, row.pk)).status_code == 403
    assert status_of(row) == "failed" and history() == []


def test_chosen_jobs_are_tried_again_and_others_left() -> None:
    failed, done = job(status="failed"), job(status="succeeded")
    page = act(_client(*NOTED), "retry_jobs", failed, done)
    assert "Retried: 1 job." in page and "1 left as it was" in page
    assert (status_of(failed), status_of(done)) == ("queued", "succeeded")
    assert history() == [(str(failed.pk), "Retried.")]


def test_chosen_jobs_are_cancelled() -> None:
    rows = [job(), job(status="running"), job(status="failed")]
    page = act(_client(*NOTED), "cancel_jobs", *rows)
    assert "Cancelled: 2 jobs." in page and "1 left as it was" in page
    assert [status_of(each) for each in rows] == ["cancelled", "cancelled", "failed"]
    assert {message for _, message in history()} == {"Cancelled."}


def test_one_request_acts_on_so_many_jobs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_admin, "AT_ONCE", 2)
    rows = [job() for _ in range(4)]
    page = act(_client(*NOTED), "cancel_jobs", *rows)
    assert "At most 2 jobs are done at once" in page and "Cancelled: 2 jobs." in page
    assert sorted(map(status_of, rows)) == ["cancelled", "cancelled", "queued", "queued"]


@pytest.mark.parametrize(("name", "before", "after"), [
    ("retry", "failed", "queued"), ("cancel", "queued", "cancelled"),
])  # fmt: skip
def test_a_button_asks_first(name: str, before: str, after: str) -> None:
    row, client = job(status=before), _client(*NOTED)
    assert url(name, row.pk) in text_of(client.get(url("change", row.pk)))
    asked = text_of(client.get(url(name, row.pk)))
    assert f"It is {before}." in asked and status_of(row) == before
    with override_ai(TASK_RUNNERS=runner()):
        assert client.post(url(name, row.pk))["Location"] == url("change", row.pk)
    assert status_of(row) == after
    assert url(name, row.pk) not in text_of(client.get(url("change", row.pk)))
    assert 'type="submit"' not in text_of(client.get(url(name, row.pk))).partition("ai-confirm")[2]


def test_a_broker_that_is_away_is_told_and_the_job_stays_failed() -> None:
    row, client = job(status="failed"), _client(*NOTED)
    with override_ai(TASK_RUNNERS=runner(fault="It is away.")):
        page = text_of(client.post(url("retry", row.pk), follow=True))
    assert "Retry: It is away." in page and status_of(row) == "failed"
    assert history() == [(str(row.pk), "Tried: retry; it failed.")]


def test_a_job_that_is_gone_is_not_found() -> None:
    assert _client(*NOTED).get(url("retry", "no-key")).status_code == 404


def test_a_long_list_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_lists, "MOST", 4)
    for _ in range(6):
        job()
    assert "More than 4 jobs" in text_of(_client("view_job").get(url("changelist")))


@pytest.mark.parametrize("alias", ["default", "postgres"])
@pytest.mark.parametrize(
    "query",
    [
        {},
        {"status__exact": "queued"},
        {"status__exact": "succeeded"},
        {"provider": "default"},
        {"module": "mana"},
        {"error_category": "timeout"},
        {"q": "north"},
        {"q": "7"},
        {"q": "7a1fbd1c-0c6d-4b7e-9d1c-2f6d0f1f9b11"},
        {"created_at__year": 2026, "created_at__month": 10},
        {"status__exact": "failed", "finished_at__gte": "2026-11-27T00:00:00+00:00"},
    ],
    ids=str,
)
@pytest.mark.django_db(databases=["default", "postgres"])
def test_no_statement_reads_all_jobs(
    alias: str, query: dict[str, Any], postgres_alias: str
) -> None:
    connection, superuser = connections[alias], _client(is_superuser=True)
    with override_settings(OBC_AI={"DATABASE": alias}):
        job(module="mana")
        job(status="failed")
        with CaptureQueriesContext(connection) as caught:
            text_of(superuser.get(url("changelist"), query))
    mine = [each["sql"] for each in caught.captured_queries if "django_obc_ai_job" in each["sql"]]
    assert mine
    is_postgres = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        if is_postgres:
            cursor.execute("SET LOCAL enable_seqscan = off")
        for statement in (each for each in mine if "reltuples" not in each):
            kind = "EXPLAIN" if is_postgres else "EXPLAIN QUERY PLAN"
            cursor.execute(f"{kind} {statement.replace('%', '%%')}", ())
            plan = "\n".join(str(row[-1]) for row in cursor.fetchall())
            assert "Seq Scan on django_obc_ai_job" not in plan, plan
            if "SCAN django_obc_ai_job" in plan:  # SQLite: in the order of an index
                assert "SCAN django_obc_ai_job USING" in plan, plan


def test_a_list_reads_no_texts() -> None:
    job()
    with CaptureQueriesContext(connections["default"]) as caught:
        text_of(_client(is_superuser=True).get(url("changelist")))
    mine = [each["sql"] for each in caught.captured_queries if "django_obc_ai_job" in each["sql"]]
    assert not any('"request"' in each or '"result"' in each for each in mine)


def test_tasks_and_workers_are_listed() -> None:
    task("recover_jobs", is_ok=False, error_category="transient")
    worker()
    client = _client("view_taskstate", "view_worker")
    page = text_of(client.get(url("changelist", model="taskstate")))
    assert "recover_jobs" in page and "transient" in page
    page = text_of(client.get(url("changelist", model="worker")))
    assert "host:1" in page and "seconds ago" in page
