"""Spans, measurements and trace context: the one place that knows OpenTelemetry.

Only its API is used, and only where somebody else has loaded it: a process without a tracer or
meter provider pays for one look a second. What telemetry does wrong is logged, once, and
never breaks a call. Nothing here knows what a call is; `gateway.trace` says what its span holds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeAlias, TypeVar

from django_obc_ai import __version__
from django_obc_ai.logs import events

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer

NAME = "django_obc_ai"
_DEAF_SECONDS = 1.0
#: Until when nobody is looked for, since nobody was there a moment ago; on the monotonic clock.
_deaf_until = 0.0
Attributes: TypeAlias = Mapping[str, str | bool | int | float | tuple[str, ...] | None]
Kind: TypeAlias = Literal["client", "internal"]
ParametersT = ParamSpec("ParametersT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """A measurement: a histogram where it has bounds, else a counter."""

    name: str
    unit: str
    description: str
    bounds: tuple[float, ...] = ()


def safely(work: Callable[ParametersT, ResultT]) -> Callable[ParametersT, ResultT | None]:
    """Return the same function, which returns None in place of raising."""

    @wraps(work)
    def safe(*arguments: ParametersT.args, **named: ParametersT.kwargs) -> ResultT | None:
        try:
            return work(*arguments, **named)
        except Exception as error:  # noqa: BLE001 - of any SDK: no call may fail for it
            events.TELEMETRY_FAILED.log(error=error)
            return None

    return safe


def is_heard() -> bool:
    """Return whether anybody has set a tracer or meter provider; if not, for a second.

    Without one the API looks into the environment each time, which is a tenth of a cached answer.
    """
    global _deaf_until
    now = time.monotonic()
    if now < _deaf_until:
        return False
    found = bool(_is_heard())
    _deaf_until = 0.0 if found else now + _DEAF_SECONDS
    return found


@safely
def _is_heard() -> bool:
    return _tracer() is not None or _meter() is not None


def _set(part: str, get: str, stand_in: str) -> Any:
    """Return the provider that somebody has set in a part of the API, None if nobody has.

    Without an import, which would be made at every call; a part that another thread is loading has
    no function yet. The API shows the class of one stand-in and not that of the other.
    """
    found = getattr(sys.modules.get(part), get, None)
    provider = None if found is None else found()
    return None if type(provider).__name__ == stand_in else provider


def _tracer() -> Tracer | None:
    provider = _set("opentelemetry.trace", "get_tracer_provider", "ProxyTracerProvider")
    return None if provider is None else _tracer_of(provider)


@lru_cache(maxsize=1)
def _tracer_of(provider: Any) -> Tracer:
    """Any: a tracer provider; a type that is not imported where there is none."""
    tracer: Tracer = provider.get_tracer(NAME, __version__)
    return tracer


def _meter() -> tuple[Any, dict[str, Callable[..., None]]] | None:
    """Any: a meter; see `_meter_of`."""
    provider = _set("opentelemetry.metrics", "get_meter_provider", "_ProxyMeterProvider")
    return None if provider is None else _meter_of(provider)


@lru_cache(maxsize=1)
def _meter_of(provider: Any) -> tuple[Any, dict[str, Callable[..., None]]]:
    """Return a provider's meter, and how what it has made so far is told. Any: see above."""
    return provider.get_meter(NAME, __version__), {}


@safely
def measure(instrument: Instrument, value: float, attributes: Attributes) -> None:
    """Record a value; without a meter provider nothing happens."""
    found = _meter()
    if found is None:
        return
    meter, made = found
    tell = made.get(instrument.name)
    if tell is None:
        kept = instrument.name, instrument.unit, instrument.description
        if instrument.bounds:
            bounds = list(instrument.bounds)
            histogram = meter.create_histogram(*kept, explicit_bucket_boundaries_advisory=bounds)
            tell = histogram.record
        else:
            tell = meter.create_counter(*kept).add
        made[instrument.name] = tell
    tell(value, _told(attributes))


def _told(attributes: Attributes) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


class Span:
    """A span that begins and ends once; it does nothing where nobody listens."""

    def __init__(self) -> None:
        """Wait for `begin`."""
        self._span: OtelSpan | None = None
        self._context: Context | None = None
        #: Category of a failure that raises nothing.
        self.error = ""

    @safely
    def begin(self, name: str, attributes: Attributes, *, kind: Kind = "internal") -> None:
        """Begin as a child of what is current here; attributes of None are left out."""
        tracer = _tracer()
        if tracer is None:
            return
        from opentelemetry import trace

        self._span = tracer.start_span(
            name, kind=trace.SpanKind[kind.upper()], attributes=_told(attributes)
        )
        self._context = trace.set_span_in_context(self._span)

    @property
    def is_recording(self) -> bool:
        """Return whether attributes are wanted."""
        return self._span is not None and _is_recording(self._span) is True

    @safely
    def add(self, attributes: Attributes) -> None:
        """Set further attributes."""
        if self._span is not None:
            self._span.set_attributes(_told(attributes))

    @safely
    def end(self, error: str = "") -> None:
        """End; ``error`` is the category of a failure."""
        span, self._span, self._context = self._span, None, None
        if span is None:
            return
        if error := error or self.error:
            from opentelemetry.trace import Status, StatusCode

            span.set_attribute("error.type", error)
            span.set_status(Status(StatusCode.ERROR, error))
        span.end()

    def current(self) -> AbstractContextManager[None]:
        """Make what begins inside its child. Never yield to others inside: see `steps`."""
        return nullcontext() if self._context is None else _attached(self._context)


@safely
def _is_recording(span: OtelSpan) -> bool:
    return span.is_recording()


@contextmanager
def _attached(context: Context) -> Iterator[None]:
    token = _attach(context)
    try:
        yield
    finally:
        _detach(context, token)


@safely
def _attach(context: Context) -> Any:
    """Any: a token of the SDK."""
    from opentelemetry import context as contexts

    return contexts.attach(context)


@safely
def _detach(context: Context, token: Any) -> None:
    """Any: see above."""
    from opentelemetry import context as contexts

    # A coroutine that is thrown away is closed by whoever happens to collect it, where nothing
    # was attached.
    if token is not None and contexts.get_current() is context:
        contexts.detach(token)


def category_of(error: BaseException | None) -> str:
    """Return the category of an error, "" for none."""
    return "" if error is None else str(getattr(error, "code", type(error).__name__))


@contextmanager
def spanning(name: str, attributes: Attributes) -> Iterator[Span]:
    """Cover a block by a span; not for generators, which `steps` is for."""
    span = Span()
    span.begin(name, attributes)
    try:
        with span.current():
            yield span
    except BaseException as error:
        span.end(category_of(error))
        raise
    span.end()


def steps(
    span: Span, begin: Callable[[], None], pieces: Generator[ResultT, None, None]
) -> Generator[ResultT, None, None]:
    """Yield the pieces of a generator; what it does for each belongs to the span.

    The span is current while the generator works, and never while its reader does.

    Args:
        span: Ended with the generator.
        begin: Begins the span, when the first piece is asked for.
        pieces: The generator.
    """
    begin()
    error: BaseException | None = None
    try:
        while True:
            with span.current():
                try:
                    piece = next(pieces)
                except StopIteration:
                    return
            yield piece
    except BaseException as raised:
        error = None if isinstance(raised, GeneratorExit) else raised
        raise
    finally:
        with span.current():
            pieces.close()
        span.end(category_of(error))


async def asteps(
    span: Span, begin: Callable[[], None], pieces: AsyncGenerator[ResultT, None]
) -> AsyncGenerator[ResultT, None]:
    """See steps()."""
    begin()
    error: BaseException | None = None
    try:
        while True:
            with span.current():
                try:
                    piece = await anext(pieces)
                except StopAsyncIteration:
                    return
            yield piece
    except BaseException as raised:
        error = None if isinstance(raised, GeneratorExit) else raised
        raise
    finally:
        with span.current():
            await pieces.aclose()
        span.end(category_of(error))


def carry_context() -> dict[str, str]:
    """Return the current trace context as JSON, for a job's arguments; {} if there is none.

    Its form is that of the configured propagator: W3C ``traceparent`` by default.
    """
    return _carried() or {}


@safely
def _carried() -> dict[str, str]:
    if "opentelemetry.trace" not in sys.modules:
        return {}
    from opentelemetry import propagate

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


@contextmanager
def restore_context(carried: Mapping[str, str] | None) -> Iterator[None]:
    """Do what a job does as a part of the trace that it was started in.

    Args:
        carried: What `carry_context` returned; {} or None leaves the context as it is.
    """
    context = _extracted(carried) if carried else None
    if context is None:
        yield
        return
    with _attached(context):
        yield


@safely
def _extracted(carried: Mapping[str, str]) -> Context | None:
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry import propagate

    return propagate.extract(dict(carried))
