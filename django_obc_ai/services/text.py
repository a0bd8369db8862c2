"""Text generation: `TextService`, under the original's name `GeminiService`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from django.db import models
from django.utils.module_loading import import_string

from django_obc_ai.backends.providers import providers
from django_obc_ai.conf import get_settings, suggest
from django_obc_ai.contexts import get_contexts
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.gateway import tags
from django_obc_ai.gateway.book import CallBook
from django_obc_ai.gateway.call import acall, call
from django_obc_ai.services.cache import TagVersions, read_tags
from django_obc_ai.services.jobs import Submitting
from django_obc_ai.services.results import (
    AsyncTextStream,
    Call,
    TextStream,
    result_of,
    unconfigured,
)
from django_obc_ai.types import CallInfo, GenerationRequest, GenerationResult, Message, Source
from django_obc_ai.types.ids import new_id

_LENGTHS = (
    ("operation_type", 50), ("module", 50), ("scope", 100), ("model", 100), ("prompt_version", 100),
)  # fmt: skip


class TextService(Submitting):
    """Generate text with a configured provider; cheap to build, safe to share."""

    _lends_connections: ClassVar[bool] = False

    def __init__(self, provider: str = "default", *, model: str | None = None) -> None:
        """Choose the provider.

        Args:
            provider: Alias in ``OBC_AI["PROVIDERS"]``.
            model: Asked for in place of the provider's own model.
        """
        self.provider = provider
        self.model = model or ""

    def generate_text(
        self,
        prompt: str,
        *,
        user: Any = None,
        scope: str = "",
        cache_tags: Iterable[str | models.Model] | TagVersions = (),
        system_context: str | None = None,
        operation_type: str = "other",
        module: str = "general",
        content_type: str = "analysis",
        use_cache: bool = True,
        cache_ttl: int | None = None,
        include_context: bool = True,
        varies_by_user: bool = False,
        prompt_version: str = "",
        response_schema: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> GenerationResult:
        """Answer a prompt; every call leaves one `AIOperation`.

        Failures do not raise: look at ``success`` or call ``raise_for_error()``. Only
        mistakes in the arguments raise.

        Args:
            prompt: The question or instruction.
            user: Who is charged; None and AnonymousUser leave the call unattributed.
            scope: Tenant key; "" asks ``OBC_AI["SCOPE"]``. Answers are never shared
                between scopes.
            cache_tags: Names that `invalidate` can drop the answer by, and rows whose changes
                drop it; or, for data that may change meanwhile, what `read_tags` returned
                before reading it.
            system_context: System instruction, after the configured contexts.
            operation_type: Any short text; see ``types.OPERATION_TYPES``.
            module: Any short text; see ``types.MODULES``.
            content_type: Selects the time to live in ``OBC_AI["CACHE"]["ttl_seconds"]``.
            use_cache: False neither reads nor stores.
            cache_ttl: Seconds in place of the content type's; 0 does not store.
            include_context: False leaves the configured contexts out.
            varies_by_user: Whether a cached answer may serve this user alone; without a user
                nothing is cached then.
            prompt_version: Version of the template that the prompt was made with; part of
                the cache key, and stored with the operation.
            response_schema: JSON Schema of the answer, which ``result.data`` then holds.
            **options: ``sources`` (sequence of `Source`), ``history`` (sequence of
                `Message`), ``max_output_tokens``, ``temperature``, and what the provider
                lists in ``generation_options``.

        Raises:
            TypeError: An option is unknown or of a wrong type.
            ValueError: An argument is out of its range.
        """
        try:
            prepared = self._prepare(
                prompt,
                user=user,
                scope=scope,
                cache_tags=cache_tags,
                system_context=system_context,
                operation_type=operation_type,
                module=module,
                content_type=content_type,
                use_cache=use_cache,
                cache_ttl=cache_ttl,
                include_context=include_context,
                varies_by_user=varies_by_user,
                prompt_version=prompt_version,
                response_schema=response_schema,
                **options,
            )
            request, info = self._in_line(prepared)
        except ConfigurationError as error:
            return unconfigured(error)
        return self._queued(result_of(call(request, info), request, info), request, info)

    async def agenerate_text(self, prompt: str, **arguments: Any) -> GenerationResult:
        """See generate_text()."""
        prepared: list[Call] = []

        def prepare() -> CallBook:
            prepared.append(self._in_line(self._prepare(prompt, **arguments)))
            return CallBook(*prepared[0])

        try:
            outcome = await acall(prepare)
        except ConfigurationError as error:
            return unconfigured(error)
        ((request, info),) = prepared
        return await self._aqueued(result_of(outcome, request, info), request, info)

    def stream_text(self, prompt: str, **arguments: Any) -> TextStream:
        """Answer a prompt in pieces of text; see generate_text() for the arguments.

        Iterating raises the typed error of a call that fails. Failures before the first
        piece are retried, later ones are not.
        """
        return TextStream(self._prepare(prompt, **arguments))

    def astream_text(self, prompt: str, **arguments: Any) -> AsyncTextStream:
        """See stream_text()."""
        return AsyncTextStream(lambda: self._prepare(prompt, **arguments))

    def count_tokens(self, prompt: str, **arguments: Any) -> int:
        """Return the tokens of a prompt as the provider counts them.

        Raises:
            ProviderError: The provider could not be asked.
            ConfigurationError: The provider is misconfigured.
        """
        request, _ = self._prepare(prompt, **arguments)
        return providers[self.provider].count_tokens(request)

    def _prepare(
        self,
        prompt: str,
        *,
        user: Any = None,
        scope: str = "",
        cache_tags: Iterable[str | models.Model] | TagVersions = (),
        system_context: str | None = None,
        operation_type: str = "other",
        module: str = "general",
        content_type: str = "analysis",
        use_cache: bool = True,
        cache_ttl: int | None = None,
        include_context: bool = True,
        varies_by_user: bool = False,
        prompt_version: str = "",
        response_schema: Mapping[str, Any] | None = None,
        sources: Sequence[Source] = (),
        history: Sequence[Message] = (),
        max_output_tokens: int | None = None,
        temperature: float | None = None,
        **options: Any,
    ) -> Call:
        """Turn the arguments of a public method into a request and its call info."""
        contexts = get_contexts() if include_context else ()
        if user is not None and not hasattr(user, "pk"):
            raise TypeError(f"user is of type {type(user).__name__}; give a user or None.")
        self._check(prompt, content_type, cache_ttl, max_output_tokens, options)
        if isinstance(cache_tags, (str, models.Model)):
            kind = type(cache_tags).__name__
            raise TypeError(f"cache_tags is a {kind}; give a list of names or rows.")
        seen = cache_tags if isinstance(cache_tags, TagVersions) else read_tags(*cache_tags)
        if seen and tags.is_uncertain(name for name, _ in seen):
            use_cache = False
        scope = scope or scope_of(user)
        names = (operation_type, module, scope, self.model, prompt_version)
        for value, (name, most) in zip(names, _LENGTHS, strict=True):
            if len(value) > most:
                raise ValueError(f"{name} has {len(value)} characters; {most} fit.")
        texts = []
        for context in contexts:
            texts.append(context.render(user=user, operation_type=operation_type, module=module))
            varies_by_user = varies_by_user or context.varies_by_user
        request = GenerationRequest(
            prompt=prompt,
            model=self.model,
            system="\n\n".join(filter(None, [*texts, system_context])),
            history=tuple(history),
            sources=tuple(sources),
            response_schema=response_schema,
            max_output_tokens=max_output_tokens,
            temperature=temperature,
            options=options,
            prompt_version=prompt_version,
        )
        info = CallInfo(
            operation_id=new_id(),
            provider=self.provider,
            operation_type=operation_type,
            module=module,
            content_type=content_type,
            user_id=getattr(user, "pk", None),  # AnonymousUser has none
            scope=scope,
            use_cache=use_cache,
            cache_ttl_seconds=cache_ttl,
            cache_tags=seen,
            varies_by_user=varies_by_user,
            lends_connections=self._lends_connections,
        )
        return request, info

    def _check(
        self,
        prompt: object,
        content_type: str,
        cache_ttl: int | None,
        max_output_tokens: int | None,
        options: Mapping[str, Any],
    ) -> None:
        if not isinstance(prompt, str):
            raise TypeError(f"prompt is of type {type(prompt).__name__}, not text.")
        known = get_settings().cache.ttl_seconds
        if cache_ttl is None and content_type not in known:
            raise ValueError(
                f"content_type {content_type!r} has no entry in"
                f" OBC_AI['CACHE']['ttl_seconds']. {suggest(content_type, known)}"
            )
        if cache_ttl is not None and cache_ttl < 0:
            raise ValueError("cache_ttl is negative; give seconds, or 0 to store nothing.")
        if max_output_tokens is not None and max_output_tokens < 1:
            raise ValueError("max_output_tokens is below 1.")
        if not options:
            return
        valid = providers[self.provider].generation_options
        for name in options:
            if name not in valid:
                names = [*valid, "sources", "history", "max_output_tokens", "temperature"]
                raise TypeError(f"Unknown option {name!r}. {suggest(name, names)}")


def ask_once(provider: str, prompt: str, **arguments: Any) -> GenerationResult:
    """Answer a prompt with one request at most, whatever ``OBC_AI["RETRY"]`` allows.

    See `TextService.generate_text` for the arguments.

    Raises:
        ConfigurationError: ``OBC_AI`` itself is broken.
    """
    request, info = TextService(provider)._prepare(prompt, **arguments)
    info = replace(info, may_retry=False)
    return result_of(call(request, info), request, info)


#: The original's name of the same class.
GeminiService = TextService


def scope_of(user: Any) -> str:
    """Return the tenant key that ``OBC_AI["SCOPE"]`` gives a user; "" without that setting.

    People who did not log in have ``OBC_AI["WEB"]["anonymous_scope"]``, if that is set.

    Raises:
        ConfigurationError: It names nothing that can be asked, or returned no text.
    """
    settings = get_settings()
    if settings.web.anonymous_scope is not None and getattr(user, "is_anonymous", False):
        return settings.web.anonymous_scope
    scope = settings.scope
    if scope is None:
        return ""
    if isinstance(scope, str):
        try:
            scope = import_string(scope)
        except ImportError as error:
            raise ConfigurationError(
                f"OBC_AI['SCOPE'] cannot be imported: {error}.",
                hint="Give the dotted path of a function that takes a user and returns text.",
                check_id="E003",
            ) from error
    if not callable(scope):
        raise ConfigurationError(
            f"OBC_AI['SCOPE'] names {type(scope).__name__}, which cannot be called.",
            hint="Give the dotted path of a function that takes a user and returns text.",
        )
    found = scope(user)
    if not isinstance(found, str):
        raise ConfigurationError(
            f"OBC_AI['SCOPE'] returned {type(found).__name__}, not text.",
            hint="Return the tenant's key as text, or '' for none.",
        )
    return found
