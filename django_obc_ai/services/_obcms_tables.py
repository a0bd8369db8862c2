"""The tables of the original system, read as they are: its code is neither needed nor run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps.registry import Apps
from django.db import connections, models

from django_obc_ai.conf import suggest

#: A registry of their own, so that neither migrations nor other apps know these models.
_apps = Apps()


class _Table:
    apps = _apps
    app_label = "ai_assistant"
    managed = False


class OldOperation(models.Model):  # noqa: DJ008 - never shown
    """A call; tokens and cost are estimates."""

    id = models.UUIDField(primary_key=True)
    operation_type = models.TextField()
    module = models.TextField()
    user_id: Any = models.Field()  # of whatever kind the keys of users are: as the driver gives it
    model_used = models.TextField()
    tokens_used = models.BigIntegerField()
    response_time = models.FloatField()
    # SQLite keeps no count of digits: more than the six places that were meant do no harm.
    cost = models.DecimalField(max_digits=24, decimal_places=9)
    success = models.BooleanField()
    error_category = models.TextField()
    cached = models.BooleanField()
    created_at = models.DateTimeField()

    class Meta(_Table):
        db_table = "ai_assistant_aioperation"


class OldConversation(models.Model):  # noqa: DJ008 - never shown
    """A conversation; its messages are a list of ``role``, ``content`` and ``timestamp``."""

    id = models.UUIDField(primary_key=True)
    user_id: Any = models.Field()
    title = models.TextField()
    messages = models.JSONField()
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta(_Table):
        db_table = "ai_assistant_aiconversation"


class OldEmbedding(models.Model):  # noqa: DJ008 - never shown
    """A row that was embedded; the vector itself is in a file that nobody should load."""

    id = models.BigIntegerField(primary_key=True)
    content_type_id = models.BigIntegerField()
    model_used = models.TextField()
    index_name = models.TextField()

    class Meta(_Table):
        db_table = "ai_assistant_documentembedding"


class OldContentType(models.Model):  # noqa: DJ008 - never shown
    """Which model an embedded row is of."""

    id = models.BigIntegerField(primary_key=True)
    app_label = models.TextField()
    model = models.TextField()

    class Meta(_Table):
        db_table = "django_content_type"


_NEEDED: tuple[type[models.Model], ...] = (
    OldOperation, OldConversation, OldEmbedding, OldContentType,
)  # fmt: skip


def check_tables(alias: str) -> None:
    """Make sure that everything is there before anything is read.

    Raises:
        ValueError: There is no such alias, or a table or a column is missing.
    """
    if alias not in connections:
        raise ValueError(f"DATABASES has no alias {alias!r}. {suggest(alias, connections)}")
    for model in _NEEDED:
        table = model._meta.db_table
        found = columns_of(alias, table)
        if not found:
            raise ValueError(
                f"The database {alias!r} has no table {table}. Name the one that holds the"
                " original's tables: --database ALIAS."
            )
        needed = {str(each.column) for each in model._meta.concrete_fields}
        if missing := sorted(needed - found):
            raise ValueError(
                f"The table {table} in the database {alias!r} has no column"
                f" {', '.join(missing)}. Bring the original to its last migration first."
            )


def columns_of(alias: str, table: str) -> set[str]:
    """Return the names of a table's columns; none if there is no such table."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor, include_views=True)
        if table not in tables:
            return set()
        described = connection.introspection.get_table_description(cursor, table)
    return {each.name for each in described}


def batches_of(
    model: type[models.Model], alias: str, *, size: int
) -> Iterator[list[dict[str, Any]]]:
    """Yield all rows in order of their keys, so many at once; nothing stays open in between."""
    rows = model._default_manager.using(alias).order_by("pk").values()
    after: Any = None
    while found := list((rows if after is None else rows.filter(pk__gt=after))[:size]):
        yield found
        after = found[-1]["id"]
