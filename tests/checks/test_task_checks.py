"""W018 to W020, and what the other checks find in TASK_RUNNERS."""

from __future__ import annotations

from typing import Any

import django
import pytest
from django.test import override_settings

from django_obc_ai.backends.task_runners.celery import CeleryRunner
from django_obc_ai.backends.task_runners.django_tasks import DjangoTasksRunner
from django_obc_ai.checks.tasks import longest_seconds
from django_obc_ai.testing import ScriptedProvider
from tests.checks.test_checks import assert_only, found
from tests.extras import is_installed, requires
from tests.fakes import entry

pytestmark = pytest.mark.django_db(transaction=True)
QUEUE = {"default": {"when_exceeded": "queue"}}

if is_installed("celery"):
    from celery import Celery

    app = Celery("checked", set_as_current=False, broker="redis://localhost")


@pytest.fixture
def conf() -> Any:
    """The settings of an app that is as it should be, until the test changes it."""
    defaults = {
        "broker_url": "redis://localhost", "broker_transport_options": {},
        "accept_content": ["json"], "task_always_eager": False,
    }  # fmt: skip
    app.conf.update(defaults)
    yield app.conf
    app.conf.update(defaults)


def checked(**keys: Any) -> list[Any]:
    return found(TASK_RUNNERS=entry(CeleryRunner, app=f"{__name__}.app"), **keys)


def test_W018_queue_without_workers() -> None:  # noqa: N802
    messages = found(RATE_LIMITS=QUEUE)
    assert_only("W018", messages, "OBC_AI['RATE_LIMITS']['default'] queues calls, but")
    assert "come by, and then silence W018" in str(messages[0].hint)
    assert found(RATE_LIMITS={"default": {"when_exceeded": "wait"}}) == []


@requires("celery")
def test_a_queue_with_workers_is_right(conf: Any) -> None:
    assert checked(RATE_LIMITS=QUEUE) == []
    conf.task_always_eager = True
    assert_only("W018", checked(RATE_LIMITS=QUEUE))


@requires("celery")
@pytest.mark.parametrize("name", ["visibility_timeout", "time_limit", "soft_time_limit"])
@pytest.mark.parametrize("which", ["*", "django_obc_ai.generate_text"])
def test_W019_time_too_short(  # noqa: N802
    name: str, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def allow(seconds: int) -> None:
        # One of its own, since annotations are heeded once.
        found = Celery("checked", set_as_current=False, broker="redis://localhost")
        found.conf.update(
            {"broker_transport_options": {name: seconds}}
            if name == "visibility_timeout"
            else {"task_annotations": {which: {name: seconds}}}
        )
        monkeypatch.setattr(f"{__name__}.app", found)

    # The slice, all attempts of the last job, and how long one of them may go on.
    assert longest_seconds() == 10 + 60 + 60
    allow(129)
    messages = checked()
    assert_only("W019", messages, f"{name} of 129 seconds")
    assert "more than 130 seconds" in str(messages[0].hint)
    assert checked(JOBS={"slice_seconds": 9}) == []
    allow(130)
    assert checked() == []


@requires("celery")
def test_limits_that_a_project_sets_for_all_tasks_are_none_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Celery("checked", set_as_current=False, broker="redis://localhost")
    found.conf.update(task_time_limit=60, task_soft_time_limit=30)
    monkeypatch.setattr(f"{__name__}.app", found)
    assert checked() == []


class SlowProvider(ScriptedProvider):
    deadline_seconds = 600


def test_the_slowest_provider_counts() -> None:
    with override_settings(OBC_AI={"PROVIDERS": entry(SlowProvider)}):
        assert longest_seconds() == 10 + 60 + 600


@requires("celery")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"broker_url": None}, "the Celery app 'checked' has no broker_url"),
        ({"accept_content": ["pickle"]}, "Celery's accept_content lacks 'json'"),
    ],
)
def test_W020_app_that_carries_nothing(  # noqa: N802
    change: dict[str, Any], message: str, conf: Any
) -> None:
    conf.update(change)
    assert_only("W020", checked(), f"OBC_AI['TASK_RUNNERS']['default']: {message}")


@requires("celery")
def test_an_app_that_is_none_is_reported_once() -> None:
    options = entry(CeleryRunner, app="tests.nowhere.app")
    assert_only("E003", found(TASK_RUNNERS=options), "OBC_AI['TASK_RUNNERS']['default']: Celery")


@pytest.mark.skipif(is_installed("celery"), reason="celery is installed")
def test_celery_that_is_not_installed_is_reported() -> None:
    assert_only("E005", found(TASK_RUNNERS=entry(CeleryRunner)))


@pytest.mark.skipif(django.VERSION >= (6, 0), reason="Django has tasks here")
def test_tasks_of_a_django_that_has_none_are_reported() -> None:
    messages = found(TASK_RUNNERS=entry(DjangoTasksRunner))
    assert_only("E005", messages, "DjangoTasksRunner needs Django 6.0 or later")


@pytest.mark.skipif(django.VERSION < (6, 0), reason="Django has tasks since 6.0")
def test_an_alias_that_django_does_not_have_is_reported() -> None:
    runner = {**entry(DjangoTasksRunner)["default"], "OPTIONS": {"backend": "nowhere"}}
    messages = found(TASK_RUNNERS={"default": runner})
    assert_only("E004", messages, "TASKS['nowhere'] cannot be used")
    assert found(TASK_RUNNERS=entry(DjangoTasksRunner)) == []
