"""Closed providers on the page of operators: shown, reopened, audited, permitted."""

from __future__ import annotations

import time

import pytest
from django.contrib.admin.models import LogEntry

from django_obc_ai.services.pauses import pause_provider
from django_obc_ai.types.coordination import GateState
from tests.gates import gates
from tests.test_admin import _client, text_of
from tests.test_admin_operators import pauser, said, url

pytestmark = pytest.mark.django_db
LIST = url("providerpause", "changelist")
REOPEN = url("providerpause", "reopen", "paid")


def closed(reason: str = "breaker") -> dict[str, GateState]:
    return {"paid": GateState(reason=reason, until=time.time() + 90)}  # type: ignore[arg-type]


def test_a_closed_provider_is_shown_with_its_reason() -> None:
    with gates(closed()):
        page = text_of(pauser().get(LIST))
    assert "closed until" in page and "it failed several times in a row" in page
    assert REOPEN in page
    assert url("providerpause", "reopen", "default") not in page


def test_a_provider_that_is_open_or_reopens_has_nothing_to_reopen() -> None:
    for state, shown in ((GateState(), "is asked"), (GateState(reason="reopening"), "few calls")):
        with gates({"paid": state}):
            page = text_of(pauser().get(LIST))
        assert shown in page
        assert REOPEN not in page


def test_a_paused_provider_that_is_closed_says_both() -> None:
    with gates(closed("quota")):
        pause_provider("paid", reason="a strange bill")
        page = text_of(pauser().get(LIST))
    assert "a strange bill" in page and "its daily quota is used up" in page


def test_reopening_is_asked_done_and_audited() -> None:
    with gates(closed()) as coordinator:
        client = pauser()
        page = text_of(client.get(REOPEN))
        assert "Reopen paid?" in page and "it failed several times in a row" in page
        assert coordinator.reopened == []  # asking is not doing
        shown = text_of(client.post(REOPEN, follow=True))
        assert coordinator.reopened == ["paid"]
    assert "paid is asked again, by few calls at first" in shown
    assert said() == [("staff0", "paid", "Reopened.")]


def test_a_coordinator_that_is_away_breaks_no_page_and_the_attempt_is_audited() -> None:
    with gates(closed(), is_away=True):
        client = pauser()
        assert "the coordinator does not answer" in text_of(client.get(LIST))
        shown = text_of(client.post(REOPEN, follow=True))
    assert "could not be reopened: Redis is away." in shown
    assert said() == [("staff0", "paid", "Tried to reopen; it failed.")]


def test_only_who_may_resume_may_reopen() -> None:
    with gates(closed()) as coordinator:
        for permissions in (
            ["view_providerpause"],
            ["view_providerpause", "add_providerpause", "change_providerpause"],
            ["delete_providerpause"],
        ):
            client = _client(*permissions)
            assert client.get(REOPEN).status_code == 403
            assert client.post(REOPEN).status_code == 403
            if "view_providerpause" in permissions:
                assert REOPEN not in text_of(client.get(LIST))
        assert coordinator.reopened == []
    assert not LogEntry.objects.exists()


def test_an_unknown_provider_is_not_found_and_one_without_limits_says_so() -> None:
    with gates({}):
        assert pauser().get(url("providerpause", "reopen", "gone")).status_code == 404
        page = text_of(pauser().get(url("providerpause", "reopen", "default")))
    assert "has no limits, and is never closed" in page
