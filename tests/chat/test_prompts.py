"""Prompts: files that a project overrides, versions of the admin, and data that stays data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.test import override_settings

from django_obc_ai.chat.prompts import PROMPTS, find_fault, get_prompt
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.models import PromptTemplate
from django_obc_ai.services.prompts import activate_prompt, draft_prompt, retire_prompt

pytestmark = pytest.mark.django_db
TEXT = "Today is {{ today }}, the models are {{ models }}."


@pytest.mark.parametrize("name", PROMPTS)
def test_the_shipped_files_have_no_fault(name: str) -> None:
    prompt = get_prompt(name)
    assert find_fault(name, prompt.text) == ""
    assert prompt.version.startswith(f"{name} file ")
    assert len(prompt.version) <= 100


@pytest.mark.parametrize("value", [
    "{{ today }}", "{% now 'Y' %}", "{% include 'admin/base.html' %}", "{# x #}", "{% debug %}",
    "{{ today|upper }}", "{% templatetag openvariable %} x", "$today {today} %(today)s",
])  # fmt: skip
def test_data_never_becomes_template_code(value: str) -> None:
    user = None
    activate_prompt(draft_prompt("chat_plan", TEXT, user=user), user=user)
    rendered = get_prompt("chat_plan").render(today="TODAY", models=f"a {value} <b>&amp;")
    assert rendered == f"Today is TODAY, the models are a {value} <b>&amp;."


@pytest.mark.parametrize(("text", "fault"), [
    ("{% load static %}" + TEXT, "static"),
    ("{% include 'admin/base.html' %}" + TEXT, "cannot be rendered"),
    ("{% extends 'admin/base.html' %}" + TEXT, "cannot be rendered"),
    ("{{ today", "does not use {{ models }}, {{ today }}"),
    ("{% if %}" + TEXT, "cannot be rendered"),
    ("{{ today.__class__ }}" + TEXT, "cannot be rendered"),
    ("{{ models }}", "does not use {{ today }}"),
    ("", "does not use"),
])  # fmt: skip
def test_a_template_that_reaches_out_or_leaves_out_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault.replace("{", r"\{")):
        draft_prompt("chat_plan", text, user=None)
    assert not PromptTemplate.objects.exists()


def test_there_are_no_other_prompts() -> None:
    with pytest.raises(ValueError, match=r"no prompt 'chat_joke'\. Valid names: chat_plan"):
        draft_prompt("chat_joke", "x", user=None)


def test_versions_are_counted_and_one_is_active() -> None:
    user = get_user_model().objects.create(username="amina")
    first = draft_prompt("chat_plan", TEXT + "\r\none", user=user)
    second = draft_prompt("chat_plan", TEXT + "two", user=None)
    assert get_prompt("chat_plan").version.startswith("chat_plan file")
    activate_prompt(first, user=user)
    assert get_prompt("chat_plan").version == "chat_plan v1"
    assert get_prompt("chat_plan").text == TEXT + "\none"
    activate_prompt(second, user=user)
    assert get_prompt("chat_plan").version == "chat_plan v2"
    rows = PromptTemplate.objects.order_by("version")
    assert [(r.version, r.status, r.created_by, r.activated_by) for r in rows] == [
        (1, "archived", user, user), (2, "active", None, user),
    ]  # fmt: skip
    assert retire_prompt("chat_plan") is True
    assert retire_prompt("chat_plan") is False
    assert get_prompt("chat_plan").version.startswith("chat_plan file")
    user.delete()
    assert PromptTemplate.objects.filter(created_by=None).count() == 2


def test_the_database_refuses_a_second_active_version() -> None:
    activate_prompt(draft_prompt("chat_plan", TEXT, user=None), user=None)
    other = draft_prompt("chat_plan", TEXT, user=None)
    with pytest.raises(IntegrityError), transaction.atomic():
        PromptTemplate.objects.filter(pk=other.pk).update(status="active")
    with pytest.raises(IntegrityError), transaction.atomic():
        PromptTemplate.objects.create(name="chat_plan", version=other.version, text="x")
    answer = draft_prompt("chat_answer", "In {{ language }}.", user=None)
    activate_prompt(answer, user=None)
    assert PromptTemplate.objects.filter(status="active").count() == 2


def test_a_version_that_was_broken_since_is_not_activated_and_not_used() -> None:
    prompt = draft_prompt("chat_plan", TEXT, user=None)
    PromptTemplate.objects.update(text="{% if %}")
    prompt.refresh_from_db()
    with pytest.raises(ValueError, match="cannot be rendered"):
        activate_prompt(prompt, user=None)
    PromptTemplate.objects.update(status="active")
    with pytest.raises(ConfigurationError, match="'chat_plan v1' cannot be rendered"):
        get_prompt("chat_plan").render(today="x", models="y")


def _templates(**changes: Any) -> Any:
    return override_settings(TEMPLATES=[{**settings.TEMPLATES[0], **changes}])


def test_a_project_overrides_a_file_by_its_template_directories(tmp_path: Path) -> None:
    folder = tmp_path / "django_obc_ai" / "prompts"
    folder.mkdir(parents=True)
    (folder / "chat_answer.txt").write_text("Ours, in {{ language }}.")
    shipped = get_prompt("chat_answer").version
    with _templates(DIRS=[str(tmp_path)]):
        prompt = get_prompt("chat_answer")
        assert prompt.render(language="Filipino") == "Ours, in Filipino."
        assert prompt.version != shipped


def test_projects_whose_engine_looks_into_no_app_use_the_shipped_file() -> None:
    shipped = get_prompt("chat_answer")
    with _templates(APP_DIRS=False):
        assert get_prompt("chat_answer") == shipped
    with override_settings(TEMPLATES=[]):
        assert get_prompt("chat_answer") == shipped
