"""An OpenTelemetry SDK that keeps what it is told, for the length of a test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from django_obc_ai import telemetry

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan


class Heard:
    """What was told: spans that ended, in order, and measurements."""

    def __init__(self) -> None:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def span(self, name: str) -> ReadableSpan:
        (found,) = [each for each in self.spans if each.name == name]
        return found

    def tree(self) -> dict[str, str | None]:
        """The name of each span, and that of its parent."""
        names = {each.context.span_id: each.name for each in self.spans if each.context}
        return {
            each.name: None if each.parent is None else names.get(each.parent.span_id, "?")
            for each in self.spans
        }

    def metrics(self) -> dict[str, Any]:
        """Every metric by name."""
        data = self._reader.get_metrics_data()
        return {
            metric.name: metric
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name: str) -> list[Any]:
        found = self.metrics().get(name)
        return [] if found is None else list(found.data.data_points)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    """Set both providers; skip where the SDK is not installed."""
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry import metrics, trace

    found = Heard()
    # set_tracer_provider() works once in a process; this is what it sets.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", found.tracers)
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", found.meters)
    monkeypatch.setattr(telemetry, "_deaf_until", 0.0)
    yield found
    found.tracers.shutdown()
    found.meters.shutdown()
