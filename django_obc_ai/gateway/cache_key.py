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
from django.core.signals import setting_changed
from django.utils.encoding import force_bytes

from django_obc_ai.backends.providers import providers
from django_obc_ai.conf import AISettings, get_settings
from django_obc_ai.types import CallInfo, GenerationRequest

_SECRET_OPTIONS = frozenset({"api_key"})
#: By purpose: a digest's beginning.
_begun: dict[str, hmac.HMAC] = {}
#: By alias: the settings that a provider's part was made of, and the part. Any: it has no type.
_providers: dict[str, tuple[AISettings, Any]] = {}


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


def _key(purpose: str) -> bytes:
    # The same as that of django.utils.crypto.salted_hmac, which derives it at every call.
    secret = force_bytes(settings.SECRET_KEY)
    return hashlib.sha256(f"django_obc_ai.{purpose}".encode() + secret).digest()


def digest(purpose: str, value: Any) -> str:
    """Return a keyed SHA-256 of a value's canonical JSON, 64 hex digits."""
    begun = _begun.get(purpose)
    if begun is None:
        begun = _begun[purpose] = hmac.new(_key(purpose), digestmod="sha256")
    mac = begun.copy()
    mac.update(_sorted(value).encode())
    return mac.hexdigest()


def prompt_hash_of(request: GenerationRequest) -> str:
    """Return what tells equal prompts, and nothing else."""
    return digest("prompt", [request.system, request.render_prompt()])


def entry_of(request: GenerationRequest, info: CallInfo) -> UUID:
    """Return the name of a request's entry; it reveals nothing about the prompt.

    It is made of everything that shapes an answer: backend, options other than the key, model,
    system instruction, history, sources, prompt, its template's version, schema, sampling,
    scope, and the user where the answer holds for that user alone.
    """
    parsed, known = get_settings(), _providers.get(info.provider)
    if known is None or known[0] is not parsed:
        known = _providers[info.provider] = (parsed, _begin_entry(info.provider))
    named = known[1].copy()
    named.update(_written(request, info))
    return UUID(bytes=named.digest()[:16])


def _begin_entry(alias: str) -> Any:
    """Begin a hash with the secret and the provider.

    Only half of it becomes a name, so that nobody can go on from one, and it needs no second
    round as an HMAC does, which would take as long as the rest.
    """
    spec = providers.spec(alias)
    options = {name: v for name, v in spec.options.items() if name not in _SECRET_OPTIONS}
    part = _sorted([alias, spec.path, options]).encode()
    return hashlib.sha256(b"%b%d:%b" % (_key("cache"), len(part), part))


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "SECRET_KEY":
        _begun.clear()
        _providers.clear()


setting_changed.connect(_forget, dispatch_uid="django_obc_ai.gateway.cache_key")


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
        [*map(len, texts)],
    )
    return f"{counts!r}{''.join(texts)}".encode(errors="surrogatepass")
