"""Reading the whole of ``OBC_AI``; imported when the settings are first asked for."""

from __future__ import annotations

import datetime
import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from django.conf import settings

from django_obc_ai.conf.budgets import BudgetSettings, MoneySettings, parse_budgets, parse_money
from django_obc_ai.conf.cache import parse_cache
from django_obc_ai.conf.chat import parse_chat
from django_obc_ai.conf.coordination import DATABASE_COORDINATOR, default_coordinator
from django_obc_ai.conf.jobs import parse_jobs
from django_obc_ai.conf.log import parse_log
from django_obc_ai.conf.metrics import parse_metrics
from django_obc_ai.conf.traffic import parse_breaker, parse_fallbacks, parse_rate_limits
from django_obc_ai.conf.values import (
    as_mapping,
    as_money,
    as_positive,
    as_text,
    only_keys,
    suggest,
    wrong_type,
)
from django_obc_ai.conf.web import parse_web
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.types import BackendSpec, PriceRow
from django_obc_ai.types.chat import ChatSettings
from django_obc_ai.types.settings import (
    BreakerSettings,
    CacheSettings,
    JobSettings,
    LogSettings,
    MetricsSettings,
    RateLimitSettings,
    RetrySettings,
    WebSettings,
)

_BACKENDS = "django_obc_ai.backends"
#: What each family uses when its key is absent: no key, no service, no extra.
EMBEDDED_BACKENDS = {
    "PROVIDERS": f"{_BACKENDS}.providers.offline.OfflineProvider",
    "EMBEDDERS": f"{_BACKENDS}.embedders.hashing.HashingEmbedder",
    "VECTOR_STORES": f"{_BACKENDS}.vector_stores.numpy.NumpyVectorStore",
    "LEXICAL_STORES": f"{_BACKENDS}.lexical_stores.bm25.BM25LexicalStore",
    "COST_STORES": f"{_BACKENDS}.cost_stores.database.DatabaseCostStore",
    "COORDINATORS": DATABASE_COORDINATOR,
    "TASK_RUNNERS": f"{_BACKENDS}.task_runners.inline.InlineRunner",
}
_FAISS_STORE = f"{_BACKENDS}.vector_stores.faiss.FaissVectorStore"


@dataclass(frozen=True, slots=True, kw_only=True)
class AISettings:
    """``settings.OBC_AI``, parsed and completed with defaults."""

    providers: Mapping[str, BackendSpec]
    embedders: Mapping[str, BackendSpec]
    vector_stores: Mapping[str, BackendSpec]
    lexical_stores: Mapping[str, BackendSpec]
    rerankers: Mapping[str, BackendSpec]
    cost_stores: Mapping[str, BackendSpec]
    coordinators: Mapping[str, BackendSpec]
    task_runners: Mapping[str, BackendSpec]
    budgets: tuple[BudgetSettings, ...]
    money: MoneySettings
    cache: CacheSettings
    retry: RetrySettings
    rate_limits: Mapping[str, RateLimitSettings]
    fallbacks: Mapping[str, tuple[str, ...]]
    breaker: BreakerSettings
    jobs: JobSettings
    context: tuple[str, ...]
    scope: str | Callable[[Any], str] | None
    database: str
    prices: tuple[PriceRow, ...]
    log: LogSettings
    chat: ChatSettings
    metrics: MetricsSettings
    web: WebSettings

    def backends(self, key: str) -> Mapping[str, BackendSpec]:
        """Return the specifications of a family by its settings key."""
        specs: Mapping[str, BackendSpec] = getattr(self, key.lower())
        return specs


def _specs(value: Any, where: str) -> dict[str, BackendSpec]:
    specs = {}
    for alias, entry in as_mapping(value, where).items():
        at = f"{where}[{alias!r}]"
        entry = as_mapping(entry, at)
        only_keys(entry, ("BACKEND", "OPTIONS"), at)
        if "BACKEND" not in entry:
            raise ConfigurationError(
                f"{at} has no 'BACKEND'.", hint="Give the dotted path of the backend class."
            )
        options = as_mapping(entry.get("OPTIONS", {}), f"{at}['OPTIONS']")
        specs[alias] = BackendSpec(
            path=as_text(entry["BACKEND"], f"{at}['BACKEND']"), options=options
        )
    return specs


def _family(value: Any, where: str) -> dict[str, BackendSpec]:
    specs = _specs(value, where)
    if "default" not in specs:
        raise ConfigurationError(f"{where} has no 'default'.", hint="Name one entry 'default'.")
    return specs


def _retry(value: Any, where: str) -> RetrySettings:
    entry = as_mapping(value, where)
    only_keys(entry, ("attempts", "deadline_seconds"), where)
    attempts = entry.get("attempts", 3)
    deadline = entry.get("deadline_seconds", 60)
    as_positive(attempts, f"{where}['attempts']", int, "a whole number above 0")
    as_positive(deadline, f"{where}['deadline_seconds']", (int, float), "seconds above 0")
    return RetrySettings(attempts=attempts, deadline_seconds=float(deadline))


def _context(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise wrong_type(where, value, "a list of dotted paths")
    return tuple(as_text(path, f"{where}[{number}]") for number, path in enumerate(value))


def _scope(value: Any, where: str) -> str | Callable[[Any], str] | None:
    if value is None:
        return None
    if callable(value):
        scope: Callable[[Any], str] = value
        return scope
    return as_text(value, where)


_LONG = ("long_prompt_tokens", "long_input_usd", "long_output_usd")
_PRICE_NAMES = tuple(f.name for f in fields(PriceRow) if f.name.endswith("_usd"))


def _prices(value: Any, where: str) -> tuple[PriceRow, ...]:
    return tuple(
        _price(model, entry, f"{where}[{model!r}]" + (f"[{number}]" if listed is entries else ""))
        for model, entries in as_mapping(value, where).items()
        for listed in [entries if isinstance(entries, (list, tuple)) else [entries]]
        for number, entry in enumerate(listed)
    )


def _price(model: str, value: Any, at: str) -> PriceRow:
    entry = as_mapping(value, at)
    only_keys(entry, (*_PRICE_NAMES, "long_prompt_tokens", "batch_share", "effective_from"), at)
    # Any: fields of several types.
    found: dict[str, Any] = {
        name: as_money(each, f"{at}[{name!r}]")
        for name, each in entry.items()
        if name in (*_PRICE_NAMES, "batch_share")
    }
    if found.get("batch_share", 0) > 1:
        hint = 'Give a share such as "0.5".'
        raise ConfigurationError(f"{at}['batch_share'] is above 1.", hint=hint)
    if "long_prompt_tokens" in entry:
        where, tokens = f"{at}['long_prompt_tokens']", entry["long_prompt_tokens"]
        found["long_prompt_tokens"] = as_positive(tokens, where, int, "a whole number above 0")
    start = _date(entry.get("effective_from"), f"{at}['effective_from']")
    is_long = any(name.startswith("long_") for name in entry)
    for name in ("input_usd", "output_usd", *(_LONG if is_long else ())):
        if name not in entry:
            hint = "Give dollars per million tokens."
            raise ConfigurationError(f"{at} has no {name!r}.", hint=hint)
    return PriceRow(model=model.removeprefix("models/"), effective_from=start, **found)


def _date(value: Any, where: str) -> datetime.date | None:
    if isinstance(value, str):
        try:
            return datetime.date.fromisoformat(value)
        except ValueError:
            hint = 'Write it "YYYY-MM-DD".'
            raise ConfigurationError(f"{where} is not a date.", hint=hint) from None
    if value is not None and type(value) is not datetime.date:
        raise wrong_type(where, value, 'a date or "YYYY-MM-DD"')
    return value


def _default_vectors(_: Mapping[str, Any]) -> dict[str, Any]:
    """Return FAISS where it is installed and may keep files below BASE_DIR, else numpy."""
    if importlib.util.find_spec("faiss") is not None and _own_folder("vectors") is not None:
        return {"default": {"BACKEND": _FAISS_STORE}}
    return {"default": {"BACKEND": EMBEDDED_BACKENDS["VECTOR_STORES"]}}


def _default_words(_: Mapping[str, Any]) -> dict[str, Any]:
    """Return BM25 with a path where it may keep files below BASE_DIR, else in memory."""
    folder = _own_folder("words")
    options = {} if folder is None else {"path": str(folder)}
    return {"default": {"BACKEND": EMBEDDED_BACKENDS["LEXICAL_STORES"], "OPTIONS": options}}


def _own_folder(name: str) -> Path | None:
    """Return a folder below ``BASE_DIR / "var"``, if files can be written there."""
    base = getattr(settings, "BASE_DIR", None)
    if not base:
        return None
    folder = Path(base) / "var" / name
    existing = next((each for each in (folder, *folder.parents) if each.exists()), None)
    if existing is None or not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return None
    return folder


#: How each key is read, and its default, or what makes it of the keys that were read before.
_PARSERS: dict[str, tuple[Callable[[Any, str], Any], Any]] = {
    **{key: (_family, {"default": {"BACKEND": path}}) for key, path in EMBEDDED_BACKENDS.items()},
    "VECTOR_STORES": (_family, _default_vectors),
    "LEXICAL_STORES": (_family, _default_words),
    "COORDINATORS": (_family, default_coordinator),
    "RERANKERS": (_specs, {}),
    "BUDGETS": (parse_budgets, ()),
    "MONEY": (parse_money, {}),
    "CACHE": (parse_cache, {}),
    "RETRY": (_retry, {}),
    "RATE_LIMITS": (parse_rate_limits, {}),
    "FALLBACKS": (parse_fallbacks, {}),
    "BREAKER": (parse_breaker, {}),
    "JOBS": (parse_jobs, {}),
    "CONTEXT": (_context, ()),
    "SCOPE": (_scope, None),
    "DATABASE": (as_text, "default"),
    "PRICES": (_prices, {}),
    "LOG": (parse_log, {}),
    "CHAT": (parse_chat, {}),
    "METRICS": (parse_metrics, {}),
    "WEB": (parse_web, {}),
}
#: Every key that ``OBC_AI`` may hold.
KEYS = tuple(_PARSERS)


def parse() -> tuple[dict[str, Any], list[ConfigurationError]]:
    """Return the values of the keys of ``OBC_AI`` that are right, and what is wrong in others."""
    try:
        raw = as_mapping(getattr(settings, "OBC_AI", {}), "OBC_AI")
    except ConfigurationError as error:
        return {}, [error]
    errors = [
        ConfigurationError(
            f"OBC_AI has the unknown key {key!r}.", hint=suggest(key, KEYS), check_id="E001"
        )
        for key in raw
        if key not in KEYS
    ]
    values: dict[str, Any] = {}
    for key, (parse, default) in _PARSERS.items():
        try:
            given = raw[key] if key in raw else default(values) if callable(default) else default
            values[key.lower()] = parse(given, f"OBC_AI[{key!r}]")
        except ConfigurationError as error:
            errors.append(error)
    return values, errors
