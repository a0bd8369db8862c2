"""Answers made anew in the background: few at once, one for each, and nobody is disturbed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, connections, transaction

from django_obc_ai import logs
from django_obc_ai.gateway import refresh
from django_obc_ai.gateway.refresh import refresh_later
from django_obc_ai.models import AIOperation
from django_obc_ai.testing import override_ai

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _finished() -> Iterator[None]:
    with override_ai():
        yield
        for thread in threading.enumerate():
            if thread.name == "obc-ai-refresh":
                thread.join(30)


def test_work_is_done_in_a_thread_that_leaves_no_connection() -> None:
    seen: list[Any] = []
    over = threading.Event()

    def work() -> None:
        AIOperation.objects.count()
        seen.extend([threading.current_thread(), connections["default"], logs.current()])
        over.set()

    with logs.bound("of-the-request"):
        assert refresh_later(work, "key")
    assert over.wait(30)
    thread, opened, correlation_id = seen
    thread.join(30)
    assert thread.daemon and thread is not threading.current_thread()
    assert opened.connection is None
    assert correlation_id == "of-the-request"


def test_one_key_is_made_anew_once_at_a_time_and_two_keys_at_once_at_most() -> None:
    go_on = threading.Event()
    wait = lambda: go_on.wait(30)  # noqa: E731 - a work that is known by its wait
    assert refresh_later(wait, "one")
    assert not refresh_later(wait, "one")
    assert refresh_later(wait, "two")
    assert not refresh_later(wait, "three")
    go_on.set()
    for thread in threading.enumerate():
        if thread.name == "obc-ai-refresh":
            thread.join(30)
    assert refresh_later(wait, "one")


def test_what_fails_is_logged_and_makes_room(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("a secret")

    for _ in range(3):
        assert refresh_later(fail, "key")
        for thread in threading.enumerate():
            if thread.name == "obc-ai-refresh":
                thread.join(30)
    assert "could not be made anew" in caplog.text
    assert "secret" not in caplog.text


def test_nothing_is_begun_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert not refresh_later(lambda: None, "key")
    assert refresh_later(lambda: None, "key")


@pytest.mark.django_db(transaction=False)
def test_nothing_is_begun_in_the_transaction_of_a_test_case() -> None:
    assert not refresh_later(lambda: None, "key")


def test_a_callers_transaction_is_waited_for_by_nobody() -> None:
    with transaction.atomic():
        assert refresh_later(lambda: None, "key") == (connection.vendor != "sqlite")


def test_a_forked_child_begins_with_room() -> None:
    assert refresh._refreshes.take("one") and refresh._refreshes.take("two")
    try:
        child = os.fork()
        if child == 0:
            os._exit(0 if refresh._refreshes.take("one") else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        refresh._refreshes.forget()
