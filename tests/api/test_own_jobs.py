"""Jobs over HTTP: submitted with a permission, seen and cancelled by their owner."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import pytest

from django_obc_ai.models import Job
from django_obc_ai.services.own_jobs import list_jobs
from django_obc_ai.testing import override_ai
from tests.api.conftest import FREE, Person, is_problem
from tests.background import job, runner
from tests.extras import requires

pytestmark = [pytest.mark.django_db, requires("rest_framework")]


def test_a_job_is_answered_and_its_result_read(amina: Person) -> None:
    response = amina.allow("add_job").post("jobs/", {"prompt": "Whose land?"})
    assert response.status_code == 202
    body = response.json()
    found = amina.client.get(response["Location"]).json()
    assert found["id"] == body["id"] and found["status"] == "succeeded" and found["is_ended"]
    assert found["result"]["is_offline"] and found["result"]["text"]
    assert (found["result"]["cost_usd"], found["result"]["error"]) == ("0", None)
    (listed,) = amina.get("jobs/").json()["results"]
    assert (listed["id"], listed["status"]) == (body["id"], "succeeded")
    assert listed["finished_at"].endswith("Z")


def test_a_job_waits_and_is_cancelled_once(amina: Person) -> None:
    amina.allow("add_job")
    with override_ai(TASK_RUNNERS=runner(), WEB={"throttles": FREE}):
        more = {"delay_seconds": 60, "deadline_seconds": 600}
        body = amina.post("jobs/", {"prompt": "Whose land?", **more}).json()
        assert (body["status"], body["result"]) == ("queued", None)
        assert body["progress"]["ahead"] == 0 and body["progress"]["due_at"].endswith("Z")
        for _ in range(2):
            found = amina.post(f"jobs/{body['id']}/cancel/").json()
            assert (found["status"], found["result"]["error"]) == ("cancelled", "cancelled")


def test_a_job_needs_the_permission(amina: Person, nobody: Person) -> None:
    is_problem(amina.post("jobs/", {"prompt": "Whose land?"}), 403, "permission_denied")
    with override_ai(WEB={"anonymous_scope": "public", "throttles": FREE}):
        for response in (nobody.post("jobs/", {"prompt": "?"}), nobody.get("jobs/")):
            is_problem(response, 403, "not_authenticated")
    assert not Job.objects.exists()


def test_nobody_elses_job_is_there(amina: Person, omar: Person, nobody: Person) -> None:
    theirs = [job(user=omar.user), job(), job(user=amina.user, scope="north")]
    assert amina.get("jobs/").json()["count"] == 0
    for each in theirs:
        each.save()
    for each in theirs:
        is_problem(amina.get(f"jobs/{each.pk}/"), 404)
        is_problem(amina.post(f"jobs/{each.pk}/cancel/"), 404)
    is_problem(amina.get(f"jobs/{uuid.uuid4()}/"), 404)
    is_problem(amina.get("jobs/none/"), 404)
    assert {each.status for each in Job.objects.all()} == {"queued"}
    assert omar.get("jobs/").json()["count"] == 1
    assert not list_jobs(user=None).exists()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompt": ""},
        {"prompt": 1},
        {"prompt": "?", "deadline_seconds": 0},
        {"prompt": "?", "delay_seconds": -1},
        {"prompt": "?", "delay_seconds": "NaN"},
        {"prompt": "?", "delay_seconds": 1e300},
        {"prompt": "?", "priority": 9},
        {"prompt": "?", "provider": "dear"},
    ],
)
def test_what_does_not_fit_is_refused(amina: Person, body: Any) -> None:
    is_problem(amina.allow("add_job").post("jobs/", body), 400, "invalid")


def test_a_full_queue_and_a_broker_that_is_away_are_told(amina: Person) -> None:
    amina.allow("add_job")
    full = {"JOBS": {"most_waiting": 1}, "TASK_RUNNERS": runner()}
    with override_ai(WEB={"throttles": FREE}, **full):
        assert amina.post("jobs/", {"prompt": "?"}).status_code == 202
        body = is_problem(amina.post("jobs/", {"prompt": "?"}), 503, "queue_full")
        assert "OBC_AI" not in body["detail"]
    with override_ai(WEB={"throttles": FREE}, TASK_RUNNERS=runner(fault="redis://inside")):
        body = is_problem(amina.post("jobs/", {"prompt": "?"}), 503)
        assert "inside" not in str(body)


def test_the_last_job_comes_first(amina: Person) -> None:
    for minutes in (3, 1, 2):
        job(datetime.timedelta(minutes=minutes), user=amina.user, module=str(minutes)).save()
    keys = [each["id"] for each in amina.get("jobs/").json()["results"]]
    assert [Job.objects.get(pk=key).module for key in keys] == ["1", "2", "3"]
