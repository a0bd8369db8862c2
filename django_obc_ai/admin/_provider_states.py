"""What the admin says of each provider: how it is configured, whether it answers and is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django_obc_ai.admin.dashboard_limits import condition_of
from django_obc_ai.backends.providers import providers
from django_obc_ai.models import AIOperation, ProviderPause
from django_obc_ai.services.limits import limits_now
from django_obc_ai.services.pauses import paused_providers

#: Operations in which the last success and failure of each provider are looked for.
LATEST = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A configured provider as the list shows it; no option but the model is looked at.

    Attributes:
        alias: In ``OBC_AI["PROVIDERS"]``.
        kind: Name of the class.
        model: As configured, "" for the class's own.
        pause: The pause that holds now, if any.
        has_row: Whether a pause is stored, even one that is over.
        answered: When it last answered, among the latest operations.
        failed: When a call last failed, with the category.
        condition: Whether the limits let it be asked, in words; "" without limits.
        is_closed: Whether they do not.
        is_known: Whether the coordinator could be asked for that.
    """

    alias: str
    kind: str
    model: str
    pause: Any
    has_row: bool
    answered: Any
    failed: Any
    condition: str
    is_closed: bool
    is_known: bool


def facts(alias: str) -> list[str]:
    """Return what somebody should know before reopening a provider."""
    found = next((each for each in limits_now() if each.alias == alias), None)
    if found is None:
        return [f"The provider {alias} has no limits, and is never closed."]
    text = "All workers ask it again at once, by one call at first and by more with each success."
    text += " What counts towards its limits goes on to count. If it fails again, it closes again."
    return [f"The provider {alias} is {condition_of(found)}.", text]


def rows() -> list[Row]:
    """Return each provider, those of stored pauses that are no longer configured last."""
    paused = paused_providers()
    limits = {each.alias: each for each in limits_now()}
    stored = set(ProviderPause.objects.values_list("pk", flat=True))
    answered: dict[str, Any] = {}
    failed: dict[str, Any] = {}
    columns = ("provider", "success", "attempts", "error_category", "created_at")
    latest = AIOperation.objects.order_by("-created_at").values_list(*columns)[:LATEST]
    for alias, success, attempts, category, at in latest:
        if success and attempts:  # neither the cache nor another call answered
            answered.setdefault(alias, at)
        elif not success:
            failed.setdefault(alias, (at, category))
    found = []
    for alias in [*providers, *sorted(stored - set(providers))]:
        spec = providers.spec(alias) if alias in providers else None
        gate = limits.get(alias)
        found.append(
            Row(
                alias=alias,
                kind="no longer configured" if spec is None else spec.path.rpartition(".")[2],
                model="" if spec is None else str(spec.options.get("model", "")),
                pause=paused.get(alias),
                has_row=alias in stored,
                answered=answered.get(alias),
                failed=failed.get(alias),
                condition="" if gate is None else condition_of(gate),
                is_closed=gate is not None and gate.is_closed,
                is_known=gate is None or gate.state is not None,
            )
        )
    return found
