"""``OBC_AI``: defaults, every valid form, and every refusal with its place and way out."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from django_obc_ai.conf import (
    DEFAULT_TTL_SECONDS,
    EMBEDDED_BACKENDS,
    KEYS,
    find_errors,
    get_settings,
    suggest,
)
from django_obc_ai.exceptions import ConfigurationError, ObcAIError
from django_obc_ai.types import PriceRow
from tests.fakes import KEY

BACKEND = {"BACKEND": "project.Backend"}
BUDGET = {"scope": "global", "period": "day", "limit_usd": "5.00"}
PRICE = {"input_usd": "0.30", "output_usd": "2.50"}


def read(**obc_ai: Any) -> Any:
    with override_settings(OBC_AI=obc_ai):
        return get_settings()


def refusal(**obc_ai: Any) -> ConfigurationError:
    """Return the only error of a wrong setting, which is the one that use raises."""
    with override_settings(OBC_AI=obc_ai):
        (found,) = find_errors()
        with pytest.raises(ConfigurationError) as raised:
            get_settings()
    assert str(raised.value) == str(found)
    assert found.hint
    return found


def test_empty_settings_mean_embedded_defaults() -> None:
    with override_settings(BASE_DIR=None):  # else FAISS may keep files below it
        parsed = read()
    for key, path in EMBEDDED_BACKENDS.items():
        specs = parsed.backends(key)
        assert {alias: (spec.path, spec.options) for alias, spec in specs.items()} == {
            "default": (path, {})
        }
    assert parsed.budgets == ()
    assert parsed.cache.alias == "default"
    assert parsed.cache.ttl_seconds == {"analysis": 86_400, "static": 604_800, "chat": 3_600}
    assert (parsed.retry.attempts, parsed.retry.deadline_seconds) == (3, 60.0)
    assert parsed.context == ()
    assert parsed.scope is None
    assert parsed.database == "default"
    assert parsed.prices == ()


def test_a_project_without_obc_ai_gets_the_same_defaults() -> None:
    expected = read()
    with override_settings():
        del settings.OBC_AI
        assert find_errors() == []
        assert get_settings() == expected


def test_every_key_has_a_default_and_a_field() -> None:
    parsed = read()
    assert {key.lower() for key in KEYS} == set(parsed.__dataclass_fields__)


@pytest.mark.parametrize("key", sorted(EMBEDDED_BACKENDS))
def test_a_family_keeps_aliases_paths_and_options(key: str) -> None:
    other = {"BACKEND": "project.Other", "OPTIONS": {"size": 3}}
    specs = read(**{key: {"default": BACKEND, "other": other}}).backends(key)
    assert list(specs) == ["default", "other"]
    assert (specs["default"].path, specs["default"].options) == ("project.Backend", {})
    assert (specs["other"].path, specs["other"].options) == ("project.Other", {"size": 3})


def test_a_budget_is_exact_and_enforced_unless_it_says_otherwise() -> None:
    entries = [BUDGET, {**BUDGET, "period": "total", "limit_usd": 7, "enforce": False}]
    first, second = read(BUDGETS=entries).budgets
    assert (first.scope, first.period, first.limit) == ("global", "day", Decimal("5.00"))
    assert first.enforce
    assert (second.period, second.limit, second.enforce) == ("total", Decimal(7), False)
    assert read(BUDGETS=tuple(entries)).budgets == (first, second)
    assert read(BUDGETS=[{**BUDGET, "limit_usd": Decimal("0.000000001")}]).budgets[0]


@pytest.mark.parametrize("period", ["hour", "day", "week", "month", "total"])
def test_every_period_is_taken(period: str) -> None:
    assert read(BUDGETS=[{**BUDGET, "period": period}]).budgets[0].period == period


def test_cache_times_are_added_to_the_defaults() -> None:
    cache = read(CACHE={"alias": None, "ttl_seconds": {"chat": 60, "maps": 5}}).cache
    assert cache.alias is None
    assert cache.ttl_seconds == {**DEFAULT_TTL_SECONDS, "chat": 60, "maps": 5}
    assert read(CACHE={"alias": "answers"}).cache.alias == "answers"


@pytest.mark.parametrize("deadline", [5, 2.5])
def test_retry_takes_whole_and_broken_seconds(deadline: float) -> None:
    retry = read(RETRY={"attempts": 1, "deadline_seconds": deadline}).retry
    assert (retry.attempts, retry.deadline_seconds) == (1, float(deadline))


def test_context_scope_and_database_are_taken() -> None:
    def scope(_: Any) -> str:
        return ""

    assert read(CONTEXT=["a.B", "c.D"]).context == ("a.B", "c.D")
    assert read(CONTEXT=("a.B",)).context == ("a.B",)
    assert read(SCOPE="a.scope").scope == "a.scope"
    assert read(SCOPE=scope).scope is scope
    assert read(DATABASE="ledger").database == "ledger"


def test_prices_take_one_row_or_dated_rows() -> None:
    dated = {**PRICE, "effective_from": "2026-01-01", "thinking_usd": 3, "cached_input_usd": "0.1"}
    later = {**PRICE, "effective_from": datetime.date(2026, 7, 1)}
    assert read(PRICES={"m": PRICE, "n": [dated, later]}).prices == (
        PriceRow(model="m", input_usd=Decimal("0.30"), output_usd=Decimal("2.50")),
        PriceRow(
            model="n",
            input_usd=Decimal("0.30"),
            output_usd=Decimal("2.50"),
            cached_input_usd=Decimal("0.1"),
            thinking_usd=Decimal(3),
            effective_from=datetime.date(2026, 1, 1),
        ),
        PriceRow(
            model="n",
            input_usd=Decimal("0.30"),
            output_usd=Decimal("2.50"),
            effective_from=datetime.date(2026, 7, 1),
        ),
    )


_UNKNOWN = [
    ({"PROVIDER": {}}, "OBC_AI has the unknown key 'PROVIDER'", "'PROVIDERS'"),
    ({"budgets": []}, "OBC_AI has the unknown key 'budgets'", "'BUDGETS'"),
    (
        {"XYZZY": 1},
        "OBC_AI has the unknown key 'XYZZY'",
        "Valid names: BREAKER, BUDGETS, CACHE, CHAT, CONTEXT",
    ),
    (
        {"EMBEDDERS": {"default": {**BACKEND, "OPTION": {}}}},
        "OBC_AI['EMBEDDERS']['default'] has the unknown key 'OPTION'",
        "'OPTIONS'",
    ),
    (
        {"BUDGETS": [BUDGET, {**BUDGET, "enforced": True}]},
        "OBC_AI['BUDGETS'][1] has the unknown key 'enforced'",
        "'enforce'",
    ),
    ({"CACHE": {"ttl": {}}}, "OBC_AI['CACHE'] has the unknown key 'ttl'", "Valid names"),
    ({"CACHE": {"ttl_second": {}}}, "['CACHE'] has the unknown key 'ttl_second'", "'ttl_seconds'"),
    ({"RETRY": {"attempt": 1}}, "OBC_AI['RETRY'] has the unknown key 'attempt'", "'attempts'"),
    (
        {"PRICES": {"m": {**PRICE, "input": 1}}},
        "OBC_AI['PRICES']['m'] has the unknown key 'input'",
        "'input_usd'",
    ),
    (
        {"PRICES": {"m": [PRICE, {**PRICE, "thinking": 1}]}},
        "OBC_AI['PRICES']['m'][1] has the unknown key 'thinking'",
        "'thinking_usd'",
    ),
]


@pytest.mark.parametrize(("obc_ai", "message", "hint"), _UNKNOWN)
def test_an_unknown_key_is_refused_with_the_nearest_name(
    obc_ai: dict[str, Any], message: str, hint: str
) -> None:
    error = refusal(**obc_ai)
    assert error.check_id == "E001"
    assert message in error.message
    assert hint in error.hint


_WRONG = [
    # The whole dictionary is tested below; every other place in turn.
    ({"PROVIDERS": []}, "OBC_AI['PROVIDERS'] is of type list, not a dictionary"),
    ({"PROVIDERS": {1: BACKEND}}, "OBC_AI['PROVIDERS']: the key 1 is of type int, not a string"),
    ({"PROVIDERS": {"default": "a.B"}}, "['PROVIDERS']['default'] is of type str, not a dict"),
    ({"PROVIDERS": {"default": {}}}, "OBC_AI['PROVIDERS']['default'] has no 'BACKEND'"),
    ({"PROVIDERS": {}}, "OBC_AI['PROVIDERS'] has no 'default'"),
    ({"PROVIDERS": {"other": BACKEND}}, "OBC_AI['PROVIDERS'] has no 'default'"),
    ({"EMBEDDERS": {"default": {"BACKEND": int}}}, "['default']['BACKEND'] is of type type"),
    ({"EMBEDDERS": {"default": {"BACKEND": ""}}}, "not a non-empty string"),
    (
        {"VECTOR_STORES": {"default": {**BACKEND, "OPTIONS": ["path"]}}},
        "OBC_AI['VECTOR_STORES']['default']['OPTIONS'] is of type list, not a dictionary",
    ),
    ({"COST_STORES": None}, "OBC_AI['COST_STORES'] is of type NoneType, not a dictionary"),
    ({"BUDGETS": {}}, "OBC_AI['BUDGETS'] is of type dict, not a list of dictionaries"),
    ({"BUDGETS": ["5.00"]}, "OBC_AI['BUDGETS'][0] is of type str, not a dictionary"),
    ({"BUDGETS": [{**BUDGET, "scope": "usr"}]}, "OBC_AI['BUDGETS'][0]['scope'] is missing or"),
    ({"BUDGETS": [{**BUDGET, "scope": []}]}, "OBC_AI['BUDGETS'][0]['scope'] is missing or"),
    ({"BUDGETS": [{**BUDGET, "enforce": 1}]}, "['enforce'] is of type int, not True or False"),
    ({"BUDGETS": [{"scope": "global", "period": "day"}]}, "OBC_AI['BUDGETS'][0] has 0 limits."),
    ({"CACHE": "default"}, "OBC_AI['CACHE'] is of type str, not a dictionary"),
    ({"CACHE": {"alias": ""}}, "OBC_AI['CACHE']['alias'] is of type str, not a non-empty"),
    ({"CACHE": {"alias": 3}}, "OBC_AI['CACHE']['alias'] is of type int, not a non-empty"),
    ({"CACHE": {"ttl_seconds": 60}}, "OBC_AI['CACHE']['ttl_seconds'] is of type int, not a dict"),
    ({"CACHE": {"ttl_seconds": {"chat": 0}}}, "OBC_AI['CACHE']['ttl_seconds']['chat'] is 0."),
    ({"CACHE": {"ttl_seconds": {"chat": 1.5}}}, "['chat'] is of type float, not a whole number"),
    ({"CACHE": {"ttl_seconds": {"chat": True}}}, "['chat'] is of type bool, not a whole number"),
    ({"RETRY": 3}, "OBC_AI['RETRY'] is of type int, not a dictionary"),
    ({"RETRY": {"attempts": 0}}, "OBC_AI['RETRY']['attempts'] is 0."),
    ({"RETRY": {"attempts": 2.0}}, "OBC_AI['RETRY']['attempts'] is of type float"),
    ({"RETRY": {"deadline_seconds": -1}}, "OBC_AI['RETRY']['deadline_seconds'] is -1."),
    ({"RETRY": {"deadline_seconds": float("nan")}}, "['RETRY']['deadline_seconds'] is nan."),
    ({"RETRY": {"deadline_seconds": "60"}}, "['deadline_seconds'] is of type str, not seconds"),
    ({"CONTEXT": "a.B"}, "OBC_AI['CONTEXT'] is of type str, not a list of dotted paths"),
    ({"CONTEXT": ["a.B", 3]}, "OBC_AI['CONTEXT'][1] is of type int, not a non-empty string"),
    ({"SCOPE": 3}, "OBC_AI['SCOPE'] is of type int, not a non-empty string"),
    ({"SCOPE": ""}, "OBC_AI['SCOPE'] is of type str, not a non-empty string"),
    ({"DATABASE": None}, "OBC_AI['DATABASE'] is of type NoneType, not a non-empty string"),
    ({"PRICES": []}, "OBC_AI['PRICES'] is of type list, not a dictionary"),
    ({"PRICES": {"m": 3}}, "OBC_AI['PRICES']['m'] is of type int, not a dictionary"),
    ({"PRICES": {"m": [3]}}, "OBC_AI['PRICES']['m'][0] is of type int, not a dictionary"),
    ({"PRICES": {"m": {"input_usd": 1}}}, "OBC_AI['PRICES']['m'] has no 'output_usd'"),
    ({"PRICES": {"m": {"output_usd": 1}}}, "OBC_AI['PRICES']['m'] has no 'input_usd'"),
    (
        {"PRICES": {"m": {**PRICE, "effective_from": "1.7.2026"}}},
        "OBC_AI['PRICES']['m']['effective_from'] is not a date",
    ),
    (
        {"PRICES": {"m": {**PRICE, "effective_from": datetime.datetime(2026, 7, 1)}}},  # noqa: DTZ001
        "OBC_AI['PRICES']['m']['effective_from'] is of type datetime, not a date",
    ),
]


@pytest.mark.parametrize(("obc_ai", "message"), _WRONG)
def test_a_wrong_value_is_refused_with_its_place(obc_ai: dict[str, Any], message: str) -> None:
    error = refusal(**obc_ai)
    assert error.check_id == "E002"
    assert message in error.message


def test_a_wrong_period_names_the_nearest() -> None:
    assert "'day'" in refusal(BUDGETS=[{**BUDGET, "period": "daily"}]).hint
    assert refusal(BUDGETS=[{**BUDGET, "period": "x"}]).hint.startswith("Valid names: day, ")


@pytest.mark.parametrize("value", [None, [], "OBC_AI", 3])
def test_obc_ai_itself_must_be_a_dictionary(value: Any) -> None:
    with override_settings(OBC_AI=value):
        (error,) = find_errors()
        with pytest.raises(ConfigurationError, match="OBC_AI is of type"):
            get_settings()
    assert error.check_id == "E002"


@pytest.mark.parametrize(
    "amount", [5.0, True, b"5", "5,00", "", "five", "NaN", "Infinity", "-0.01", -1, Decimal(-1)]
)
@pytest.mark.parametrize("place", ["limit_usd", "input_usd", "output_usd", "cached_input_usd"])
def test_money_is_an_exact_amount_and_never_a_float(place: str, amount: Any) -> None:
    if place == "limit_usd":
        error = refusal(BUDGETS=[{**BUDGET, place: amount}])
        assert error.message.startswith("OBC_AI['BUDGETS'][0]['limit_usd'] is ")
    else:
        error = refusal(PRICES={"m": {**PRICE, place: amount}})
        assert error.message.startswith(f"OBC_AI['PRICES']['m'][{place!r}] is ")
    assert "floats are inexact" in error.hint


def test_money_beyond_the_ledger_is_refused() -> None:
    assert "dollar amount" in refusal(BUDGETS=[{**BUDGET, "limit_usd": "1e10"}]).message
    assert read(BUDGETS=[{**BUDGET, "limit_usd": "9_000_000_000"}]).budgets


def test_all_faults_are_found_at_once() -> None:
    wrong = {"PROVIDER": {}, "RETRY": 3, "BUDGETS": {}, "DATABASE": ""}
    with override_settings(OBC_AI=wrong):
        assert len(find_errors()) == 4


def test_override_settings_takes_effect_and_is_undone() -> None:
    before = get_settings()
    with override_settings(OBC_AI={"DATABASE": "ledger"}):
        assert get_settings().database == "ledger"
        with override_settings(OBC_AI={"DATABASE": "other"}):
            assert get_settings().database == "other"
        assert get_settings().database == "ledger"
    assert get_settings().database == "default"
    assert get_settings() == before


def test_settings_are_parsed_once_and_other_settings_keep_them() -> None:
    with override_settings(OBC_AI={"DATABASE": "ledger"}):
        first = get_settings()
        with override_settings(TIME_ZONE="UTC"):
            assert get_settings() is first


def test_secrets_appear_in_no_message_and_no_repr() -> None:
    options = {"api_key": KEY}
    parsed = read(PROVIDERS={"default": {**BACKEND, "OPTIONS": options}})
    assert KEY not in repr(parsed)
    misplaced: list[dict[str, Any]] = [
        {"PROVIDERS": KEY},
        {"PROVIDERS": {"default": KEY}},
        {"PROVIDERS": {"default": {**BACKEND, "OPTIONS": KEY}}},
        {"PROVIDERS": {"default": {"OPTIONS": options}}},
        {"PROVIDERS": {"default": {**BACKEND, "OPTION": options}}},
        {"PROVIDERS": {"default": {"BACKEND": KEY.encode()}}},
        {"PROVIDER": {"default": {**BACKEND, "OPTIONS": options}}},
        {"BUDGETS": [{**BUDGET, "limit_usd": KEY}]},
        {"BUDGETS": [{**BUDGET, "period": KEY}]},
        {"PRICES": {"m": {**PRICE, "effective_from": KEY}}},
        {"RETRY": {"attempts": KEY}},
    ]
    for obc_ai in misplaced:
        error = refusal(**obc_ai)
        assert KEY not in f"{error} {error!r} {error.hint}", obc_ai


def test_a_configuration_error_passes_every_handler_of_run_time_errors() -> None:
    with override_settings(OBC_AI={"RETRY": 3}), pytest.raises(ConfigurationError):
        try:
            get_settings()
        except ObcAIError:
            pytest.fail("a broken installation was hidden")


@pytest.mark.parametrize(
    ("name", "valid", "hint"),
    [
        ("provider", ["PROVIDERS", "CACHE"], "Did you mean 'PROVIDERS'?"),
        ("qqq", ["b", "a"], "Valid names: a, b."),
        ("qqq", [], "No names are valid here."),
    ],
)
def test_suggest_names_the_nearest_or_all(name: str, valid: list[str], hint: str) -> None:
    assert suggest(name, valid) == hint
