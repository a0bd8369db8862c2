"""A provider without a language model: it quotes the sources it was given.

It needs no key, no network and no package, so an installation answers from the first
minute and tests cost nothing. It never pretends: each answer says that it is made of
quotations and that no language model was used. The history of a conversation, the
system instruction and the temperature do not change what it quotes.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

from django_obc_ai.backends.providers import _offline_text as reading
from django_obc_ai.backends.providers._json_schema import Json, SchemaError
from django_obc_ai.backends.providers._offline_schema import fill_schema
from django_obc_ai.backends.providers.base import DEFAULT_MAX_OUTPUT_TOKENS, BaseProvider
from django_obc_ai.exceptions import InvalidRequestError
from django_obc_ai.types import (
    GenerationRequest,
    ProviderResponse,
    StreamChunk,
    Usage,
)

LABEL = "Offline answer: quoted word for word from the given sources, no language model was used."
HOW_TO_CONFIGURE = (
    "For written answers, set OBC_AI['PROVIDERS']['default'] to a provider with a language model."
)
_MAX_LISTED = 12
_MAX_MISSING = 5
_MAX_OPENINGS = 3
#: Words missing from the sources are named for questions, not for long instructions.
_MAX_WANTED = 30
#: A passage is quoted if it scores at least this share of the best one.
_SENTENCE_SHARE = 0.5
_LISTING_SHARE = 0.75
_PUNCTUATION = ".,;:!?¿¡()[]{}<>\"'“”‘’«»"  # noqa: RUF001 - curly quotes


class OfflineProvider(BaseProvider):
    """Answers with the sentences of the request's sources that fit the prompt best.

    Sentences are ranked by the words they share with the prompt (see `_offline_text`),
    quoted verbatim with their source's number in square brackets, in source order. With a
    ``response_schema`` it fills the schema with values found in the sources or the
    prompt, or with neutral ones. The same request always gets the same answer.
    """

    is_free = True
    is_offline = True
    telemetry_name = "obc_ai.offline"
    supports_schema = True
    supports_streaming = True

    def __init__(
        self,
        *,
        model: str = "offline-extractive",
        max_output_tokens: int = DEFAULT_MAX_OUTPUT_TOKENS,
        max_sentences: int = 3,
    ) -> None:
        """Set what the answers are bounded by.

        Args:
            model: Name reported as the model that answered.
            max_output_tokens: Upper bound of an answer, in tokens as counted here.
            max_sentences: Sentences quoted for a plain question, at least 1. A question
                for a list quotes up to twelve sources.

        Raises:
            ValueError: A number is below 1.
        """
        for name, value in (
            ("max_output_tokens", max_output_tokens),
            ("max_sentences", max_sentences),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1")
        self.model = model
        self.max_output_tokens = max_output_tokens
        self.max_sentences = max_sentences

    def generate(self, request: GenerationRequest) -> ProviderResponse:
        """Quote the sources, or fill the schema.

        Raises:
            InvalidRequestError: The prompt is empty, ``max_output_tokens`` is below 1, or
                the schema cannot be filled, within that bound or at all.
        """
        if not request.prompt.strip():
            raise InvalidRequestError("The prompt is empty.")
        bound = self.bound_output_tokens(request)
        if bound < 1:
            raise InvalidRequestError("max_output_tokens must be at least 1.")
        if request.response_schema is None:
            text, is_cut = reading.cut_tokens(self._write(request), bound)
        else:
            text, is_cut = _fill(request, request.response_schema, bound), False
        return ProviderResponse(
            text=text,
            finish_reason="length" if is_cut else "stop",
            usage=Usage(
                input_tokens=self.count_tokens(request),
                output_tokens=reading.count_tokens(text),
            ),
            model=request.model or self.model,
        )

    def stream(self, request: GenerationRequest) -> Iterator[StreamChunk]:
        """Yield the answer word by word; see generate() for errors."""
        yield from _split_chunks(self.generate(request))

    async def astream(self, request: GenerationRequest) -> AsyncIterator[StreamChunk]:
        """See stream(). One thread hop for the answer, none for its words."""
        for chunk in _split_chunks(await self.agenerate(request)):
            yield chunk

    def count_tokens(self, request: GenerationRequest) -> int:
        """Return the prompt's tokens, at least 1.

        A run of letters, digits and underscores is one token, and so is every other
        character that is not white space.
        """
        return reading.count_request_tokens(request)

    def _write(self, request: GenerationRequest) -> str:
        passages = reading.split_passages(request.sources)
        if not passages:
            return (
                "Offline answer: no language model was used, and the request came without"
                f" sources to quote from. {HOW_TO_CONFIGURE}"
            )
        wanted = reading.read_terms(request.prompt)
        if not wanted:
            head = "The question names nothing to look for; the sources begin:"
            openings = _first_of_each_source(passages)[:_MAX_OPENINGS]
            return "\n".join([LABEL, "", head, *_quote(openings)])
        ranked = reading.rank(wanted, passages)
        given = len(request.sources)
        if not ranked:
            which = "the given source" if given == 1 else f"any of the {given} given sources"
            return (
                "Offline answer: no language model was used, and no word of the question was"
                f" found in {which}, so there is nothing to quote. {HOW_TO_CONFIGURE}"
            )
        lines = [LABEL, ""]
        if given > 1 and reading.is_listing(request.prompt):
            least = ranked[0].score * _LISTING_SHARE
            matching = _first_of_each_source(e.passage for e in ranked if e.score >= least)
            chosen = matching[: max(self.max_sentences, _MAX_LISTED)]
            lines.append(
                _write_listing_head(
                    _count_sources(matching), shown=_count_sources(chosen), given=given
                )
            )
        else:
            least = ranked[0].score * _SENTENCE_SHARE
            matching = _merge(e.passage for e in ranked if e.score >= least)
            chosen = matching[: self.max_sentences]
        lines += _quote(chosen)
        if len(wanted) <= _MAX_WANTED and (missing := _find_missing(request.prompt, passages)):
            lines.append(f"Not found in the sources: {', '.join(missing)}.")
        return "\n".join(lines)


def _fill(request: GenerationRequest, schema: Mapping[str, Json], bound: int) -> str:
    """Return JSON text that satisfies the schema, as rich as the bound allows."""
    reason = ""
    for is_minimal in (False, True):
        try:
            value = fill_schema(
                schema, prompt=request.prompt, sources=request.sources, is_minimal=is_minimal
            )
        except SchemaError as error:
            reason = f"The offline provider cannot fill the response schema: {error}."
            continue
        text = json.dumps(value, ensure_ascii=False)
        needed = reading.count_tokens(text)
        if needed <= bound:
            return text
        reason = (
            f"The smallest answer in the response schema takes {needed} tokens and"
            f" max_output_tokens allows {bound}."
        )
    raise InvalidRequestError(reason)


class _Quotation:
    """A passage with the numbers of all sources that hold it word for word."""

    def __init__(self, passage: reading.Passage) -> None:
        self.passage = passage
        self.numbers = {passage.number}

    def render(self) -> str:
        title, text = self.passage.title, self.passage.text
        is_named = self.passage.title_terms <= self.passage.terms or len(self.numbers) > 1
        marks = "".join(f"[{number}]" for number in sorted(self.numbers))
        return f"- {text} {marks}" if is_named else f"- {title}: {text} {marks}"


def _merge(passages: Iterable[reading.Passage]) -> list[_Quotation]:
    """Return one quotation for each different text, in the given order."""
    found: dict[str, _Quotation] = {}
    for passage in passages:
        found.setdefault(passage.text, _Quotation(passage)).numbers.add(passage.number)
    return list(found.values())


def _first_of_each_source(passages: Iterable[reading.Passage]) -> list[_Quotation]:
    first: dict[int, reading.Passage] = {}
    for passage in passages:
        first.setdefault(passage.number, passage)
    return _merge(first.values())


def _quote(quotations: Iterable[_Quotation]) -> list[str]:
    """Return one line for each quotation, in the order of the sources."""
    ordered = sorted(quotations, key=lambda each: (min(each.numbers), each.passage.position))
    return [each.render() for each in ordered]


def _count_sources(quotations: Iterable[_Quotation]) -> int:
    return sum(len(each.numbers) for each in quotations)


def _write_listing_head(matching: int, *, shown: int, given: int) -> str:
    verb = "fits" if matching == 1 else "fit"
    rest = f"; here are {shown}" if shown < matching else ""
    return f"{matching} of the {given} given sources {verb} the question best{rest}:"


def _find_missing(prompt: str, passages: Sequence[reading.Passage]) -> list[str]:
    """Return the question's words, as written, that no source holds."""
    known = frozenset[str]().union(*(p.terms | p.title_terms for p in passages))
    found: dict[str, None] = {}
    for written in prompt.split():
        if not known.issuperset(reading.read_terms(written)):
            found.setdefault(written.strip(_PUNCTUATION))
    return list(found)[:_MAX_MISSING]


def _split_chunks(response: ProviderResponse) -> Iterator[StreamChunk]:
    *first, last = reading.split_words(response.text)
    for text in first:
        yield StreamChunk(text=text, model=response.model)
    yield StreamChunk(
        text=last,
        usage=response.usage,
        finish_reason=response.finish_reason,
        model=response.model,
    )
