"""How fast a budget is held in three scopes at once, beside the least that could do it.

Each figure is the median of five runs that alternate with those of the alternative: one process,
one connection, one call after the other, the same keys, limits and amounts. After every hundred,
holds are settled off the clock, so that as many calls are open as a busy process may have.

The alternative to the Redis store is a bare Lua script on the same server, called by redis-py's
client, which compares a counter of each scope with its limit and increments all or none. It keeps
no holds, so a crash would leave its counters wrong for ever. Its script takes 17 microseconds of
the server where ours takes 29; ours comes near because the store uses redis-py's connections
without its client. The alternative to the database store
is a bare transaction on the same connection: a conditional UPDATE for each scope in the order of
keys, then an INSERT of the same row of the hold.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.servers.new_database import use_database

KEYS = ("global:day:2026-11-25", "module=mana:day:2026-11-25", "tenant=north:month:2026-11")
LIMIT, NANO, RUNS = 10**14, 329_000, 5  # $100,000 and about what a short call may cost
LEAST = {"redis": 0.85, "sqlite": 0.80, "postgres": 0.80}
_BARE_LUA = """
for i, key in ipairs(KEYS) do
    if tonumber(redis.call('GET', key) or '0') + tonumber(ARGV[2 * i]) > tonumber(ARGV[2 * i - 1])
    then return i end
end
for i, key in ipairs(KEYS) do redis.call('INCRBY', key, ARGV[2 * i]) end
return 0
"""
_UPDATE = """
UPDATE django_obc_ai_costtotal SET held_nano = held_nano + %s
WHERE key = %s AND spent_nano + held_nano + %s <= %s
"""
_INSERT = """
INSERT INTO django_obc_ai_costreservation (id, keys, amount_nano, amount_tokens, amount_requests,
    is_open, is_expired, is_confirmed, owner, lease_until, details, created_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


def bare_redis(url: str) -> Callable[[], object]:
    import redis

    client = redis.Redis.from_url(url)
    digest = client.script_load(_BARE_LUA)
    names = [f"bare:{key}" for key in KEYS]

    def work() -> object:
        numbers = [each for _ in KEYS for each in (LIMIT, NANO)]
        return client.evalsha(digest, len(names), *names, *numbers)

    return work


def bare_database(details: str) -> Callable[[], object]:
    import datetime

    from django.db import connection, transaction

    from django_obc_ai.models import CostTotal

    CostTotal.objects.bulk_create([CostTotal(key=f"bare:{key}") for key in KEYS])
    names = sorted(f"bare:{key}" for key in KEYS)

    def work() -> None:
        now = datetime.datetime.now(datetime.UTC)
        until = now + datetime.timedelta(seconds=120)
        reservation, keys = uuid.uuid4(), json.dumps(dict.fromkeys(names, "usd"))
        is_sqlite = connection.vendor == "sqlite"
        with transaction.atomic(), connection.cursor() as cursor:
            for name in names:
                cursor.execute(_UPDATE, [NANO, name, NANO, LIMIT])
                assert cursor.rowcount == 1
            cursor.execute(
                _INSERT,
                [
                    reservation.hex if is_sqlite else reservation, keys, NANO, 0, 1,
                    True, False, False, "benchmark", str(until) if is_sqlite else until, details,
                    str(now) if is_sqlite else now,
                ],
            )  # fmt: skip

    return work


def per_second(
    work: Callable[[], object], count: int, tidy: Callable[[], object] = lambda: None
) -> float:
    """Return how often a second work was done, tidying up off the clock after every hundred."""
    taken = 0.0
    for _ in range(count // 100):
        began = time.perf_counter()
        for _ in range(100):
            work()
        taken += time.perf_counter() - began
        tidy()
    return count / taken


def measure(name: str, count: int, stack: ExitStack) -> tuple[float, float]:
    """Return reserves a second of the store and of the alternative, each the median of its runs."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    use_database(name, folder, stack)
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connections

    from django_obc_ai.types import Amount, BudgetHold

    call_command("migrate", verbosity=0)
    stack.callback(connections.close_all)
    details = json.dumps({"operation": str(uuid.uuid4()), "module": "mana", "scope": "north"})
    store: Any
    if name == "redis":
        from django_obc_ai.backends.cost_stores.redis import RedisCostStore
        from tests.servers.valkey import run_redis

        url = stack.enter_context(run_redis()).url
        store, bare = RedisCostStore(url=url), bare_redis(url)
        store.rebuild(dict, is_new=True)
    else:
        from django_obc_ai.backends.cost_stores.database import DatabaseCostStore

        store, bare = DatabaseCostStore(), bare_database(details)
    holds = [BudgetHold(key=key, limit_nano=LIMIT) for key in KEYS]
    amount = Amount(nano=NANO, requests=1)
    ids = [uuid.uuid4() for _ in range(100)]
    is_open: list[uuid.UUID] = []

    def reserve() -> None:
        is_open.append(ids.pop())
        assert store.reserve(is_open[-1], holds, amount, details=details) is None

    def settle() -> None:
        while is_open:
            assert store.settle(is_open.pop(), amount) is not None
            ids.append(uuid.uuid4())

    found: dict[str, list[float]] = {"store": [], "bare": []}
    per_second(reserve, min(count, 200), settle)
    per_second(bare, min(count, 200))
    for _ in range(RUNS):
        found["store"].append(per_second(reserve, count, settle))
        found["bare"].append(per_second(bare, count))
    return statistics.median(found["store"]), statistics.median(found["bare"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", choices=tuple(LEAST))
    options = parser.parse_args()
    count = 200 if options.small else 4_000
    if options.only:
        with ExitStack() as stack:
            pair = measure(options.only, count, stack)
        Path(options.out).write_text(json.dumps(pair), encoding="utf-8")
        return
    from tests.benchmarks._bench import machine

    lines = ["# Holding a budget, beside the least that could", "", (__doc__ or "").strip(), ""]
    lines += [*machine(), f"- {count:,} reserves a run. Command:"]
    lines[-1] += " `./tests/acceptance/run.sh cost_stores`"
    lines += [
        "",
        "| store | reserves a second | alternative | share | at least |",
        "|---|" + "---|" * 4,
    ]
    missed = []
    for name, least in LEAST.items():
        with tempfile.NamedTemporaryFile() as part:
            # A process of its own for each store: Django is set up once per process.
            command = [sys.executable, __file__, "--only", name, "--out", part.name]
            if subprocess_failed(command + (["--small"] if options.small else [])):
                raise SystemExit(1)
            ours, bare = json.loads(Path(part.name).read_text(encoding="utf-8"))
        lines.append(f"| {name} | {ours:,.0f} | {bare:,.0f} | {ours / bare:.0%} | {least:.0%} |")
        missed += [name] if ours / bare < least else []
    Path(options.out).write_text("\n".join([*lines, ""]), encoding="utf-8")
    # At reduced size, as in CI, the clock decides nothing.
    if missed and not options.small:
        raise SystemExit(f"Slower than promised: {', '.join(missed)}.")


def subprocess_failed(command: list[str]) -> bool:
    import subprocess

    return subprocess.run(command, check=False).returncode != 0


if __name__ == "__main__":
    main()
