"""What a provider's limits cost per call on Redis, beside the package `limits`.

One process, one connection, one call after the other, on the same server; the two alternate in
turns of a hundred calls. Ours asks and, when the call has ended, tells: only so is a window exact
whose requests take time, and only so do tokens, the day, the queue and the breaker know what they
know. `limits` (MovingWindowRateLimiter) counts the moment of asking, and requests only. The
gateway sends ours along with what it tells Redis anyway, so the round trips of the first row go
away: the second row is what remains, both scripts in one.

A full gate refuses: here everybody is told when to ask again.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from django_obc_ai.types.coordination import Limits
from tests.benchmarks._bench import machine
from tests.servers.valkey import run_redis

MANY = Limits(requests=100_000, tokens=10**9, per_day=10**7, failures=5)
FULL = Limits(requests=60)


def alternative(url: str) -> tuple[Callable[[], object], Callable[[], object]] | None:
    """Return calls of `limits` on an open and on a full limit, None if it is not installed."""
    try:
        from limits import RateLimitItemPerMinute
        from limits.storage import RedisStorage
        from limits.strategies import MovingWindowRateLimiter
    except ModuleNotFoundError:
        return None
    limiter = MovingWindowRateLimiter(RedisStorage(url))
    many, full = RateLimitItemPerMinute(100_000), RateLimitItemPerMinute(60)
    while limiter.hit(full, "full"):
        pass
    return (lambda: limiter.hit(many, "open")), (lambda: limiter.hit(full, "full"))


def medians(works: dict[str, Callable[[], object]], count: int) -> dict[str, float]:
    """Return how many microseconds each takes."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(count // 100):
        for name, work in works.items():
            for _ in range(100):
                began = time.perf_counter()
                work()
                times[name].append((time.perf_counter() - began) * 1e6)
    return {name: statistics.median(each) for name, each in times.items()}


def measure(count: int) -> dict[str, float]:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    from django_obc_ai.backends.coordinators.redis import RedisCoordinator

    with run_redis() as server:
        gates = RedisCoordinator(url=server.url)

        def apart() -> None:
            permit = uuid.uuid4().hex
            asked = gates.acquire("apart", permit, tokens=900, limits=MANY, patience_seconds=30)
            assert not asked.reason
            gates.release("apart", permit, verdict="ok", limits=MANY, tokens=300)

        def together() -> None:
            permit = uuid.uuid4().hex
            ask = gates.acquire_step("one", permit, tokens=9, limits=MANY, patience_seconds=30)
            tell = gates.release_step("one", permit, verdict="ok", limits=MANY, tokens=3)
            assert not ask.read(gates.run_all([ask.call, tell.call])[0]).reason

        def full() -> bool:
            permit = uuid.uuid4().hex
            asked = gates.acquire("full", permit, tokens=1, limits=FULL, patience_seconds=0)
            return not asked.reason

        while full():
            pass
        works: dict[str, Callable[[], object]] = {"apart": apart, "together": together}
        works["full"] = full
        if (others := alternative(server.url)) is not None:
            works["limits"], works["limits full"] = others
        found = medians(works, count)
        gates.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    count = 500 if options.small else 10_000
    found = measure(count)

    def row(name: str, ours: str, theirs: str) -> str:
        other = "not installed"
        if theirs in found:
            other = f"{found[theirs]:,.0f} | {1e6 / found[theirs]:,.0f}"
        else:
            other += " |"
        return f"| {name} | {found[ours]:,.0f} | {1e6 / found[ours]:,.0f} | {other} |"

    lines = ["# A provider's limits, beside the package limits", "", (__doc__ or "").strip(), ""]
    lines += [*machine(), f"- {count:,} calls of each. Command:"]
    lines[-1] += " `./tests/acceptance/run.sh rate_limits`"
    lines[-1] += " with the dependency group `bench-limits`"
    lines += ["", "| gate | ours, p50 in µs | a second | `limits`, p50 in µs | a second |"]
    lines += ["|---|" + "---|" * 4]
    lines += [row("open: asked, told", "apart", "limits")]
    lines += [row("open: both in one round trip", "together", "limits")]
    lines += [row("full: refused", "full", "limits full"), ""]
    Path(options.out).write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
