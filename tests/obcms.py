"""The original's tables, as its own migrations make them, and rows for them."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from django.apps.registry import Apps
from django.db import connections, models
from django.utils import timezone

BEGAN = datetime.datetime(2025, 10, 6, 20, 0, tzinfo=datetime.UTC)  # the 7th in Manila
_apps = Apps()


class _Table:
    apps = _apps
    app_label = "ai_assistant"


class Operation(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    operation_type = models.CharField(max_length=50)
    module = models.CharField(max_length=50, default="general")
    user_id: Any = models.IntegerField(null=True)
    prompt_hash = models.CharField(max_length=64, db_index=True)
    model_used = models.CharField(max_length=50, default="gemini-1.5-pro")
    tokens_used = models.IntegerField(default=0)
    response_time = models.FloatField()
    cost: Any = models.DecimalField(max_digits=10, decimal_places=6)
    success = models.BooleanField(default=True)
    error = models.TextField(blank=True)
    error_category = models.CharField(max_length=50, blank=True)
    cached = models.BooleanField(default=False)
    created_at: Any = models.DateTimeField(db_index=True)

    class Meta(_Table):
        db_table = "ai_assistant_aioperation"


class Conversation(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    user_id: Any = models.IntegerField()
    conversation_type = models.CharField(max_length=20, default="policy_chat")
    title = models.CharField(max_length=255, blank=True)
    messages: Any = models.JSONField(default=list)
    context_data: Any = models.JSONField(default=dict)
    model_used = models.CharField(max_length=50, default="gemini-2.5-flash")
    is_active = models.BooleanField(default=True)
    created_at: Any = models.DateTimeField()
    updated_at: Any = models.DateTimeField()

    class Meta(_Table):
        db_table = "ai_assistant_aiconversation"


class Embedding(models.Model):
    id = models.BigAutoField(primary_key=True)
    content_type_id: Any = models.IntegerField()
    object_id = models.PositiveIntegerField()
    embedding_hash = models.CharField(max_length=64)
    model_used = models.CharField(max_length=100, default="sentence-transformers/all-MiniLM-L6-v2")
    dimension = models.PositiveIntegerField(default=384)
    index_name = models.CharField(max_length=50)
    index_position = models.PositiveIntegerField(null=True)
    created_at: Any = models.DateTimeField(default=BEGAN)
    updated_at: Any = models.DateTimeField(default=BEGAN)

    class Meta(_Table):
        db_table = "ai_assistant_documentembedding"


TABLES: tuple[type[models.Model], ...] = (Operation, Conversation, Embedding)


@contextmanager
def original_in(alias: str) -> Iterator[None]:
    """The empty tables in a database, which go again."""
    make_tables(alias)
    try:
        yield
    finally:
        connection = connections[alias]
        left = connection.introspection.table_names()
        with connection.schema_editor() as editor:
            for each in TABLES:
                if each._meta.db_table in left:
                    editor.delete_model(each)


def make_tables(alias: str) -> None:
    with connections[alias].schema_editor() as editor:
        for each in TABLES:
            editor.create_model(each)


def operation(**values: Any) -> Operation:
    """An operation like most, not saved."""
    given = {
        "operation_type": "chat",
        "prompt_hash": "5" * 64,
        "tokens_used": 1200,
        "response_time": 1.25,
        "cost": Decimal("0.001234"),
        "created_at": BEGAN,
    }
    return Operation(**{**given, **values})


def conversation(*said: Any, **values: Any) -> Conversation:
    """A conversation of texts, a user's and an assistant's in turn, or of whole messages."""
    messages = [
        {
            "role": ("user", "assistant")[number % 2],
            "content": each,
            "timestamp": (BEGAN + datetime.timedelta(seconds=number)).isoformat(),
            "metadata": {},
        }
        if isinstance(each, str)
        else each
        for number, each in enumerate(said)
    ]
    given = {"messages": messages, "created_at": BEGAN, "updated_at": timezone.now()}
    return Conversation(**{**given, **values})


def put(*rows: models.Model, alias: str = "default") -> None:
    """Save rows of one kind."""
    type(rows[0])._default_manager.using(alias).bulk_create(rows)
