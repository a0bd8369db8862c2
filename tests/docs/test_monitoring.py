"""Alert rules and dashboard name only what a scrape holds, and the rules fire when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from django.test import Client

from django_obc_ai.exceptions import RateLimitError
from django_obc_ai.services import _ledger_total
from django_obc_ai.services.metrics import METRICS
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import Reply
from django_obc_ai.types import Usage
from django_obc_ai.types.coordination import GateState
from tests.background import runner, task
from tests.docs.markdown import DOCS
from tests.extras import requires
from tests.gates import gates
from tests.gateway.conftest import PRICES
from tests.subprocesses import ROOT

RULES = DOCS / "monitoring" / "alerts.yml"
DASHBOARD = json.loads((DOCS / "monitoring" / "grafana-dashboard.json").read_text())
TOKEN = "a-token-that-nobody-guesses"
_SUFFIXES = ("", "_bucket", "_sum", "_count")
_NAME = re.compile(r"\b(obc_ai_\w+)(?:\{([^}]*)\})?")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [each for each in DASHBOARD["panels"] if each["type"] != "row"]


def queries() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])


@pytest.fixture
def scraped(db: None) -> Iterator[set[str]]:
    """The names of all samples of a real scrape, after a call of each outcome."""
    from prometheus_client.parser import text_string_to_metric_families

    _ledger_total.forget()
    usage = Usage(input_tokens=10, output_tokens=10)
    script = [Reply(chunks=["A"], usage=usage), RateLimitError("Busy.")]
    budgets = [{"scope": "global", "period": "day", "limit_usd": "5"}]
    settings = {
        "PRICES": PRICES,
        "BUDGETS": budgets,
        "RETRY": {"attempts": 1},
        "TASK_RUNNERS": runner(),
    }
    task()
    with gates({"default": GateState()}, script, METRICS={"token": TOKEN}, **settings):
        list(TextService().stream_text("One?"))
        TextService().generate_text("One?")
        TextService().generate_text("Two?")
        answer = Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    families = text_string_to_metric_families(answer.text)
    yield {sample.name for family in families for sample in family.samples}
    _ledger_total.forget()


@requires("prometheus_client")
def test_every_metric_that_is_asked_for_is_in_a_scrape(scraped: set[str]) -> None:
    asked = {name for query in queries() for name, _ in _NAME.findall(query)}
    assert len(asked) > 15
    assert asked - scraped == set()


@requires("prometheus_client")
def test_every_metric_that_is_declared_is_in_a_scrape(scraped: set[str]) -> None:
    declared = {each.name + ("_bucket" if each.kind == "histogram" else "") for each in METRICS}
    assert declared - scraped == set()


def test_every_label_that_is_asked_for_is_one_of_its_metric() -> None:
    labels = {each.name + end: {*each.labels, "le"} for each in METRICS for end in _SUFFIXES}
    for query in queries():
        for name, matchers in _NAME.findall(query):
            assert set(re.findall(r"(\w+)\s*=", matchers)) <= labels[name], query
        for by in re.findall(r"by \(([^)]*)\)", query):
            asked = {each.strip() for each in by.split(",")}
            assert asked <= set().union(*(labels[name] for name, _ in _NAME.findall(query))), query


def test_no_query_takes_a_correction_of_money_for_a_counter_that_began_anew() -> None:
    gauges = {each.name for each in METRICS if each.kind == "gauge"}
    counters = {each.name for each in METRICS} - gauges
    for query in queries():
        counted = re.findall(r"\b(?:rate|increase)\((obc_ai_\w+)", query)
        assert not gauges & set(counted), query
        assert not counters & set(re.findall(r"\bdelta\((obc_ai_\w+)", query)), query


def test_rules_say_what_is_wrong_and_how_bad_it_is() -> None:
    assert len({rule["alert"] for rule in rules()}) == len(rules()) >= 10
    for rule in rules():
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("info", "warning", "critical")


def test_every_rule_is_tried() -> None:
    tried = (ROOT / "tests" / "docs" / "alerts_test.yml").read_text()
    assert [rule["alert"] for rule in rules() if rule["alert"] not in tried] == []


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_rules_fire_when_they_should_and_only_then() -> None:
    for command in (
        ["check", "rules", str(RULES)],
        ["test", "rules", "tests/docs/alerts_test.yml"],
    ):
        done = subprocess.run(["promtool", *command], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


# --- the dashboard -----------------------------------------------------------------------------
def test_the_dashboard_is_one_that_grafana_can_import() -> None:
    assert DASHBOARD["schemaVersion"] >= 36 and DASHBOARD["uid"] and DASHBOARD["title"]
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    every = DASHBOARD["panels"]
    assert len({each["id"] for each in every}) == len(every)
    for panel in panels():
        assert panel["title"] and panel["targets"] and panel["fieldConfig"]["defaults"]["unit"]
        for source in (panel, *panel["targets"]):
            assert source["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({each["refId"] for each in panel["targets"]}) == len(panel["targets"])


def test_panels_lie_within_the_page_and_not_upon_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells


def test_the_dashboard_names_no_place_of_ours() -> None:
    assert "http" not in json.dumps(DASHBOARD)
