"""The reference of metrics and traces has every name that the code tells, and no other."""

from __future__ import annotations

import re

from django_obc_ai.gateway.trace import INSTRUMENTS
from django_obc_ai.services.metrics import METRICS
from tests.docs.markdown import DOCS, names, section, table_rows
from tests.test_telemetry import names_told

PAGE = DOCS / "reference" / "telemetry.md"


def test_every_prometheus_metric_is_documented_with_its_kind_and_labels() -> None:
    documented = {}
    labels: list[str] = []
    for name, kind, cell, _ in table_rows(section(PAGE, "Prometheus metrics")):
        labels = labels if cell == "the same" else names(cell)
        documented[names(name)[0]] = (kind, tuple(labels))
    assert documented == {each.name: (each.kind, each.labels) for each in METRICS}


def test_every_attribute_of_a_span_is_documented() -> None:
    rows = table_rows(section(PAGE, "Spans"))
    documented = {name for row in rows for name in names(row[0]) if re.match(r"[a-z_]+\.", name)}
    measured = {each.name for each in INSTRUMENTS} | {"gen_ai.token.type", "obc_ai.saved.kind"}
    values = {"obc_ai.chat", "obc_ai.in_process"}
    assert documented == names_told() - measured - values


def test_every_measurement_is_documented_with_its_kind_and_unit() -> None:
    documented = {
        names(name)[0]: (kind, names(unit)[0])
        for name, kind, unit, _ in table_rows(section(PAGE, "OpenTelemetry metrics"))
    }
    assert documented == {
        each.name: ("histogram" if each.bounds else "counter", each.unit) for each in INSTRUMENTS
    }
