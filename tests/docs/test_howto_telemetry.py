"""The page on metrics and traces, followed, and what it says about the files beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.docs.execute import Page
from tests.docs.markdown import DOCS, blocks
from tests.extras import is_installed

PAGE = DOCS / "howto" / "trace-and-measure.md"


@pytest.mark.skipif(
    not is_installed("prometheus_client") or not is_installed("opentelemetry.sdk"),
    reason="prometheus_client or opentelemetry-sdk is not installed",
)
def test_the_page_does_what_it_says(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METRICS_TOKEN", "a-token-that-nobody-guesses")
    assert Page(PAGE, project, settings="mysite.settings").follow() >= 5


def test_the_configuration_of_prometheus_is_yaml_with_a_token_and_the_rules() -> None:
    (block,) = [each for each in blocks(PAGE) if each.language == "yaml"]
    found = yaml.safe_load(block.text)
    (job,) = found["scrape_configs"]
    assert job["authorization"]["credentials_file"]
    assert found["rule_files"] == [(DOCS / "monitoring" / "alerts.yml").name]
