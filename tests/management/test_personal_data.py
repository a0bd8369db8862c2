"""Commands about one person: who is meant, what is asked, what is said."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.test import override_settings
from django.utils import timezone

from django_obc_ai.models import AIOperation, IndexState, StoredContent

pytestmark = pytest.mark.django_db


@pytest.fixture
def amina() -> Any:
    user = get_user_model().objects.create(username="amina")
    AIOperation.objects.create(user=user, provider="p", success=True)
    return user


def run(*arguments: str, command: str = "erase_user") -> str:
    out = io.StringIO()
    call_command(command, *arguments, stdout=out)
    return out.getvalue()


def mine(user: Any) -> int:
    return AIOperation.objects.filter(user_id=user.pk).count()


def test_it_asks_and_does_nothing_without_a_yes(
    amina: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda _: "y")
    with pytest.raises(CommandError, match="Nothing was erased"):
        run("amina")
    assert mine(amina) == 1
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    assert "operations: 1" in run("amina")
    assert mine(amina) == 0


def test_a_dry_run_asks_nobody_and_says_what_would_be(amina: Any) -> None:
    said = run("amina", "--dry-run")
    assert f"Of the user {amina.pk} there would be erased" in said and "operations: 1" in said
    assert mine(amina) == 1


@pytest.mark.parametrize("name", ["{pk}", "id:{pk}", "amina", "name:amina"])
def test_a_user_is_found_by_name_or_key(amina: Any, name: str) -> None:
    run(name.format(pk=amina.pk), "--no-input")
    assert mine(amina) == 0


def test_a_deleted_user_is_found_by_key(amina: Any) -> None:
    key = amina.pk + 1
    AIOperation.objects.create(user_id=key, provider="p", success=True)
    assert f"Of the deleted user {key}" in run(str(key), "--no-input")
    assert not AIOperation.objects.filter(user_id=key).exists()
    assert mine(amina) == 1


def test_a_name_that_is_another_ones_key_is_asked_about(amina: Any) -> None:
    other = get_user_model().objects.create(username=str(amina.pk))
    AIOperation.objects.create(user=other, provider="p", success=True)
    with pytest.raises(CommandError, match="name:"):
        run(str(amina.pk), "--no-input")
    run(f"name:{amina.pk}", "--no-input")
    assert (mine(amina), mine(other)) == (1, 0)


@pytest.mark.parametrize("command", ["erase_user", "export_user_data"])
def test_an_unknown_name_is_an_error(command: str) -> None:
    with pytest.raises(CommandError, match="no user of that name"):
        run("nobody", command=command)


def test_an_index_that_nobody_declares_is_told(amina: Any) -> None:
    IndexState.objects.create(name="gone")
    said = io.StringIO()
    call_command("erase_user", "amina", "--no-input", stdout=io.StringIO(), stderr=said)
    assert "'gone'" in said.getvalue()


def stored(days: int) -> None:
    operation = AIOperation.objects.create(provider="p", success=True)
    at = timezone.now() - timedelta(days=days, minutes=1)
    StoredContent.objects.create(operation=operation, prompt="Q", created_at=at)


def test_stored_content_goes_after_its_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_obc_ai.services.content._AT_ONCE", 2)
    for days in (1, 29, 30, 40, 50, 60):
        stored(days)
    assert run("--dry-run", command="purge_content").startswith(
        "4 stored prompts and answers would"
    )
    assert run(command="purge_content").startswith("4 stored prompts and answers were")
    assert run("--older-than", "4w", command="purge_content").startswith("1 ")
    assert run("--older-than", "2d", command="purge_content").startswith("0 ")
    assert run("--older-than", "1d", command="purge_content").startswith("1 ")
    assert AIOperation.objects.count() == 6
    with pytest.raises(CommandError, match="no age"):
        run("--older-than", "30", command="purge_content")


@override_settings(OBC_AI={"LOG": {"content_days": None}})
def test_without_a_time_stored_content_stays() -> None:
    stored(9_999)
    assert run(command="purge_content").startswith("0 ")
