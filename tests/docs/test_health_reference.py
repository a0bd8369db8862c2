"""docs/reference/health.md lists what is looked at, and its sample is a URL configuration."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from django_obc_ai.services import (
    _data_health,
    _disk,
    _money_health,
    _traffic_health,
    background,
)
from django_obc_ai.services.budgets import WARNING_PERCENT
from django_obc_ai.services.health import check_health
from django_obc_ai.types.coordination import GateState
from tests.docs.markdown import DOCS, blocks, names, section, table_rows
from tests.extras import requires
from tests.fakes import KEY, KeyedProvider, entry
from tests.gates import gates

PAGE = DOCS / "reference" / "health.md"


@pytest.mark.django_db
def test_every_part_of_the_report_is_listed_in_its_order() -> None:
    rows = table_rows(section(PAGE, "What is looked at"))
    documented = [names(row[0])[0].partition(" <")[0] for row in rows]
    with gates({"default": GateState()}, PROVIDERS=entry(KeyedProvider, api_key=KEY)):
        items = [each.name for each in check_health().items]
    aliases = (" default", " places", " uuids", " slugs", " composites")
    kinds = [next((n.removesuffix(a) for a in aliases if n.endswith(a)), n) for n in items]
    assert list(dict.fromkeys(kinds)) == documented[:-1]
    assert documented[-1] == "live call"


def test_its_figures_are_those_of_the_code() -> None:
    text = PAGE.read_text()
    assert f"to {WARNING_PERCENT} % or more" in text
    assert _disk.LEAST_BYTES == 500 * 1024**2 and _disk.ENOUGH_BYTES == 10 * 1024**3
    assert (_disk.LEAST_SHARE, "5 % of the disk or 10 GB" in text) == (0.05, True)
    assert f"and {_traffic_health.LEAST_LEFT_PERCENT} % of the requests" in text
    assert (_data_health.LATE_AFTER_SECONDS, "more than a minute" in text) == (60, True)
    late = background.LATE_SECONDS, "more than 10 minutes" in text
    unseen = background.SEEN_SECONDS, "within the last 2 minutes" in text
    untaken = background.UNTAKEN_SECONDS, "waited for more than a minute" in text
    beat = background.BEAT_LATE_SECONDS, "within the last 3 minutes" in text
    assert (late, unseen, untaken, beat) == ((600, True), (120, True), (60, True), (180, True))
    assert (_money_health.ROLLUPS_BEHIND_AFTER.days, "more than a week" in text) == (7, True)


@requires("health_check")
def test_the_options_of_the_check_are_those_of_its_class() -> None:
    from django_obc_ai.health import AIHealthCheck

    rows = table_rows(section(PAGE, "django-health-check"))
    documented = {names(row[0])[0]: row[1] for row in rows}
    fields = {each.name: each for each in dataclasses.fields(AIHealthCheck)}
    assert list(documented) == list(fields)
    for name, default in documented.items():
        if name == "timeout":
            assert default == f"{fields[name].default.total_seconds():g} seconds"
        else:
            assert names(default) == [repr(fields[name].default)]


@requires("health_check")
def test_the_sample_is_a_url_configuration() -> None:
    (sample,) = [each.text for each in blocks(PAGE) if each.language == "python"]
    made: dict[str, Any] = {}
    exec(sample, made)  # noqa: S102 - our own page
    (pattern,) = made["urlpatterns"]
    view = pattern.callback.view_class(**pattern.callback.view_initkwargs)
    *_, check = view.get_checks()
    assert type(check).__name__ == "AIHealthCheck"
    assert (check.cache_seconds, check.timeout.total_seconds()) == (15, 8)
