"""Keyed digests: of what shapes an answer, of prompts, of names.

A hit costs little more than its key, so what does not change from call to call is done once: the
keys of the digests, and the part of a provider, whose backend and options are those of settings.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils.encoding import force_bytes

from django_obc_ai.backends.providers import providers
from django_obc_ai.conf import AISettings, get_settings
from django_obc_ai.types import CallInfo, GenerationRequest

_SECRET_OPTIONS = frozenset({"api_key"})
#: By purpose: the SECRET_KEY that a digest was begun with, and its beginning.
_begun: dict[str, tuple[str | bytes, hmac.HMAC]] = {}
#: By alias: the settings and the SECRET_KEY that a provider's part was made of, and the part.
_providers: dict[str, tuple[AISettings, str | bytes, hmac.HMAC]] = {}


def _plain(value: Any) -> Any:
    """Return dataclasses and mappings as what json can write."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    return repr(value)


_sorted = json.JSONEncoder(default=_plain, sort_keys=True, separators=(",", ":")).encode
#: In the order given: that of a schema's properties is the order that a model writes them in.
_in_order = json.JSONEncoder(default=_plain, separators=(",", ":")).encode


def _begin(purpose: str) -> hmac.HMAC:
    secret: str | bytes = settings.SECRET_KEY
    found = _begun.get(purpose)
    if found is None or found[0] != secret:
        # The same key as django.utils.crypto.salted_hmac, which derives it at every call.
        key = hashlib.sha256(f"django_obc_ai.{purpose}".encode() + force_bytes(secret)).digest()
        found = _begun[purpose] = (secret, hmac.new(key, digestmod="sha256"))
    return found[1].copy()


def digest(purpose: str, value: Any) -> str:
    """Return a keyed SHA-256 of a value's canonical JSON, 64 hex digits."""
    mac = _begin(purpose)
    mac.update(_sorted(value).encode())
    return mac.hexdigest()


def entry_of(request: GenerationRequest, info: CallInfo) -> UUID:
    """Return the name of a request's entry; it reveals nothing about the prompt.

    It is made of everything that shapes an answer: backend, options other than the key, model,
    system instruction, history, sources, prompt, its template's version, schema, sampling,
    scope, and the user where the answer holds for that user alone.
    """
    mac = _begin_with_provider(info.provider)
    mac.update(_written(request, info))
    return UUID(bytes=mac.digest()[:16])


def _begin_with_provider(alias: str) -> hmac.HMAC:
    parsed, secret = get_settings(), settings.SECRET_KEY
    found = _providers.get(alias)
    if found is None or found[0] is not parsed or found[1] != secret:
        spec = providers.spec(alias)
        options = {name: v for name, v in spec.options.items() if name not in _SECRET_OPTIONS}
        mac = _begin("cache")
        mac.update(_sorted([alias, spec.path, options]).encode())
        found = _providers[alias] = (parsed, secret, mac)
    return found[2].copy()


def _written(request: GenerationRequest, info: CallInfo) -> bytes:
    """Return a request as bytes that no other request has.

    Each text stands behind its length, so that none can end early and pass for two. This is ten
    times as fast as JSON, which escapes them. tests/gateway/test_cache_key_properties.py
    changes every field there is: a new one that is left out here fails it.
    """
    texts = [request.prompt, request.model, request.system, request.prompt_version, info.scope]
    for message in request.history:
        texts += (message.role, message.text)
    for source in request.sources:
        texts += (source.title, source.text)
    if request.options:
        texts.append(_in_order(sorted(request.options.items())))
    if request.response_schema is not None:
        texts.append(_in_order(request.response_schema))
    counts = (
        len(request.history),
        len(request.sources),
        len(request.options),
        request.response_schema is not None,
        request.max_output_tokens,
        request.temperature,
        info.user_id if info.varies_by_user else None,
        info.varies_by_user,
        [len(text) for text in texts],
    )
    return f"{counts!r}{''.join(texts)}".encode(errors="surrogatepass")
