"""E021 and E022: people on the network, and what they cost."""

from __future__ import annotations

from typing import Any

import pytest

from tests.checks.test_checks import PRICED, assert_only, found
from tests.fakes import KEY, KeyedProvider, entry

pytestmark = pytest.mark.django_db
PAID = {"PROVIDERS": entry(KeyedProvider, api_key=KEY), "PRICES": PRICED}
VISITORS = {"WEB": {"anonymous_scope": "visitors"}}


def budget(**values: Any) -> dict[str, Any]:
    return {"scope": "tenant", "period": "day", "limit_usd": "1", "enforce": True, **values}


def test_E021_no_such_cache() -> None:  # noqa: N802
    messages = found(WEB={"throttle_cache": "defualt"})
    assert_only("E021", messages, "names the cache 'defualt', which CACHES lacks")
    assert "'default'" in (messages[0].hint or "")


@pytest.mark.parametrize(
    ("rule", "said"), [("no.such.rule", "cannot be imported"), ("math.pi", "cannot be called")]
)
def test_E003_no_such_rule(rule: str, said: str) -> None:  # noqa: N802
    assert_only("E003", found(WEB={"may_ask": rule}), said)


@pytest.mark.parametrize(
    "budgets",
    [
        [],
        [budget(scope="global")],
        [budget(key="others")],
        [budget(key="visitors", enforce=False)],
        [budget(scope="module", key="visitors")],
    ],
    ids=str,
)
def test_E022_nothing_stops_strangers(budgets: list[Any]) -> None:  # noqa: N802
    messages = found(**PAID, **VISITORS, BUDGETS=budgets)
    assert_only("E022", messages, "no budget of the scope 'visitors'")
    assert "'key': 'visitors'" in (messages[0].hint or "")


@pytest.mark.parametrize("key", ["visitors", ""])
def test_a_budget_of_their_own_is_enough(key: str) -> None:
    assert found(**PAID, **VISITORS, BUDGETS=[budget(key=key)]) == []


def test_strangers_who_cost_nothing_need_no_budget() -> None:
    assert found(**VISITORS) == []
    assert found(**PAID) == []
