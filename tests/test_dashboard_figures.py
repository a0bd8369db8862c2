"""Every figure of the dashboard, from the rows in plain Python, over seams of days and months."""

from __future__ import annotations

import datetime
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import pytest
from django.urls import reverse

from django_obc_ai.models import AIOperation
from django_obc_ai.services import retention
from tests.dashboard_ledger import DAY, NAME, Ledger
from tests.dashboard_page import read_page, rows_behind

pytestmark = pytest.mark.django_db
#: Clocks go forward, back, and a month ends, in New York; in Manila only the last.
SPRING, AUTUMN = datetime.date(2026, 3, 8), datetime.date(2026, 11, 1)
TOKENS = (
    "input_tokens", "cached_tokens", "audio_tokens", "output_tokens", "thinking_tokens",
    "tool_tokens",
)  # fmt: skip
COLUMNS = {
    "module": "module",
    "operation_type": "operation_type",
    "model": "model_used",
    "user": "user_id",
    "scope": "scope",
}


@pytest.fixture(
    params=[
        (SPRING, "America/New_York"),
        (AUTUMN, "America/New_York"),
        (AUTUMN, "Asia/Manila"),
    ],
    ids=lambda each: f"{each[1]}-{each[0]}",
)
def ledger(request: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    middle, zone = request.param
    settings.TIME_ZONE = zone
    found = Ledger(middle, zone, monkeypatch)
    found.fill(160)
    return found


# --- by hand -------------------------------------------------------------------------------------
def cost(rows: Iterable[AIOperation]) -> Decimal:
    return sum((row.cost_usd for row in rows), Decimal(0))


def is_paid(row: AIOperation) -> bool:
    return row.success and not row.cached and not row.coalesced


def is_shared(row: AIOperation) -> bool:
    return row.success and row.coalesced


def saved(rows: Iterable[AIOperation]) -> Decimal:
    return sum((row.saved_usd for row in rows), Decimal(0))


def timed(rows: Iterable[AIOperation]) -> list[int]:
    return sorted(row.response_time_ms for row in rows if is_paid(row))


def nearest_rank(sorted_times: list[int], share: float) -> float | None:
    if not sorted_times:
        return None
    return sorted_times[max(1, math.ceil(share * len(sorted_times))) - 1]


def by_hand(rows: list[AIOperation]) -> dict[str, Any]:
    """The figures of the tiles; those of times within 5 %, all others exact."""
    failed = [row for row in rows if not row.success]
    cached = [row for row in rows if row.cached]
    shared = [row for row in rows if is_shared(row)]
    waits = [row.waited_ms for row in rows if row.waited_ms]
    times = timed(rows)
    chunks = sorted(row.first_chunk_ms for row in rows if row.first_chunk_ms is not None)
    answers = len(rows) - len(failed) - len(shared)
    return {
        "operations": len(rows),
        "spent": cost(rows),
        "answered": 1 - len(failed) / len(rows),
        "failed": len(failed) / len(rows),
        "hit-rate": len(cached) / answers,
        "saved": saved(cached),
        "coalesced": saved(shared),
        "mean": sum(times) / len(times),
        "p50": nearest_rank(times, 0.5),
        "p95": nearest_rank(times, 0.95),
        "first-chunk": nearest_rank(chunks, 0.5),
        "waited": sum(waits) / len(waits),
        "fallbacks": sum(row.fallback_from != "" for row in rows),
    }


def is_same(name: str, shown: str, wanted: Any) -> bool:
    if name in ("p50", "p95", "first-chunk"):
        return abs(float(shown) - wanted) <= 0.05 * wanted + 0.5
    if isinstance(wanted, float):
        return float(shown) == pytest.approx(wanted, rel=1e-12)
    return Decimal(shown) == wanted


def check(ledger: Ledger, **query: Any) -> None:
    page = ledger.ask(**query)
    length = ledger.last - ledger.first + DAY
    now = by_hand(ledger.rows(ledger.first, ledger.last))
    before = by_hand(ledger.rows(ledger.first - length, ledger.first - DAY))
    assert set(page.tiles) == set(now)
    for name, tile in page.tiles.items():
        assert is_same(name, tile["data-value"], now[name]), (name, tile, now[name])
        assert is_same(name, tile["data-before"], before[name]), (name, tile, before[name])


# --- the tests -----------------------------------------------------------------------------------
def test_each_tile_is_that_of_the_rows_whatever_comes_late(ledger: Ledger) -> None:
    check(ledger)
    check(ledger)  # from days that are kept
    ledger.come_late()
    check(ledger)
    ledger.now += datetime.timedelta(hours=20)
    check(ledger)


def test_figures_stay_when_their_rows_are_purged(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_sleep", lambda seconds: None)
    now = by_hand(ledger.rows(ledger.first, ledger.last))
    dearest = [row["Cost"] for row in ledger.download("dearest")]
    assert retention.purge_operations(2 * DAY).deleted
    page = ledger.ask()
    for name, tile in page.tiles.items():
        assert is_same(name, tile["data-value"], now[name]), name
    assert [row["Cost"] for row in ledger.download("dearest")] == dearest
    for line in page.tables["dearest"] + page.tables["slowest"]:
        url = line[0][1]
        assert (url == "") == (line[1][0] == "purged")
        assert not url or ledger.client.get(url).status_code == 200
    assert any(line[1][0] == "purged" for line in page.tables["dearest"])


def test_each_tile_leads_to_the_rows_that_it_counts(ledger: Ledger) -> None:
    rows = ledger.rows(ledger.first, ledger.last)
    counted: dict[str, Callable[[AIOperation], bool]] = {
        "operations": lambda row: True,
        "spent": lambda row: True,
        "answered": lambda row: row.success,
        "failed": lambda row: not row.success,
        "hit-rate": lambda row: row.cached,
        "saved": lambda row: row.cached,
        "coalesced": is_shared,
        "mean": is_paid,
        "p50": is_paid,
        "p95": is_paid,
        "first-chunk": lambda row: row.first_chunk_ms is not None,
        "waited": lambda row: row.waited_ms > 0,
        "fallbacks": lambda row: row.fallback_from != "",
    }
    page = ledger.ask()
    for name, tile in page.tiles.items():
        wanted = {row.pk for row in rows if counted[name](row)}
        assert set(rows_behind(ledger.client, tile["url"])) == wanted, name


def test_spend_by_day_is_that_of_the_rows_and_leads_to_them(ledger: Ledger) -> None:
    for by in COLUMNS:
        check_spend(ledger, by)


def check_spend(ledger: Ledger, by: str) -> None:
    rows, days = ledger.download("spend", by=by), ledger.days()
    names = {str(user.pk): str(user) for user in ledger.users}
    empty = "nobody" if by == "user" else f"no {by.replace('_', ' ')}"

    def label(row: AIOperation) -> str:
        value = str(getattr(row, COLUMNS[by]) or "")
        name = (names[value] if by == "user" else value) if value else empty
        return f"'{name}" if name.startswith("=") else name

    drawn = [name for name in rows[0] if name not in ("Day", "All") and "others" not in name]
    links = ledger.ask(by=by).tables["spend"]
    assert len(rows) == len(links) == (ledger.last - ledger.first).days + 1
    for number, line in enumerate(rows):
        of_day = days[datetime.date.fromisoformat(line.pop("Day"))]
        assert Decimal(line.pop("All")) == cost(of_day)
        for at, (name, amount) in enumerate(line.items(), start=2):
            those = [
                row
                for row in of_day
                if (label(row) not in drawn if "others" in name else label(row) == name)
            ]
            assert Decimal(amount) == cost(those), name
            text, url = links[number][at]
            assert text == written(cost(those))
            if url and number < 3:
                found = rows_behind(ledger.client, url)
                assert cost(found.values()) == cost(those), (by, name)
            # No address names users and "nobody" together, nor a value with a comma among others.
            assert url or not cost(those) or "others" in name


def written(amount: Decimal) -> str:
    """An amount with the digits that the page shows."""
    return f"${amount:,.2f}" if amount >= 1 or not amount else f"${amount:,.4f}"


def test_operations_and_times_by_day_are_those_of_the_rows(ledger: Ledger) -> None:
    days = ledger.days()
    page = ledger.ask()
    for line, links in zip(ledger.download("calls"), page.tables["calls"], strict=True):
        of_day = days[datetime.date.fromisoformat(line.pop("Day"))]
        kinds = [
            [row for row in of_day if is_paid(row)],
            [row for row in of_day if row.cached],
            [row for row in of_day if is_shared(row)],
            [row for row in of_day if not row.success],
        ]
        assert [int(each) for each in line.values()] == [len(each) for each in kinds]
        for kind, (_, url) in zip(kinds, links[1:], strict=True):
            wanted = {row.pk for row in kind}
            assert not kind or set(rows_behind(ledger.client, url)) == wanted
    for line in ledger.download("times"):
        times = timed(days[datetime.date.fromisoformat(line["Day"])])
        for name, share in (("Median", 0.5), ("95 of 100", 0.95)):
            exact = nearest_rank(times, share)
            assert (exact is None and line[name] == "") or is_same(
                "p50", str(float(line[name]) * 1000), exact
            )


def test_failures_tokens_and_users_are_those_of_the_rows(ledger: Ledger) -> None:
    ledger.come_late()
    rows = ledger.rows(ledger.first, ledger.last)
    length = ledger.last - ledger.first + DAY
    before = ledger.rows(ledger.first - length, ledger.first - DAY)
    page = ledger.ask()
    for line, links in zip(ledger.download("errors"), page.tables["errors"], strict=True):
        those = [row for row in rows if row.error_category == line["Category"]]
        old = [row for row in before if row.error_category == line["Category"]]
        assert (int(line["Operations"]), int(line["Before"])) == (len(those), len(old))
        assert set(rows_behind(ledger.client, links[1][1])) == {row.pk for row in those}
    for line, links in zip(ledger.download("tokens"), page.tables["tokens"], strict=True):
        name = line["Tokens"]
        assert name in TOKENS
        assert int(line["Number"]) == sum(getattr(row, name) for row in rows)
        assert int(line["Before"]) == sum(getattr(row, name) for row in before)
        found = rows_behind(ledger.client, links[1][1])
        assert sum(getattr(row, name) for row in found.values()) == int(line["Number"])
    names = {f"'{user}" if str(user)[0] == "=" else str(user): user.pk for user in ledger.users}
    lines = ledger.download("users")
    assert [Decimal(each["Spent"]) for each in lines] == sorted(
        (Decimal(each["Spent"]) for each in lines), reverse=True
    )
    for line, links in zip(lines, page.tables["users"], strict=True):
        key = names.get(line["User"])
        those = [row for row in rows if row.user_id == key]
        assert Decimal(line["Spent"]) == cost(those)
        assert Decimal(line["Before"]) == cost(row for row in before if row.user_id == key)
        counts = (
            {row.pk for row in those},
            {row.pk for row in those if not row.success},
            {row.pk for row in those if row.cached},
            {row.pk for row in those if is_shared(row)},
        )
        for name, wanted, link in zip(
            ("Operations", "Failed", "Cached", "Coalesced"), counts, links[3:], strict=True
        ):
            assert int(line[name]) == len(wanted)
            assert not wanted or set(rows_behind(ledger.client, link[1])) == wanted


def test_dearest_slowest_and_repeated_are_those_of_the_rows(ledger: Ledger) -> None:
    rows = ledger.rows(ledger.first, ledger.last)
    dearest = sorted((row.cost_usd for row in rows), reverse=True)[:5]
    assert [Decimal(line["Cost"]) for line in ledger.download("dearest")] == dearest
    slowest = timed(rows)[:-6:-1]
    assert [float(line["Time"]) * 1000 for line in ledger.download("slowest")] == slowest
    page = ledger.ask()
    by_key = {str(row.pk): row for row in rows}
    for line, amount in zip(page.tables["dearest"], dearest, strict=True):
        assert by_key[line[0][1].split("/")[-3]].cost_usd == amount
    paid = [row for row in rows if is_paid(row) and row.cost_usd > 0]
    prompts: dict[tuple[str, str], list[AIOperation]] = defaultdict(list)
    for row in paid:
        prompts[row.prompt_hash, row.module].append(row)
    again = [each for each in prompts.values() if len(each) > 1]
    wanted = sorted(again, key=lambda each: -cost(each))[:10]
    lines = ledger.download("repeated")
    assert [Decimal(line["Spent"]) for line in lines] == [cost(each) for each in wanted]
    assert [int(line["Times paid"]) for line in lines] == [len(each) for each in wanted]
    days = {"from": ledger.first, "to": ledger.last}
    part = read_page(ledger.client.get(reverse(f"{NAME}_repeated"), days).content.decode())
    for line, those in zip(part.tables["repeated"], wanted, strict=True):
        assert set(rows_behind(ledger.client, line[2][1])) == {row.pk for row in those}
