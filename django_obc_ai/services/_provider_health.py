"""The part of the health check that looks at backends, and asks providers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from django.utils import timezone

from django_obc_ai.backends.base import BaseBackend
from django_obc_ai.backends.handler import BackendHandler
from django_obc_ai.backends.providers import BaseProvider, providers
from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import ConfigurationError, ProviderError
from django_obc_ai.gateway import spool
from django_obc_ai.gateway.prices import bounding_price, find_price, members_of
from django_obc_ai.models import AIOperation

Status = Literal["ok", "warning", "error", "unknown"]
_LIVE_TOKENS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthItem:
    """The state of one part.

    Attributes:
        name: For example "provider default".
        status: "error" means broken, "unknown" that it could not be asked.
        message: What was found; never a key, a path of options or a prompt.
        hint: What to do, "" if nothing.
        detail: Class path and versions, for ``--verbose``.
    """

    name: str
    status: Status
    message: str
    hint: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """All parts, in the order they were looked at."""

    items: tuple[HealthItem, ...]

    @property
    def exit_code(self) -> int:
        """Return 0 if healthy, 1 if something is broken, 2 if something could not be told."""
        statuses = {item.status for item in self.items}
        return 1 if "error" in statuses else 2 if "unknown" in statuses else 0


def describe(name: str, backend: BaseBackend, where: str) -> HealthItem:
    """Return what a backend says of itself, or the worst of what it finds wrong."""
    for message in sorted(backend.check(where), key=lambda each: -each.level):
        status: Status = "error" if message.is_serious() else "warning"
        return HealthItem(name=name, status=status, message=message.msg, hint=message.hint or "")
    text = type(backend).__name__
    model = getattr(backend, "model", "")
    text += f", model {model}" if model else ""
    text += ", offline: no language model is asked" if getattr(backend, "is_offline", False) else ""
    text += ", lexical: matches spelling" if getattr(backend, "is_lexical", False) else ""
    detail = f"{type(backend).__module__}.{type(backend).__qualname__}"
    detail += f", {version}" if (version := backend.sdk_version()) else ""
    item = HealthItem(name=name, status="ok", message=f"{text}.", detail=detail)
    if backend.deprecation:
        return replace(item, status="warning", hint=backend.deprecation)
    return item


def check_backend(label: str, handler: BackendHandler[Any], alias: str) -> HealthItem:
    """Look at a backend of any family.

    Raises:
        ConfigurationError: It cannot be built.
    """
    return describe(f"{label} {alias}", handler[alias], handler.where(alias))


def check_provider(alias: str, may_ping: bool) -> HealthItem:
    """Look at a provider and its key, and ask it where that is free of charge.

    Raises:
        ConfigurationError: It cannot be built, or has no key.
    """
    provider = providers[alias]
    where = providers.where(alias)
    item = describe(f"provider {alias}", provider, where)
    key = providers.spec(alias).options.get("api_key")
    if provider.requires_api_key and not key:
        raise ConfigurationError(
            f"{where} has no API key.", hint="Set OPTIONS['api_key'] from the environment."
        )
    if item.status == "error":
        return item
    asked = ""
    if may_ping:
        try:
            asked = f" {provider.ping_meaning}" if provider.ping() else ""
        except ProviderError as error:
            status: Status = "unknown" if error.retryable else "error"
            return replace(item, status=status, message=str(error), hint=_hint_of(provider, key))
    fault = _fault_of(provider, key)
    if fault:
        return replace(item, status="warning", message=f"The API key of {where} {fault}.")
    return replace(item, message=item.message + asked)


def _fault_of(provider: BaseProvider, key: object) -> str:
    if not provider.requires_api_key:
        return ""
    return provider.find_key_fault(key) if isinstance(key, str) else "is no text"


def _hint_of(provider: BaseProvider, key: object) -> str:
    fault = _fault_of(provider, key)
    return f"The API key {fault}." if fault else ""


def check_price(alias: str) -> HealthItem:
    """Say what a provider's model costs today."""
    name, model, now = f"price {alias}", providers[alias].model, timezone.now()
    hint = f"Give its prices in OBC_AI['PRICES'][{model!r}]."
    if bounding_price(model, now) is None:
        message = f"The model {model!r} has no price: its costs are not known."
        is_refused = any(budget.enforce for budget in get_settings().budgets)
        message += " The enforced budgets refuse its calls." if is_refused else ""
        status: Status = "error" if is_refused else "warning"
        return HealthItem(name=name, status=status, message=message, hint=hint)
    price = find_price(model, now)
    if price is None:
        message = f"The model {model!r} is an alias; what answers, and its price, may change."
        hint = f"Name one of: {', '.join(members_of(model))}."
        return HealthItem(name=name, status="warning", message=message, hint=hint)
    message = f"{model}: ${price.input_usd:f} in and ${price.output_usd:f} out per million tokens."
    detail = f"{price.source}, checked on {price.checked_on}" if price.source else ""
    return HealthItem(name=name, status="ok", message=message, detail=detail)


def check_spool() -> HealthItem:
    """Say whether operations wait on disk, and whether they could."""
    name, folder = "spool", spool.get_folder()
    hint = "Run: manage.py ai_drain_spool"
    if folder is None:
        message = "There is none: an operation that the database cannot take is only logged."
        hint = "Give OBC_AI['LOG']['spool'] a folder."
        return HealthItem(name=name, status="warning", message=message, hint=hint)
    if fault := spool.find_fault(folder):
        message = f"Operations cannot wait on disk: {fault}."
        return HealthItem(name=name, status="error", message=message)
    if aside := spool.count_set_aside():
        message = f"{aside} operations were set aside: broken, or refused by the database."
        hint = f"Look at {folder} and at the log of django_obc_ai.ledger."
        return HealthItem(name=name, status="error", message=message, hint=hint)
    own, every = (len(spool.find(alias)) for alias in (get_settings().database, None))
    if not every:
        return HealthItem(name=name, status="ok", message="Nothing waits for the database.")
    message = f"{own} operations wait for the database."
    if every > own:
        message += f" {every - own} wait for another one."
        hint += " (with --all if the database only changed its name or host)"
    return HealthItem(name=name, status="warning", message=message, hint=hint)


def call_live(alias: str) -> HealthItem:
    """Make one smallest possible call of one request, and say what it cost."""
    from django_obc_ai.services.text import ask_once

    result = ask_once(
        alias,
        "Say OK.",
        operation_type="health_check",
        use_cache=False,
        include_context=False,
        max_output_tokens=_LIVE_TOKENS,
    )
    usage = result.usage
    # A model that thinks may spend the few tokens on that: the call worked all the same.
    is_thought_only = result.error == "bad_response" and usage.thinking_tokens > 0
    if not (result.success or is_thought_only):
        return HealthItem(name="live call", status="error", message=result.error_message)
    what = "offline answer" if result.is_offline else "answer" if result.success else "thoughts"
    message = (
        f"{what} from {result.model} in {result.response_time:.2f} s:"
        f" {usage.input_tokens} tokens in, {usage.output_tokens} out,"
        f" {usage.thinking_tokens} thinking, ${result.cost.normalize():f}."
    )
    unknown = AIOperation.objects.using(get_settings().database).filter(cost_known=False)
    if unknown.filter(pk=str(result.operation_id)).exists():
        hint = f"The cost is not known. Give prices in OBC_AI['PRICES'][{result.model!r}]."
        return HealthItem(name="live call", status="warning", message=message, hint=hint)
    return HealthItem(name="live call", status="ok", message=message)
