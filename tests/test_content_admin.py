"""Stored texts in the admin: for those who may read them, and never unnoticed."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.urls import reverse

from django_obc_ai.models import AIOperation, Conversation, StoredContent
from tests.test_admin import _client, text_of

pytestmark = pytest.mark.django_db
SECRET = "Whose <b>land</b> is it?"


@pytest.fixture
def content() -> StoredContent:
    user = get_user_model().objects.create(username="amina")
    operation = AIOperation.objects.create(user=user, provider="p", success=True)
    return StoredContent.objects.create(
        operation=operation, user=user, system="Be kind", prompt=SECRET, answer="Nobody's",
        history=[{"role": "user", "text": "Earlier"}],
    )  # fmt: skip


def url(page: str, *arguments: Any, model: str = "storedcontent") -> str:
    return reverse(f"admin:django_obc_ai_{model}_{page}", args=arguments)


def test_who_may_only_view_sees_no_text_and_nothing_is_noted(content: StoredContent) -> None:
    client = _client("view_storedcontent")
    for page in (url("changelist"), url("change", content.pk)):
        shown = text_of(client.get(page))
        assert "amina" in shown
        for text in ("land", "Nobody", "Be kind", "Earlier"):
            assert text not in shown
    assert not LogEntry.objects.exists()


def test_who_may_read_sees_plain_text_and_is_noted(content: StoredContent) -> None:
    client = _client("view_storedcontent", "read_content")
    assert "land" not in text_of(client.get(url("changelist")))
    assert not LogEntry.objects.exists()
    shown = text_of(client.get(url("change", content.pk)))
    for text in ("Whose &lt;b&gt;land&lt;/b&gt; is it?", "Nobody&#x27;s", "Be kind", "Earlier"):
        assert text in shown
    assert url("change", content.pk, model="aioperation") in shown
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.get_change_message()) == (str(content.pk), "Read.")
    assert "land" not in entry.object_repr


def test_texts_keep_their_lines_under_a_strict_policy(content: StoredContent) -> None:
    client = _client("view_storedcontent", "read_content")
    shown = text_of(client.get(url("change", content.pk)))
    assert "style=" not in shown.partition('id="content-main"')[2]
    assert "django_obc_ai/operators.css" in shown
    assert shown.count('class="ai-said"') == 4


def test_permission_to_read_alone_opens_nothing(content: StoredContent) -> None:
    client = _client("read_content")
    for page in (url("changelist"), url("change", content.pk)):
        assert client.get(page).status_code == 403
    assert not LogEntry.objects.exists()


def test_texts_are_found_by_operation_and_user_and_not_by_words(content: StoredContent) -> None:
    client = _client("view_storedcontent", "read_content")
    for term, count in ((str(content.pk), 1), (str(content.user_id), 1), ("land", 0), ("", 1)):
        shown = text_of(client.get(url("changelist"), {"q": term}))
        assert (str(content.pk) in shown.partition("result_list")[2]) == bool(count), term


def test_nothing_is_shown_where_the_reading_cannot_be_noted(
    content: StoredContent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr("django.contrib.admin.ModelAdmin.log_change", broken)
    client = _client(is_superuser=True)
    client.raise_request_exception = False
    answer = client.get(url("change", content.pk))
    assert answer.status_code == 500 and b"land" not in answer.content


def test_reading_a_conversation_is_noted_too() -> None:
    conversation = Conversation.objects.create(title=SECRET)
    page = url("change", conversation.pk, model="conversation")
    assert _client("view_conversation").get(page).status_code == 200
    assert not LogEntry.objects.exists()
    assert "land" in text_of(_client("view_conversation", "read_conversation").get(page))
    assert LogEntry.objects.get().object_id == str(conversation.pk)


def test_the_page_of_an_operation_leads_to_its_texts_where_they_may_be_seen(
    content: StoredContent,
) -> None:
    bare = AIOperation.objects.create(provider="p", success=True)
    link = f'href="{url("change", content.pk)}"'
    page = url("change", content.pk, model="aioperation")
    assert link in text_of(_client("view_aioperation", "view_storedcontent").get(page))
    assert link not in text_of(_client("view_aioperation").get(page))
    others = url("change", bare.pk, model="aioperation")
    shown = text_of(_client("view_aioperation", "view_storedcontent").get(others))
    assert "Stored texts" not in shown
