"""Any interleaving of steps leaves a cost store as a simple model says."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.test import override_settings
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from django_obc_ai.backends.cost_stores import BaseCostStore
from django_obc_ai.backends.cost_stores.database import DatabaseCostStore
from django_obc_ai.backends.cost_stores.memory import MemoryCostStore
from django_obc_ai.backends.cost_stores.redis import RedisCostStore
from django_obc_ai.types import Amount, BudgetHold
from tests.servers.valkey import RedisServer

KEYS = {
    "usd": ("usd", 40),
    "tokens": ("tokens", 60),
    "requests": ("requests", 5),
    "free": ("usd", None),
}
AMOUNTS = st.builds(
    Amount, nano=st.integers(0, 20), tokens=st.integers(0, 20), requests=st.integers(0, 1)
)


@dataclass
class Entry:
    keys: list[str]
    amount: Amount
    due: float
    state: str = "open"
    is_confirmed: bool = False
    cost: Amount = field(default_factory=Amount)


def machine(  # noqa: C901 - one class of many rules
    make: Callable[[], BaseCostStore],
) -> type[RuleBasedStateMachine]:
    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.now = 1_900_000_000.0
            self.store: Any = make()
            self.store.clock = lambda: self.now
            self.prefix = uuid.uuid4().hex
            self.entries: dict[uuid.UUID, Entry] = {}
            self.base = dict.fromkeys(KEYS, 0)  # what rebuilding put there

        def part(self, key: str, amount: Amount) -> int:
            return amount.of(KEYS[key][0])

        def spent(self, key: str) -> int:
            spent = self.base[key]
            for each in self.entries.values():
                if key in each.keys and each.state == "expired":
                    spent += self.part(key, each.amount)
                elif key in each.keys and each.state == "settled":
                    spent += self.part(key, each.cost)
            return spent

        def held(self, key: str) -> int:
            open_ = [e for e in self.entries.values() if e.state == "open" and key in e.keys]
            return sum(self.part(key, each.amount) for each in open_)

        def name(self, key: str) -> str:
            return f"{self.prefix}:{key}"

        def pick(self, number: int) -> uuid.UUID:
            ids = [*self.entries, uuid.UUID(int=number)]
            return ids[number % len(ids)]

        @rule(keys=st.lists(st.sampled_from(sorted(KEYS)), min_size=1, unique=True), amount=AMOUNTS)
        def reserve(self, keys: list[str], amount: Amount) -> None:
            holds = [
                BudgetHold(key=self.name(key), unit=KEYS[key][0], limit_nano=KEYS[key][1])
                for key in keys
            ]
            full = [
                hold
                for key, hold in zip(keys, holds, strict=True)
                if hold.limit_nano is not None
                and self.spent(key) + self.held(key) + self.part(key, amount) > hold.limit_nano
            ]
            reservation = uuid.uuid4()
            assert self.store.reserve(reservation, holds, amount) == (full[0] if full else None)
            if not full:
                due = self.now + self.store.lease_seconds
                self.entries[reservation] = Entry(keys, amount, due)

        @rule(number=st.integers(0, 30), cost=AMOUNTS, gives_back=st.booleans())
        def settle(self, number: int, cost: Amount, gives_back: bool) -> None:
            reservation = self.pick(number)
            entry = self.entries.get(reservation)
            cost = Amount() if gives_back else cost
            step = self.store.release if gives_back else self.store.settle
            settled = step(reservation) if gives_back else step(reservation, cost)
            if entry is None or entry.state == "settled":
                assert settled is None
                return
            assert settled is not None
            assert settled.was_expired == (entry.state == "expired")
            entry.state, entry.cost = "settled", cost
            for key in entry.keys:
                assert settled.totals[self.name(key)].spent_nano == self.spent(key)

        @rule(number=st.integers(0, 30), amount=AMOUNTS)
        def reserve_again(self, number: int, amount: Amount) -> None:
            reservation = self.pick(number)
            if entry := self.entries.get(reservation):
                holds = [BudgetHold(key=self.name(key), unit=KEYS[key][0]) for key in entry.keys]
                assert self.store.reserve(reservation, holds, amount) is None

        @rule(seconds=st.sampled_from([1, 50, 119, 121]))
        def time_passes(self, seconds: int) -> None:
            self.now += seconds

        @rule()
        def renew(self) -> None:
            self.store.renew()
            for each in self.entries.values():
                if each.state == "open":
                    each.due = self.now + self.store.lease_seconds

        @rule(confirms=st.booleans())
        def expire(self, confirms: bool) -> None:
            for each in self.entries.values():
                if each.state == "open" and each.due <= self.now:
                    each.state = "expired"
            told = {each.reservation: each.amount for each in self.store.expire()}
            assert {key: told[key] for key in told if key in self.entries} == {
                key: each.amount
                for key, each in self.entries.items()
                if each.state == "expired" and not each.is_confirmed
            }
            if confirms:
                mine = [key for key in told if key in self.entries]
                self.store.confirm(mine)
                for key in mine:
                    self.entries[key].is_confirmed = True

        @rule(key=st.sampled_from(sorted(KEYS)), extra=st.integers(0, 30))
        def rebuild(self, key: str, extra: int) -> None:
            """The ledger knows everything that was spent, and perhaps more."""
            assert self.store.rebuild(lambda: {self.name(key): self.spent(key) + extra})
            self.base[key] += extra

        @invariant()
        def totals_are_those_of_the_model(self) -> None:
            totals = self.store.totals([self.name(key) for key in KEYS])
            for key in KEYS:
                found = totals[self.name(key)]
                assert (found.spent_nano, found.held_nano) == (self.spent(key), self.held(key))

    return Machine


def run(make: Callable[[], BaseCostStore], examples: int) -> None:
    run_state_machine_as_test(
        machine(make),
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_memory_is_as_the_model_says() -> None:
    run(MemoryCostStore, 200)


def test_redis_is_as_the_model_says(redis_server: RedisServer) -> None:
    made: list[RedisCostStore] = []

    def make() -> BaseCostStore:
        made.append(RedisCostStore(url=redis_server.url, prefix=uuid.uuid4().hex))
        made[-1].rebuild(dict, is_new=True)
        return made[-1]

    run(make, 60)
    for each in made:
        each.close()


@pytest.mark.django_db
def test_sqlite_is_as_the_model_says() -> None:
    run(DatabaseCostStore, 25)


@pytest.mark.django_db(databases=["default", "postgres"])
def test_postgres_is_as_the_model_says(postgres_alias: str) -> None:
    with override_settings(OBC_AI={"DATABASE": postgres_alias}):
        run(DatabaseCostStore, 25)
