"""The tables of the package."""

from __future__ import annotations

import uuid
from contextlib import suppress

import django.core.serializers.json
import django.db.models.deletion
import django.db.models.expressions
import django.utils.timezone
from django.conf import settings
from django.db import DatabaseError, migrations, models, transaction

import django_obc_ai.models.budgets
import django_obc_ai.models.fields


def create_vector_extension(apps, schema_editor):
    """Let PostgreSQL search vectors, where pgvector is installed and this role may add it.

    Nothing else needs it, so that nobody is told here: the pgvector store says what to run.
    """
    connection = schema_editor.connection
    if connection.vendor != "postgresql":
        return
    atomic = transaction.atomic(using=connection.alias)
    with suppress(DatabaseError), atomic, connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_available_extensions WHERE name = 'vector'")
        if cursor.fetchone() is not None:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RunPython(create_vector_extension, migrations.RunPython.noop),
        migrations.CreateModel(
            name="AIOperation",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("operation_type", models.CharField(default="other", max_length=50)),
                ("module", models.CharField(default="general", max_length=50)),
                ("scope", models.CharField(blank=True, default="", max_length=100)),
                ("content_type", models.CharField(blank=True, default="", max_length=50)),
                ("provider", models.CharField(max_length=50)),
                ("model_requested", models.CharField(blank=True, max_length=100)),
                ("model_used", models.CharField(blank=True, max_length=100)),
                ("input_tokens", models.PositiveBigIntegerField(default=0)),
                ("cached_tokens", models.PositiveBigIntegerField(default=0)),
                ("output_tokens", models.PositiveBigIntegerField(default=0)),
                ("thinking_tokens", models.PositiveBigIntegerField(default=0)),
                ("tool_tokens", models.PositiveBigIntegerField(default=0)),
                ("audio_tokens", models.PositiveBigIntegerField(default=0)),
                ("tokens_exact", models.BooleanField(default=True)),
                ("cost_usd", django_obc_ai.models.fields.NanoDollarField(default=0)),
                ("cost_known", models.BooleanField(default=True)),
                ("response_time_ms", models.PositiveBigIntegerField(default=0)),
                ("first_chunk_ms", models.PositiveBigIntegerField(blank=True, null=True)),
                ("attempts", models.PositiveIntegerField(default=1)),
                ("success", models.BooleanField()),
                ("error_category", models.CharField(blank=True, default="", max_length=50)),
                ("error_message", models.TextField(blank=True, default="")),
                ("finish_reason", models.CharField(blank=True, default="", max_length=20)),
                ("cached", models.BooleanField(default=False)),
                ("coalesced", models.BooleanField(default=False)),
                ("waited_ms", models.PositiveBigIntegerField(default=0)),
                ("fallback_from", models.CharField(blank=True, default="", max_length=50)),
                ("stored_bytes", models.PositiveBigIntegerField(blank=True, null=True)),
                ("saved_usd", django_obc_ai.models.fields.NanoDollarField(default=0)),
                ("prompt_hash", models.CharField(max_length=64)),
                ("prompt_version", models.CharField(blank=True, default="", max_length=100)),
                ("cache_entry", models.UUIDField(blank=True, null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "recorded_at",
                    models.DateTimeField(db_index=True, default=django.utils.timezone.now),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "AI operation",
                "verbose_name_plural": "AI operations",
                "ordering": ["-created_at"],
                "permissions": (("view_dashboard", "Can view the AI dashboard"),),
            },
        ),
        migrations.CreateModel(
            name="CostStoreMark",
            fields=[
                ("alias", models.CharField(max_length=100, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
        migrations.CreateModel(
            name="GateRow",
            fields=[
                ("name", models.CharField(max_length=50, primary_key=True, serialize=False)),
                ("data", models.TextField(default="{}")),
                ("changes", models.BigIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name="IndexGeneration",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("fingerprint", models.CharField(max_length=200)),
                ("embedder", models.CharField(blank=True, default="", max_length=64)),
                ("dimension", models.PositiveIntegerField()),
                ("fitted_state", models.BinaryField(default=b"")),
                ("fitted_count", models.BigIntegerField(default=0)),
                ("is_complete", models.BooleanField(default=False)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("updated_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("held_version", models.BigIntegerField(blank=True, default=None, null=True)),
            ],
            options={
                "ordering": ["created_at"],
            },
        ),
        migrations.CreateModel(
            name="IndexRequest",
            fields=[
                ("name", models.CharField(max_length=100, primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[("sweep", "index what waits"), ("rebuild", "rebuild")],
                        max_length=10,
                    ),
                ),
                ("requested_by", models.CharField(blank=True, default="", max_length=150)),
                ("requested_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
        migrations.CreateModel(
            name="JobHold",
            fields=[
                ("provider", models.CharField(max_length=50, primary_key=True, serialize=False)),
                ("until", models.DateTimeField()),
            ],
            options={
                "ordering": ["provider"],
            },
        ),
        migrations.CreateModel(
            name="ProviderPause",
            fields=[
                (
                    "alias",
                    models.CharField(
                        max_length=50, primary_key=True, serialize=False, verbose_name="provider"
                    ),
                ),
                ("reason", models.CharField(max_length=300)),
                ("paused_by", models.CharField(blank=True, default="", max_length=150)),
                ("since", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "until",
                    models.DateTimeField(
                        blank=True, help_text="Empty: until somebody resumes it.", null=True
                    ),
                ),
            ],
            options={
                "verbose_name": "pause of a provider",
                "verbose_name_plural": "AI providers",
                "ordering": ["alias"],
            },
        ),
        migrations.CreateModel(
            name="RollupMark",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("through", models.DateTimeField(null=True)),
                ("purges", models.PositiveBigIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name="Worker",
            fields=[
                (
                    "name",
                    models.CharField(
                        help_text="Host and process.",
                        max_length=150,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("started_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("seen_at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
            ],
            options={
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="Budget",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "scope",
                    models.CharField(
                        choices=[
                            ("global", "global"),
                            ("module", "module"),
                            ("operation_type", "operation_type"),
                            ("model", "model"),
                            ("user", "user"),
                            ("group", "group"),
                            ("tenant", "tenant"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "key",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="One module, user id, group name, tenant, …; empty: each of them separately.",
                        max_length=100,
                    ),
                ),
                (
                    "period",
                    models.CharField(
                        choices=[
                            ("hour", "hour"),
                            ("day", "day"),
                            ("week", "week"),
                            ("month", "month"),
                            ("total", "total"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "limit_usd",
                    django_obc_ai.models.fields.NanoDollarField(
                        blank=True, null=True, verbose_name="limit in US dollars"
                    ),
                ),
                ("limit_tokens", models.PositiveBigIntegerField(blank=True, null=True)),
                ("limit_requests", models.PositiveBigIntegerField(blank=True, null=True)),
                (
                    "enforce",
                    models.BooleanField(
                        default=True,
                        help_text="Refuse calls that may pass the limit; otherwise only count.",
                    ),
                ),
                (
                    "alert_percent",
                    models.JSONField(
                        blank=True, default=django_obc_ai.models.budgets._default_percents
                    ),
                ),
                (
                    "time_zone",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="Such as Asia/Manila; empty: the site's.",
                        max_length=50,
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
            ],
            options={
                "ordering": ["scope", "key", "period"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("limit_requests", None),
                                ("limit_tokens", None),
                                ("limit_usd__gte", 0),
                            ),
                            models.Q(
                                ("limit_requests", None),
                                ("limit_tokens__gte", 0),
                                ("limit_usd", None),
                            ),
                            models.Q(
                                ("limit_requests__gte", 0),
                                ("limit_tokens", None),
                                ("limit_usd", None),
                            ),
                            _connector="OR",
                        ),
                        name="obc_ai_budget_one_limit",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="BudgetAlert",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("key", models.CharField(max_length=250)),
                ("percent", models.PositiveSmallIntegerField()),
                ("level", models.CharField(max_length=10)),
                ("unit", models.CharField(max_length=10)),
                ("limit", models.BigIntegerField(help_text="Nano-dollars, tokens or requests.")),
                ("spent", models.BigIntegerField(help_text="When the threshold was noticed.")),
                ("resets_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("acknowledged_by", models.CharField(blank=True, default="", max_length=150)),
                ("acknowledged_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["-created_at"],
                "constraints": [
                    models.UniqueConstraint(fields=("key", "percent"), name="obc_ai_alert_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="BudgetChange",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("budget_id", models.BigIntegerField()),
                ("changed_by", models.CharField(blank=True, default="", max_length=100)),
                ("changed_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("before", models.JSONField(null=True)),
                ("after", models.JSONField(null=True)),
            ],
            options={
                "ordering": ["-changed_at"],
                "indexes": [
                    models.Index(fields=["budget_id", "changed_at"], name="obc_ai_budget_change")
                ],
            },
        ),
        migrations.CreateModel(
            name="Conversation",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("scope", models.CharField(blank=True, default="", max_length=100)),
                ("title", models.CharField(blank=True, default="", max_length=80)),
                ("summary", models.TextField(blank=True, default="")),
                ("summarised_to", models.BigIntegerField(default=0)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("updated_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["-updated_at"],
                "permissions": (
                    ("read_conversation", "Can read what people asked and were answered"),
                ),
            },
        ),
        migrations.CreateModel(
            name="ChatMessage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("key", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                (
                    "role",
                    models.CharField(
                        choices=[("user", "user"), ("assistant", "assistant")], max_length=10
                    ),
                ),
                ("text", models.TextField()),
                (
                    "plan",
                    models.JSONField(
                        blank=True,
                        encoder=django.core.serializers.json.DjangoJSONEncoder,
                        null=True,
                    ),
                ),
                ("citations", models.JSONField(blank=True, default=list)),
                ("operation_ids", models.JSONField(blank=True, default=list)),
                ("is_refused", models.BooleanField(default=False)),
                ("is_offline", models.BooleanField(default=False)),
                ("error", models.CharField(blank=True, default="", max_length=50)),
                ("found_by", models.TextField(blank=True, default="")),
                ("warnings", models.JSONField(blank=True, default=list)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "conversation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="messages",
                        to="django_obc_ai.conversation",
                    ),
                ),
            ],
            options={
                "verbose_name": "chat message",
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="CostCorrection",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("repriced", "priced again"), ("billed", "replaced by the bill")],
                        max_length=20,
                    ),
                ),
                ("old_cost_usd", django_obc_ai.models.fields.NanoDollarField()),
                ("new_cost_usd", django_obc_ai.models.fields.NanoDollarField()),
                ("was_cost_known", models.BooleanField()),
                ("reason", models.CharField(max_length=300)),
                ("made_by", models.CharField(max_length=150)),
                ("run", models.UUIDField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "operation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="corrections",
                        to="django_obc_ai.aioperation",
                    ),
                ),
            ],
            options={
                "ordering": ["-created_at"],
            },
        ),
        migrations.CreateModel(
            name="CostReservation",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("keys", models.JSONField(help_text="The unit that each key counts.")),
                ("amount_nano", models.BigIntegerField()),
                ("amount_tokens", models.BigIntegerField(default=0)),
                ("amount_requests", models.BigIntegerField(default=0)),
                ("is_open", models.BooleanField(default=True)),
                ("is_expired", models.BooleanField(default=False)),
                ("is_confirmed", models.BooleanField(default=False)),
                ("owner", models.CharField(default="", max_length=100)),
                ("lease_until", models.DateTimeField(default=django.utils.timezone.now)),
                ("details", models.TextField(default="")),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("is_open", True)),
                        fields=["lease_until"],
                        name="obc_ai_reservation_open",
                    ),
                    models.Index(
                        condition=models.Q(("is_confirmed", False), ("is_expired", True)),
                        fields=["created_at"],
                        name="obc_ai_reservation_expired",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="CostTotal",
            fields=[
                ("key", models.CharField(max_length=250, primary_key=True, serialize=False)),
                ("spent_nano", models.BigIntegerField(default=0)),
                ("held_nano", models.BigIntegerField(default=0)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("held_nano__gte", 0)),
                        name="obc_ai_total_held_not_negative",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("spent_nano__gte", 0)),
                        name="obc_ai_total_spent_not_negative",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="DirtyRow",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("index_name", models.CharField(max_length=100)),
                ("object_key", models.CharField(max_length=255)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "indexes": [models.Index(fields=["index_name", "id"], name="obc_ai_dirty_order")],
            },
        ),
        migrations.CreateModel(
            name="IndexFailure",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("index_name", models.CharField(max_length=100)),
                ("object_key", models.CharField(max_length=255)),
                ("error", models.CharField(max_length=200)),
                ("attempts", models.PositiveIntegerField(default=1)),
                ("first_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("last_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("index_name", "object_key"), name="obc_ai_failure_unique"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Flight",
            fields=[
                ("key", models.CharField(max_length=200, primary_key=True, serialize=False)),
                (
                    "leader",
                    models.CharField(
                        default="", help_text="Empty if none is under way.", max_length=100
                    ),
                ),
                ("lease_until", models.FloatField(default=0.0)),
                ("is_takeover", models.BooleanField(default=False)),
                ("text", models.TextField(default="")),
                ("last_piece", models.BigIntegerField(default=-1)),
                ("answer", models.TextField(default="")),
                ("landed_at", models.FloatField(default=0.0)),
                (
                    "landed_mark",
                    models.BigIntegerField(default=0, help_text="Tells whose answer it is."),
                ),
                ("keep_until", models.FloatField(default=0.0)),
                ("expires_at", models.FloatField(default=0.0)),
            ],
            options={
                "indexes": [models.Index(fields=["expires_at"], name="obc_ai_flight_expires")],
            },
        ),
        migrations.CreateModel(
            name="Chunk",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("object_key", models.CharField(max_length=255)),
                ("number", models.PositiveIntegerField()),
                ("start", models.PositiveIntegerField(default=0)),
                ("end", models.PositiveIntegerField(default=0)),
                ("text", models.TextField()),
                ("content_hash", models.CharField(max_length=64)),
                ("vector", models.BinaryField()),
                ("version", models.BigIntegerField()),
                (
                    "generation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="chunks",
                        to="django_obc_ai.indexgeneration",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="IndexState",
            fields=[
                ("name", models.CharField(max_length=100, primary_key=True, serialize=False)),
                ("uuid", models.UUIDField(default=uuid.uuid4, editable=False)),
                ("version", models.BigIntegerField(default=0)),
                ("stamp", models.CharField(blank=True, default="", max_length=32)),
                ("horizon", models.BigIntegerField(default=0)),
                ("woken_at", models.DateTimeField(blank=True, default=None, null=True)),
                ("recall", models.FloatField(blank=True, default=None, null=True)),
                ("recall_of", models.CharField(blank=True, default="", max_length=200)),
                (
                    "serving",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="django_obc_ai.indexgeneration",
                    ),
                ),
            ],
            options={
                "verbose_name": "search index",
                "verbose_name_plural": "search indexes",
                "permissions": (("rebuild_index", "Can rebuild search indexes"),),
            },
        ),
        migrations.AddField(
            model_name="indexgeneration",
            name="index",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="generations",
                to="django_obc_ai.indexstate",
            ),
        ),
        migrations.CreateModel(
            name="IndexVersion",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("version", models.BigIntegerField()),
                ("stamp", models.CharField(max_length=32)),
                (
                    "index",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="versions",
                        to="django_obc_ai.indexstate",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Job",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("succeeded", "Succeeded"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="queued",
                        max_length=10,
                    ),
                ),
                (
                    "priority",
                    models.SmallIntegerField(default=0, help_text="Higher is taken earlier."),
                ),
                (
                    "turn",
                    models.BigIntegerField(
                        default=0,
                        help_text="Whose turn it is among jobs of one priority: persons alternate.",
                    ),
                ),
                ("scope", models.CharField(blank=True, default="", max_length=100)),
                ("module", models.CharField(default="general", max_length=50)),
                ("operation_type", models.CharField(default="other", max_length=50)),
                ("provider", models.CharField(default="default", max_length=50)),
                ("request", models.JSONField(default=dict)),
                ("result", models.JSONField(default=None, null=True)),
                ("error_category", models.CharField(blank=True, default="", max_length=50)),
                ("error_message", models.TextField(blank=True, default="")),
                (
                    "operation_id",
                    models.UUIDField(
                        default=None, help_text="The operation of the last attempt.", null=True
                    ),
                ),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("owner", models.CharField(blank=True, default="", max_length=100)),
                ("lease_until", models.DateTimeField(default=None, null=True)),
                ("due_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "not_before",
                    models.DateTimeField(
                        default=None,
                        help_text="When it may begin, where whoever asked wants it later.",
                        null=True,
                    ),
                ),
                ("deadline_at", models.DateTimeField(default=None, null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("started_at", models.DateTimeField(default=None, null=True)),
                ("finished_at", models.DateTimeField(default=None, null=True)),
                ("expires_at", models.DateTimeField(default=None, null=True)),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["-created_at"],
                "permissions": (("manage_jobs", "Can retry and cancel jobs"),),
            },
        ),
        migrations.CreateModel(
            name="OperationRollup",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("start", models.DateTimeField()),
                ("end", models.DateTimeField()),
                ("is_day", models.BooleanField(default=False)),
                ("rolled_at", models.DateTimeField()),
                ("sums", models.JSONField()),
                ("by_module", models.JSONField()),
                ("by_operation_type", models.JSONField()),
                ("by_model", models.JSONField()),
                ("by_user", models.JSONField()),
                ("by_scope", models.JSONField()),
                ("purged", models.JSONField(null=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("is_day", "start"), name="obc_ai_rollup_unique")
                ],
            },
        ),
        migrations.CreateModel(
            name="PromptTemplate",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=50)),
                ("version", models.PositiveIntegerField()),
                ("text", models.TextField()),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("draft", "draft"),
                            ("active", "active"),
                            ("archived", "archived"),
                        ],
                        default="draft",
                        max_length=10,
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("activated_at", models.DateTimeField(blank=True, null=True)),
                (
                    "activated_by",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["name", "-version"],
            },
        ),
        migrations.CreateModel(
            name="TaskState",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=50)),
                (
                    "key",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text='What it is done for: "2026-11-27".',
                        max_length=100,
                    ),
                ),
                ("started_at", models.DateTimeField(default=None, null=True)),
                ("finished_at", models.DateTimeField(default=None, null=True)),
                ("is_ok", models.BooleanField(default=True)),
                ("error_category", models.CharField(blank=True, default="", max_length=50)),
                ("error_message", models.TextField(blank=True, default="")),
                ("runs", models.PositiveBigIntegerField(default=0)),
                ("worker", models.CharField(blank=True, default="", max_length=150)),
                (
                    "owner",
                    models.CharField(
                        blank=True, default="", help_text="Who is at it.", max_length=100
                    ),
                ),
                ("lease_until", models.DateTimeField(default=None, null=True)),
            ],
            options={
                "verbose_name": "scheduled task",
                "ordering": ["name", "key"],
                "constraints": [
                    models.UniqueConstraint(fields=("name", "key"), name="obc_ai_task_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="Tombstone",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("chunk_id", models.BigIntegerField()),
                ("version", models.BigIntegerField()),
                (
                    "generation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="tombstones",
                        to="django_obc_ai.indexgeneration",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="StoredContent",
            fields=[
                (
                    "operation",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="content",
                        serialize=False,
                        to="django_obc_ai.aioperation",
                    ),
                ),
                ("system", models.TextField(blank=True, default="")),
                ("prompt", models.TextField(blank=True, default="")),
                ("history", models.JSONField(blank=True, default=list)),
                ("answer", models.TextField(blank=True, default="")),
                (
                    "created_at",
                    models.DateTimeField(db_index=True, default=django.utils.timezone.now),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "stored content",
                "verbose_name_plural": "stored contents",
                "ordering": ["-created_at"],
                "permissions": (("read_content", "Can read stored prompts and answers"),),
            },
        ),
        migrations.AddIndex(
            model_name="aioperation",
            index=models.Index(fields=["created_at", "cost_usd"], name="obc_ai_op_created"),
        ),
        migrations.AddIndex(
            model_name="aioperation",
            index=models.Index(fields=["module", "created_at"], name="obc_ai_op_module"),
        ),
        migrations.AddIndex(
            model_name="aioperation",
            index=models.Index(fields=["user", "created_at"], name="obc_ai_op_user"),
        ),
        migrations.AddIndex(
            model_name="aioperation",
            index=models.Index(fields=["scope", "created_at"], name="obc_ai_op_scope"),
        ),
        migrations.AddIndex(
            model_name="aioperation",
            index=models.Index(fields=["operation_type", "created_at"], name="obc_ai_op_type"),
        ),
        migrations.AddIndex(
            model_name="aioperation",
            index=models.Index(fields=["model_used", "created_at"], name="obc_ai_op_model"),
        ),
        migrations.AddIndex(
            model_name="aioperation",
            index=models.Index(
                condition=models.Q(("success", False)),
                fields=["created_at", "error_category"],
                name="obc_ai_op_failed",
            ),
        ),
        migrations.AddIndex(
            model_name="aioperation",
            index=models.Index(
                condition=models.Q(("cached", True)), fields=["created_at"], name="obc_ai_op_cached"
            ),
        ),
        migrations.AddIndex(
            model_name="aioperation",
            index=models.Index(
                condition=models.Q(("coalesced", True)),
                fields=["created_at"],
                name="obc_ai_op_coalesced",
            ),
        ),
        migrations.AddIndex(
            model_name="aioperation",
            index=models.Index(
                condition=models.Q(
                    models.Func(
                        models.F("fallback_from"),
                        output_field=models.BooleanField(),
                        template="%(expressions)s <> ''",
                    )
                ),
                fields=["created_at"],
                name="obc_ai_op_fallback",
            ),
        ),
        migrations.AddIndex(
            model_name="aioperation",
            index=models.Index(
                condition=models.Q(("cost_known", False)),
                fields=["created_at"],
                name="obc_ai_op_unpriced",
            ),
        ),
        migrations.AddIndex(
            model_name="aioperation",
            index=models.Index(
                models.Func(
                    models.F("prompt_hash"),
                    function="SUBSTR",
                    output_field=models.CharField(),
                    template="%(function)s(%(expressions)s, 1, 8)",
                ),
                name="obc_ai_op_prompt",
            ),
        ),
        migrations.AddConstraint(
            model_name="aioperation",
            constraint=models.CheckConstraint(
                condition=models.Q(("cost_usd__gte", 0)), name="obc_ai_op_cost_not_negative"
            ),
        ),
        migrations.AddConstraint(
            model_name="aioperation",
            constraint=models.CheckConstraint(
                condition=models.Q(("cached", False), ("cost_usd", 0), _connector="OR"),
                name="obc_ai_op_cached_is_free",
            ),
        ),
        migrations.AddConstraint(
            model_name="aioperation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("coalesced", False),
                    models.Q(("cached", False), ("cost_usd", 0)),
                    _connector="OR",
                ),
                name="obc_ai_op_coalesced_is_free",
            ),
        ),
        migrations.AddConstraint(
            model_name="aioperation",
            constraint=models.CheckConstraint(
                condition=models.Q(("cached_tokens__lte", models.F("input_tokens"))),
                name="obc_ai_op_cached_in_input",
            ),
        ),
        migrations.AddConstraint(
            model_name="aioperation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "audio_tokens__lte",
                        django.db.models.expressions.CombinedExpression(
                            models.F("input_tokens"), "-", models.F("cached_tokens")
                        ),
                    )
                ),
                name="obc_ai_op_audio_in_input",
            ),
        ),
        migrations.AddConstraint(
            model_name="aioperation",
            constraint=models.CheckConstraint(
                condition=models.Q(("success", False), ("error_category", ""), _connector="OR"),
                name="obc_ai_op_success_or_error",
            ),
        ),
        migrations.AddIndex(
            model_name="conversation",
            index=models.Index(fields=["user", "updated_at"], name="obc_ai_conversation_user"),
        ),
        migrations.AddIndex(
            model_name="conversation",
            index=models.Index(fields=["updated_at"], name="obc_ai_conversation_updated"),
        ),
        migrations.AddIndex(
            model_name="costcorrection",
            index=models.Index(fields=["run"], name="obc_ai_correction_run"),
        ),
        migrations.AddIndex(
            model_name="chunk",
            index=models.Index(fields=["generation", "version"], name="obc_ai_chunk_version"),
        ),
        migrations.AddConstraint(
            model_name="chunk",
            constraint=models.UniqueConstraint(
                fields=("generation", "object_key", "number"), name="obc_ai_chunk_unique"
            ),
        ),
        migrations.AddConstraint(
            model_name="indexversion",
            constraint=models.UniqueConstraint(
                fields=("index", "version"), name="obc_ai_version_unique"
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("status", "queued")),
                fields=["-priority", "turn", "created_at", "id"],
                name="obc_ai_job_next",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("status", "queued")), fields=["due_at"], name="obc_ai_job_due"
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("status", "running")),
                fields=["lease_until"],
                name="obc_ai_job_lease",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("status", "queued")),
                fields=["provider", "priority", "turn"],
                name="obc_ai_job_present",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("started_at__isnull", False)),
                fields=["priority", "-turn"],
                name="obc_ai_job_taken",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                fields=["scope", "user", "provider", "priority", "-turn"], name="obc_ai_job_person"
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["expires_at"], name="obc_ai_job_expires"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("status", "queued")),
                fields=["provider", "due_at", "created_at"],
                name="obc_ai_job_waiting",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("priority__gte", 0), ("status", "queued")),
                fields=["provider", "due_at"],
                name="obc_ai_job_line",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("finished_at__isnull", False)),
                fields=["provider", "finished_at"],
                name="obc_ai_job_served",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["finished_at", "status"], name="obc_ai_job_finished"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["-created_at"], name="obc_ai_job_created"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["status", "-created_at"], name="obc_ai_job_status_at"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["provider", "-created_at"], name="obc_ai_job_provider_at"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["module", "-created_at"], name="obc_ai_job_module_at"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("status", "failed")),
                fields=["error_category", "-created_at"],
                name="obc_ai_job_error_at",
            ),
        ),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("status__in", ["queued", "running", "succeeded", "failed", "cancelled"])
                ),
                name="obc_ai_job_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="prompttemplate",
            constraint=models.UniqueConstraint(
                fields=("name", "version"), name="obc_ai_prompt_version"
            ),
        ),
        migrations.AddConstraint(
            model_name="prompttemplate",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status", "active")),
                fields=("name",),
                name="obc_ai_prompt_one_active",
            ),
        ),
        migrations.AddConstraint(
            model_name="prompttemplate",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["draft", "active", "archived"])),
                name="obc_ai_prompt_status",
            ),
        ),
        migrations.AddIndex(
            model_name="tombstone",
            index=models.Index(fields=["generation", "version"], name="obc_ai_tombstone_version"),
        ),
    ]
