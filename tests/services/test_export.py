"""What a user is handed: all of one's own, and nothing of anybody else's."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command

from django_obc_ai.models import (
    AIOperation,
    Budget,
    ChatMessage,
    Conversation,
    Job,
    PromptTemplate,
    StoredContent,
)
from django_obc_ai.services import _job_json
from django_obc_ai.services.export import FORMAT, VERSION, export_user_data
from django_obc_ai.types import CallInfo, GenerationRequest, Source

pytestmark = pytest.mark.django_db
HASH = "f" * 64


@pytest.fixture
def users() -> dict[str, Any]:
    """Two people, each with one of everything."""
    made = {}
    for name in ("amina", "omar"):
        user = made[name] = get_user_model().objects.create(username=name)
        operation = AIOperation.objects.create(
            user=user, provider="p", success=True, prompt_hash=HASH, module=f"module-{name}"
        )
        StoredContent.objects.create(operation=operation, user=user, prompt=f"prompt-{name}")
        talk = Conversation.objects.create(user=user, title=f"title-{name}")
        cited = {"number": 1, "title": "T", "url": "/t", "text": "somebody else's words"}
        make = ChatMessage.objects.create
        make(conversation=talk, role="user", text=f"question-{name}")
        make(conversation=talk, role="assistant", text=f"answer-{name}", citations=[cited])
        request = GenerationRequest(
            prompt=f"asked-{name}", sources=(Source(title="T", text="somebody else's words"),)
        )
        info = CallInfo(operation_id=operation.pk)
        Job.objects.create(user=user, request=_job_json.write_call(request, info))
        Budget.objects.create(scope="user", key=str(user.pk), period="day", limit_usd=7)
        PromptTemplate.objects.create(name=name, version=1, text="t", created_by=user)
    Budget.objects.create(scope="user", period="month", limit_usd=9)
    Budget.objects.create(scope="module", key="mana", period="month", limit_usd=11)
    return made


def exported(user: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads("".join(export_user_data(user)))
    return found


def test_a_user_gets_all_of_their_own(users: dict[str, Any]) -> None:
    found = exported(users["amina"])
    assert (found["format"], found["version"]) == (FORMAT, VERSION)
    assert found["user"] == {"id": str(users["amina"].pk), "name": "amina"}
    assert [each["module"] for each in found["operations"]] == ["module-amina"]
    assert [each["prompt"] for each in found["stored_content"]] == ["prompt-amina"]
    (job,) = found["jobs"]
    assert (job["status"], job["prompt"], job["sources"]) == ("queued", "asked-amina", ["T"])
    (talk,) = found["conversations"]
    assert [each["text"] for each in talk["messages"]] == ["question-amina", "answer-amina"]
    assert [(each["limit_usd"], each["is_own"]) for each in found["budgets"]] == [
        ("7.000000000", True), ("9.000000000", False),
    ]  # fmt: skip
    (prompt,) = found["prompts"]
    assert (prompt["name"], prompt["is_author"], prompt["is_activator"]) == ("amina", True, False)


def test_nothing_of_others_and_no_hash_is_in_it(users: dict[str, Any]) -> None:
    text = "".join(export_user_data(users["amina"]))
    for other in ("omar", HASH, "somebody else's words", "mana", "cache_entry"):
        assert other not in text
    assert '"title": "T"' in text


def test_who_has_nothing_gets_a_whole_document() -> None:
    found = exported(4711)
    lists = {name: each for name, each in found.items() if isinstance(each, list)}
    assert set(lists) == {
        "operations",
        "conversations",
        "stored_content",
        "jobs",
        "budgets",
        "prompts",
    }
    assert not any(lists.values())


def test_rows_are_read_as_they_are_asked_for(
    users: dict[str, Any], django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        pieces = export_user_data(users["amina"].pk)
    with django_assert_num_queries(0):
        assert FORMAT in next(pieces)
    with django_assert_num_queries(7):
        list(pieces)


def test_the_command_prints_or_writes_a_file_for_one_reader(
    users: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("export_user_data", "amina")
    assert json.loads(capsys.readouterr().out)["user"]["name"] == "amina"
    target = tmp_path / "amina.json"
    target.write_text("old")
    target.chmod(0o644)
    call_command("export_user_data", "amina", output=target)
    assert json.loads(target.read_text())["user"]["name"] == "amina"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["amina.json"]


def test_a_file_that_fails_leaves_what_was_there(
    users: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(user: Any) -> Any:
        yield "{"
        raise RuntimeError

    monkeypatch.setattr(
        "django_obc_ai.management.commands.export_user_data.export_user_data", broken
    )
    target = tmp_path / "amina.json"
    target.write_text("old")
    with pytest.raises(RuntimeError):
        call_command("export_user_data", "amina", output=target)
    assert target.read_text() == "old" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(CommandError, match="cannot be written"):
        call_command("export_user_data", "amina", output=tmp_path / "no" / "such.json")
