"""The queue of jobs: nobody's turn is passed over, and no job is taken by two."""

from __future__ import annotations

import datetime
import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_obc_ai.models import Job, JobHold
from django_obc_ai.services import _job_queue
from django_obc_ai.services._job_handle import _may_begin_at
from django_obc_ai.services.text import GeminiService
from django_obc_ai.testing import override_ai

pytestmark = pytest.mark.django_db
SECOND = datetime.timedelta(seconds=1)


def add(user_id: Any = None, *, priority: int = 0, **values: Any) -> Job:
    """Queue a job as submit() does."""
    job = Job(user_id=user_id, priority=priority, request={"prompt": "Q"}, **values)
    job.turn = _job_queue.turn_for(job)
    job.save(force_insert=True)
    return job


def drain() -> list[Job]:
    """Take and end all jobs, one by one."""
    taken = []
    while (job := _job_queue.claim()) is not None:
        assert _job_queue.finish(job, {})
        taken.append(job)
    return taken


def test_a_job_that_is_put_back_while_it_is_cancelled_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job, taken, real = add(), _job_queue.claim(), _job_queue._change
    assert taken is not None

    def change(rows: Any, **values: Any) -> int:
        monkeypatch.setattr(_job_queue, "_change", real)
        count = real(rows, **values)
        _job_queue.put_back(taken, timezone.now(), is_counted=False)
        return count

    monkeypatch.setattr(_job_queue, "_change", change)
    assert _job_queue.cancel(job.pk)
    assert Job.objects.get().status == "cancelled" and Job.objects.get().turn == taken.turn


def test_a_claim_tells_who_works_at_it_until_when() -> None:
    with override_ai([], JOBS={"lease_seconds": 5}):
        add()
        before = timezone.now()
        job = _job_queue.claim()
    assert job is not None and job.status == "running" and job.attempts == 1
    assert job.owner and job.operation_id and job.started_at
    assert before + 5 * SECOND <= job.lease_until  # type: ignore[operator]
    assert _job_queue.claim() is None


def test_what_is_put_back_keeps_its_place_and_counts_no_attempt() -> None:
    first, second = add(1), add(1)
    taken = _job_queue.claim()
    assert taken is not None and taken.pk == first.pk
    assert _job_queue.put_back(taken, timezone.now(), is_counted=False)
    assert not _job_queue.put_back(taken, timezone.now(), is_counted=False)
    assert [(job.pk, job.attempts) for job in drain()] == [(first.pk, 1), (second.pk, 1)]


def test_others_of_a_provider_that_refused_wait_as_long_and_no_shorter() -> None:
    now = timezone.now()
    near, far, other = add(), add(due_at=now + 60 * SECOND), add(provider="other")
    _job_queue.hold_others("default", now + 30 * SECOND)
    new = add()
    assert _may_begin_at(near) == _may_begin_at(new) == now + 30 * SECOND
    assert _may_begin_at(far) == now + 60 * SECOND
    assert _job_queue.next_due_at() == _may_begin_at(other) == other.due_at
    assert [job.pk for job in drain()] == [other.pk]
    assert not _job_queue.has_due() and _job_queue.count_waiting() == 3
    assert _job_queue.next_due_at() == now + 30 * SECOND
    Job.objects.exclude(pk=far.pk).delete()
    assert _job_queue.next_due_at() == now + 60 * SECOND


def test_a_provider_is_held_until_who_was_refused_last_says() -> None:
    now, job = timezone.now(), add()
    for seconds in (600, 30, 0):
        _job_queue.hold_others("default", now + seconds * SECOND)
        assert JobHold.objects.get().until == now + seconds * SECOND
    assert _job_queue.next_due_at() == job.due_at
    assert [each.pk for each in drain()] == [job.pk]


def test_holding_a_provider_writes_one_row_however_many_jobs_wait() -> None:
    rows = [add() for _ in range(5)]
    with CaptureQueriesContext(connection) as queries:
        _job_queue.hold_others("default", timezone.now() + 30 * SECOND)
    assert len([each for each in queries if "obc_ai_job" in each["sql"].lower()]) <= 1
    due = dict(Job.objects.values_list("pk", "due_at"))
    assert due == {job.pk: job.due_at for job in rows}


def test_a_handle_tells_how_long_its_job_is_held() -> None:
    now, job = timezone.now(), add()
    _job_queue.hold_others("default", now + 30 * SECOND)
    with override_ai([]):
        assert GeminiService().job(job.pk).progress.due_at == now + 30 * SECOND


def lapse() -> None:
    Job.objects.filter(status="running").update(lease_until=timezone.now() - SECOND)


def test_a_job_whose_worker_died_is_given_to_others_and_up_at_last() -> None:
    with override_ai([], JOBS={"attempts": 2}):
        job = add(turn=7)
        for attempt in (1, 2):
            taken = _job_queue.claim()
            assert taken is not None and (taken.pk, taken.attempts) == (job.pk, attempt)
            assert _job_queue.take_up() == 0
            lapse()
            assert [_job_queue.take_up(), _job_queue.take_up()] == [1, 0]
        job.refresh_from_db()
        assert (job.status, job.error_category, job.attempts) == ("failed", "abandoned", 2)
        assert job.request and job.expires_at and not job.owner


def test_a_worker_that_lost_its_job_can_neither_renew_nor_answer_nor_put_it_back() -> None:
    add()
    asleep = _job_queue.claim()
    assert asleep is not None
    lapse()
    _job_queue.take_up()
    awake = _job_queue.claim()
    assert awake is not None and awake.owner != asleep.owner
    _job_queue.renew(asleep)
    assert Job.objects.get().lease_until == awake.lease_until
    assert not _job_queue.finish(asleep, {"text": "old"})
    assert not _job_queue.put_back(asleep, timezone.now(), is_counted=True)
    _job_queue.give_up(asleep)
    assert Job.objects.get().owner == awake.owner
    assert _job_queue.finish(awake, {"text": "new"})
    assert not _job_queue.finish(asleep, {"text": "old"})
    assert Job.objects.get().result == {"text": "new"}


def test_a_lease_that_was_renewed_meanwhile_is_not_taken_away() -> None:
    add()
    job = _job_queue.claim()
    assert job is not None
    with override_ai([], JOBS={"lease_seconds": 300}):
        _job_queue.renew(job)
    assert Job.objects.get().lease_until > job.lease_until  # type: ignore[operator]
    assert _job_queue.take_up() == 0


def test_ended_jobs_are_kept_for_their_days_and_then_deleted() -> None:
    with override_ai([], JOBS={"keep_days": 2}):
        kept, waiting = add(), add()
        _job_queue.cancel(kept.pk)
    kept.refresh_from_db()
    assert kept.expires_at - kept.finished_at == datetime.timedelta(days=2)  # type: ignore[operator]
    assert _job_queue.purge() == 0
    Job.objects.filter(pk=kept.pk).update(expires_at=timezone.now())
    assert _job_queue.purge() == 1
    assert Job.objects.get().pk == waiting.pk


def test_deadlines_end_only_what_waits_too_long() -> None:
    now = timezone.now()
    late, alive = add(deadline_at=now - SECOND), add(deadline_at=now + 60 * SECOND)
    other = add(deadline_at=now - SECOND)
    assert _job_queue.expire(late.pk) == 1 and _job_queue.expire() == 1
    assert {job.status for job in Job.objects.filter(pk__in=[late.pk, other.pk])} == {"failed"}
    assert [job.pk for job in drain()] == [alive.pk]


def test_what_comes_before_a_job_is_counted_as_it_will_be_taken() -> None:
    jobs = [add(user, priority=priority) for user in (1, 1, 2) for priority in (0, 1)]
    ahead = {job.pk: _job_queue.count_before(job) for job in jobs}
    assert [ahead[job.pk] for job in drain()] == [0, 1, 2, 3, 4, 5]


def test_a_job_that_somebody_has_begun_is_not_taken_back() -> None:
    begun, waits = add(), add()
    assert _job_queue.claim().pk == begun.pk  # type: ignore[union-attr]
    assert (_job_queue.remove(begun.pk), _job_queue.remove(waits.pk)) == (False, True)
    assert _job_queue.remove(waits.pk)  # the answer to the first DELETE may have been lost


def test_nobodys_job_survives_the_user_and_belongs_to_nobody() -> None:
    user = get_user_model().objects.create(username="amina")
    job = add(user.pk)
    user.delete()
    job.refresh_from_db()
    assert (job.user_id, job.status) == (None, "queued")


def together(work: Callable[[], None], count: int) -> None:
    """Run something in threads that begin at once, and raise what one raises."""
    gate, failed = threading.Barrier(count), []

    def run() -> None:
        try:
            gate.wait(30)
            work()
        except BaseException as error:
            failed.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(120)
    assert not failed, failed


@pytest.mark.django_db(transaction=True)
def test_many_threads_at_once_take_each_job_once() -> None:
    added = [add(random.randrange(3)).pk for _ in range(60)]
    taken: list[uuid.UUID] = []

    def work() -> None:
        while (job := _job_queue.claim()) is not None:
            taken.append(job.pk)
            if random.random() < 0.2:
                _job_queue.put_back(job, timezone.now(), is_counted=False)
                taken.remove(job.pk)
            else:
                assert _job_queue.finish(job, {})

    together(work, 6)
    assert Counter(taken) == Counter(added)
    assert set(Job.objects.values_list("status", "attempts")) == {("succeeded", 1)}


@pytest.mark.django_db(transaction=True)
def test_of_many_who_cancel_take_and_take_up_a_job_one_decides() -> None:
    ended: list[str] = []
    job = add()
    Job.objects.update(status="running", owner="dead", lease_until=timezone.now() - SECOND)

    def work() -> None:
        _job_queue.take_up()
        taken = _job_queue.claim()
        if taken is not None and _job_queue.finish(taken, {}):
            ended.append("answered")
        if _job_queue.cancel(job.pk):
            ended.append("cancelled")

    together(work, 6)
    assert len(ended) == 1
