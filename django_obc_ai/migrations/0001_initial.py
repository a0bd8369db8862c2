"""The tables of the package."""

from __future__ import annotations

import uuid

import django.db.models.deletion
import django.db.models.expressions
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import django_obc_ai.models.fields


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
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
            ],
            options={
                "ordering": ["created_at"],
            },
        ),
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
                ("attempts", models.PositiveIntegerField(default=1)),
                ("success", models.BooleanField()),
                ("error_category", models.CharField(blank=True, default="", max_length=50)),
                ("error_message", models.TextField(blank=True, default="")),
                ("finish_reason", models.CharField(blank=True, default="", max_length=20)),
                ("cached", models.BooleanField(default=False)),
                ("prompt_hash", models.CharField(max_length=64)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
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
                "verbose_name": "AI operation",
                "verbose_name_plural": "AI operations",
                "ordering": ["-created_at"],
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
                ("keys", models.JSONField()),
                ("amount_nano", models.BigIntegerField()),
                ("is_open", models.BooleanField(default=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("is_open", True)),
                        fields=["created_at"],
                        name="obc_ai_reservation_open",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="CostTotal",
            fields=[
                ("key", models.CharField(max_length=200, primary_key=True, serialize=False)),
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
            model_name="tombstone",
            index=models.Index(fields=["generation", "version"], name="obc_ai_tombstone_version"),
        ),
    ]
