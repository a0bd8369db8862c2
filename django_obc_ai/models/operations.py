"""The ledger: one row for every call, answered, failed or served from the cache."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone

from django_obc_ai.models.fields import NAME_LENGTH, NanoDollarField
from django_obc_ai.models.managers import AIOperationManager, ConfiguredManager
from django_obc_ai.querysets import fell_back, start_of_hash

if TYPE_CHECKING:
    from django_obc_ai.types import Usage


class AIOperation(models.Model):
    """One call to a language model, with its tokens and its exact cost.

    Rows hold no prompt and no answer; `prompt_hash` is a keyed hash that only tells
    equal prompts. Rows are written once by the gateway; a cost that is corrected later
    leaves a `CostCorrection`. ``created_at`` is when the call began, ``recorded_at`` when its
    row was last written.

    ``cached`` answers came from the cache; ``coalesced`` ones from a call that asked the same at
    the same time: both are free. ``waited_ms`` is how long a call waited for rate limits, or for
    the call that answered it. ``provider`` is the alias that answered, ``fallback_from`` the one
    that was asked, if another did. ``stored_bytes`` is None if the call did not look into the
    cache, or found its answer; else what it stored there, 0 for nothing. Of an operation that was
    imported, ``provider`` is `querysets.IMPORTED` and ``attempts`` is 0; no budget counts it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    operation_type = models.CharField(max_length=50, default="other")
    module = models.CharField(max_length=50, default="general")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        db_constraint=False,  # the ledger may live in another database than the users
        db_index=False,  # obc_ai_op_user begins with it
        related_name="+",
    )
    scope = models.CharField(max_length=100, blank=True, default="")
    content_type = models.CharField(max_length=50, blank=True, default="")
    provider = models.CharField(max_length=50)
    model_requested = models.CharField(max_length=100, blank=True)
    model_used = models.CharField(max_length=100, blank=True)
    input_tokens = models.PositiveBigIntegerField(default=0)
    cached_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    thinking_tokens = models.PositiveBigIntegerField(default=0)
    tool_tokens = models.PositiveBigIntegerField(default=0)
    audio_tokens = models.PositiveBigIntegerField(default=0)
    tokens_exact = models.BooleanField(default=True)
    cost_usd = NanoDollarField(default=0)
    cost_known = models.BooleanField(default=True)
    response_time_ms = models.PositiveBigIntegerField(default=0)
    first_chunk_ms = models.PositiveBigIntegerField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=1)
    success = models.BooleanField()
    error_category = models.CharField(max_length=50, blank=True, default="")
    error_message = models.TextField(blank=True, default="")
    finish_reason = models.CharField(max_length=20, blank=True, default="")
    cached = models.BooleanField(default=False)
    coalesced = models.BooleanField(default=False)
    waited_ms = models.PositiveBigIntegerField(default=0)
    fallback_from = models.CharField(max_length=50, blank=True, default="")
    stored_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    saved_usd = NanoDollarField(default=0)
    prompt_hash = models.CharField(max_length=64)
    prompt_version = models.CharField(max_length=100, blank=True, default="")
    cache_entry = models.UUIDField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    recorded_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects = AIOperationManager()

    class Meta:
        verbose_name = "AI operation"
        verbose_name_plural = "AI operations"
        ordering: ClassVar[list[str]] = ["-created_at"]
        permissions = (("view_dashboard", "Can view the AI dashboard"),)
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["created_at", "cost_usd"], name="obc_ai_op_created"),
            models.Index(fields=["module", "created_at"], name="obc_ai_op_module"),
            models.Index(fields=["user", "created_at"], name="obc_ai_op_user"),
            models.Index(fields=["scope", "created_at"], name="obc_ai_op_scope"),
            # The next seven are for the filters of the admin: without one, a value that is rare
            # or gone is looked for in every row. Partial ones cost what there is to find.
            models.Index(fields=["operation_type", "created_at"], name="obc_ai_op_type"),
            models.Index(fields=["model_used", "created_at"], name="obc_ai_op_model"),
            models.Index(
                fields=["created_at", "error_category"],
                condition=models.Q(success=False),
                name="obc_ai_op_failed",
            ),
            models.Index(
                fields=["created_at"], condition=models.Q(cached=True), name="obc_ai_op_cached"
            ),
            models.Index(
                fields=["created_at"],
                condition=models.Q(coalesced=True),
                name="obc_ai_op_coalesced",
            ),
            models.Index(
                fields=["created_at"], condition=models.Q(fell_back()), name="obc_ai_op_fallback"
            ),
            models.Index(
                fields=["created_at"],
                condition=models.Q(cost_known=False),
                name="obc_ai_op_unpriced",
            ),
            # A whole hash would make the largest index of all; its start is as good.
            models.Index(start_of_hash(), name="obc_ai_op_prompt"),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=models.Q(cost_usd__gte=0), name="obc_ai_op_cost_not_negative"
            ),
            models.CheckConstraint(
                condition=models.Q(cached=False) | models.Q(cost_usd=0),
                name="obc_ai_op_cached_is_free",
            ),
            models.CheckConstraint(
                condition=models.Q(coalesced=False) | models.Q(cost_usd=0, cached=False),
                name="obc_ai_op_coalesced_is_free",
            ),
            models.CheckConstraint(
                condition=models.Q(cached_tokens__lte=models.F("input_tokens")),
                name="obc_ai_op_cached_in_input",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    audio_tokens__lte=models.F("input_tokens") - models.F("cached_tokens")
                ),
                name="obc_ai_op_audio_in_input",
            ),
            models.CheckConstraint(
                condition=models.Q(success=False) | models.Q(error_category=""),
                name="obc_ai_op_success_or_error",
            ),
        ]

    def __str__(self) -> str:
        """Return what was done, when, and what it cost."""
        return f"{self.operation_type} {self.created_at:%Y-%m-%d %H:%M:%S} ${self.cost_usd}"

    @property
    def total_tokens(self) -> int:
        """Return all billed tokens."""
        return self.input_tokens + self.output_tokens + self.thinking_tokens + self.tool_tokens

    @property
    def usage(self) -> Usage:
        """Return the token counts as prices take them."""
        from django_obc_ai.types import Usage

        return Usage(
            input_tokens=self.input_tokens,
            cached_tokens=self.cached_tokens,
            output_tokens=self.output_tokens,
            thinking_tokens=self.thinking_tokens,
            tool_tokens=self.tool_tokens,
            audio_tokens=self.audio_tokens,
        )


class CostCorrection(models.Model):
    """One change of one operation's cost: what it was, what it became, why, by whom.

    Rows are only added.
    """

    class Kind(models.TextChoices):
        """Why a cost was changed."""

        REPRICED = "repriced", "priced again"
        BILLED = "billed", "replaced by the bill"

    operation = models.ForeignKey(AIOperation, on_delete=models.CASCADE, related_name="corrections")
    kind = models.CharField(max_length=20, choices=Kind.choices)
    old_cost_usd = NanoDollarField()
    new_cost_usd = NanoDollarField()
    was_cost_known = models.BooleanField()
    reason = models.CharField(max_length=300)
    made_by = models.CharField(max_length=NAME_LENGTH)
    run = models.UUIDField()
    created_at = models.DateTimeField(default=timezone.now)

    objects = ConfiguredManager["CostCorrection"]()

    class Meta:
        ordering: ClassVar[list[str]] = ["-created_at"]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["run"], name="obc_ai_correction_run"),
        ]

    def __str__(self) -> str:
        """Return the two amounts."""
        return f"${self.old_cost_usd} -> ${self.new_cost_usd}"
