"""The metrics for Prometheus: a collector for a registry, and a view that is not public."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.contrib.auth.decorators import login_not_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import MissingDependencyError
from django_obc_ai.services.metrics import METRICS, Metric, Sample, read_metrics
from django_obc_ai.web.people import may

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

PERMISSION = "django_obc_ai.view_dashboard"


class LedgerCollector:
    """Reads the metrics from the ledger at each scrape; ``registry.register(LedgerCollector())``.

    Every process says the same. Register it in one registry of one process only if several are
    scraped and added up.
    """

    def describe(self) -> list[Family]:
        """Return nothing, so that registering reads nothing."""
        return []

    def collect(self) -> Iterator[Family]:
        """Yield every metric that has samples, in order."""
        samples: dict[str, list[Sample]] = {}
        for sample in read_metrics():
            samples.setdefault(sample.metric.name, []).append(sample)
        for metric in METRICS:
            if metric.name in samples:
                yield _family(metric, samples[metric.name])


def _family(metric: Metric, samples: list[Sample]) -> Family:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for each in samples:
            total = None if each.value is None else float(each.value)
            histogram.add_metric(each.labels, each.buckets, total)
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for each in samples:
        family.add_metric(each.labels, float(each.value or 0))
    return family


@login_not_required  # it decides by itself, also under LoginRequiredMiddleware
@never_cache
@transaction.non_atomic_requests  # a part that fails must not take the others with it
@require_safe
def metrics_view(request: HttpRequest) -> HttpResponse:
    """Answer a scrape that shows the token, or people who may see the dashboard.

    Without ``OBC_AI["METRICS"]["token"]`` only the latter. Whoever is refused learns nothing.
    """
    if not _may_read(request):
        response = HttpResponse("Unauthorized.\n", status=401, content_type="text/plain")
        response["WWW-Authenticate"] = 'Bearer realm="metrics"'
        return response
    try:
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "The metrics need the package 'prometheus_client', which is not installed.",
            hint='Run: python -m pip install "django-obc-ai[prometheus]"',
            check_id="E005",
        ) from error
    registry = CollectorRegistry()
    # Any: a collector is whatever has the two methods.
    collector: Any = LedgerCollector()
    registry.register(collector)
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(registry), content_type=content_type)


def _may_read(request: HttpRequest) -> bool:
    token = get_settings().metrics.token
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if token is not None and scheme.lower() == "bearer":
        return constant_time_compare(given.strip(), token)
    user = getattr(request, "user", None)
    return getattr(user, "is_active", False) and may(user, PERMISSION)
