"""The order of jobs: by priority, and then persons take turns, at each provider by themselves."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_obc_ai.models import Job
from django_obc_ai.services import _job_queue
from tests.services.test_job_queue import SECOND, add, drain

pytestmark = pytest.mark.django_db


def test_two_persons_take_turns_however_much_one_has_asked_before() -> None:
    for _ in range(5):
        add(1)
    assert [_job_queue.claim().user_id for _ in range(2)] == [1, 1]  # type: ignore[union-attr]
    for _ in range(3):
        add(2)
    assert [job.user_id for job in drain()] == [1, 2, 1, 2, 1, 2]


def test_persons_of_two_tenants_are_two_persons() -> None:
    for scope in ("a", "a", "b"):
        add(1, scope=scope)
    assert [job.scope for job in drain()] == ["a", "b", "a"]


def test_a_higher_priority_comes_first_and_has_turns_of_its_own() -> None:
    for user in (1, 1, 2):
        add(user)
    for user in (1, 1, 2):
        add(user, priority=5)
    assert [(job.priority, job.user_id) for job in drain()] == [
        (5, 1), (5, 2), (5, 1), (0, 1), (0, 2), (0, 1),
    ]  # fmt: skip


def test_a_job_that_was_delayed_pulls_nobody_ahead() -> None:
    later = timezone.now() + 60 * SECOND
    add(3, due_at=later)
    for _ in range(3):
        add(1)
    assert [_job_queue.claim().user_id for _ in range(2)] == [1, 1]  # type: ignore[union-attr]
    for _ in range(3):
        add(2)
    add(1)
    assert [job.user_id for job in drain()] == [1, 2, 2, 1, 2]
    Job.objects.filter(pk__in=Job.objects.filter(user_id=3)).update(due_at=timezone.now())
    assert [job.user_id for job in drain()] == [3]


def test_who_has_cancelled_what_waited_is_not_behind_for_it() -> None:
    for job in [add(1) for _ in range(10)]:
        assert _job_queue.cancel(job.pk)
    add(1)
    for _ in range(2):
        add(2)
    assert {job.user_id for job in drain()[:2]} == {1, 2}


def test_nobody_is_behind_a_backlog_for_what_its_owner_has_asked_another_provider() -> None:
    _job_queue.hold_others("x", timezone.now() + 60 * SECOND)
    for _ in range(4):
        add(1, provider="x")
    add(1, provider="y")
    assert [job.provider for job in drain()] == ["y"]
    for _ in range(2):
        add(2, provider="x")
    _job_queue.hold_others("x", timezone.now())
    assert [job.user_id for job in drain()] == [1, 2, 1, 2, 1, 1]


def test_a_provider_that_was_idle_neither_passes_by_nor_waits_for_one_that_was_busy() -> None:
    for _ in range(9):
        add(1, provider="x")
    drain()
    for provider in "xyxyxy":
        add(1, provider=provider)
    assert "".join(job.provider for job in drain()) in ("xyxyxy", "yxyxyx")


def test_who_asks_while_a_persons_delayed_jobs_wait_is_not_behind_them() -> None:
    for _ in range(5):
        add(1, due_at=timezone.now() + 600 * SECOND)
    add(1)
    assert len(drain()) == 1
    Job.objects.update(due_at=timezone.now())
    add(2)
    assert 2 in [job.user_id for job in drain()[:2]]


ASKED = st.lists(
    st.tuples(st.sampled_from([None, 1, 2, 3]), st.integers(0, 1), st.sampled_from("xy")),
    min_size=1,
    max_size=14,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=ASKED, before=st.lists(st.sampled_from("xy"), max_size=5), is_held=st.booleans())
def test_all_are_taken_by_priority_and_then_as_turns_would_have_it(
    asked: list[tuple[int | None, int, str]], before: list[str], is_held: bool
) -> None:
    """At one provider, who has something waiting is served once before anybody is twice."""
    Job.objects.all().delete()
    now = timezone.now()
    for provider in before:
        add(9, provider=provider)
    drain()
    _job_queue.hold_others("x", now + is_held * 60 * SECOND)
    added = [add(user, priority=priority, provider=name).pk for user, priority, name in asked]
    while_held = drain()
    assert not (is_held and any(job.provider == "x" for job in while_held))
    _job_queue.hold_others("x", now)
    rest = drain()
    assert is_held or not rest
    for part in (while_held, rest):
        assert [job.priority for job in part] == sorted((j.priority for j in part), reverse=True)
    taken = while_held + rest
    assert sorted(job.pk for job in taken) == sorted(added)
    for where in {(job.priority, job.provider) for job in taken}:
        mine = [job for job in taken if (job.priority, job.provider) == where]
        for user in {job.user_id for job in mine}:
            own = [job.pk for job in mine if job.user_id == user]
            assert own == [pk for pk in added if pk in own]  # nobody overtakes themselves
        left = Counter(job.user_id for job in mine)
        served: Counter[Any] = Counter()
        for job in mine:
            served[job.user_id] += 1
            left[job.user_id] -= 1
            waiting = [user for user, count in left.items() if count]
            assert all(served[job.user_id] - served[user] <= 1 for user in waiting)
