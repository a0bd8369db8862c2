"""Where the time of a call goes: what it waits for, and which of our functions work."""

from __future__ import annotations

import cProfile
import pstats
import re
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

Row = list[Any]
#: The modules that lead a call through its steps; what they call is a step.
_LEADERS = ("call", "book", "stream_book", "text")
#: How far above a message its step may be.
_FRAMES = 40


class _Clock:
    """Adds up times by name and call; a wait within another belongs to the outer one."""

    def __init__(self) -> None:
        self.count: dict[str, int] = defaultdict(int)
        self.calls: list[dict[str, float]] = []
        self.depth = 0

    def timed(self, name: str, work: Callable[[], Any]) -> Any:
        self.depth += 1
        began = time.perf_counter()
        try:
            return work()
        finally:
            self.depth -= 1
            if not self.depth:
                self.count[name] += 1
                self.calls[-1][name] += time.perf_counter() - began

    def typical(self, name: str) -> float:
        """Return milliseconds in a call: the median, or the mean of what few calls have."""
        times = [each[name] * 1000 for each in self.calls]
        return statistics.median(times) or statistics.fmean(times)


def _step() -> str:
    """Return the step of the call that asks, as "module.function()"."""
    frame, found = sys._getframe(2), "another"
    for _ in range(_FRAMES):
        path = Path(frame.f_code.co_filename)
        if "django_obc_ai" in path.parts and "tests" not in path.parts:
            if path.stem in _LEADERS:
                break
            found = f"{path.stem}.{frame.f_code.co_name}()"
        if frame.f_back is None:
            break
        frame = frame.f_back
    return found


def _statement(sql: str) -> str:
    found = re.match(r'(\w+).*?(?:FROM|INTO|UPDATE)?\s+"(\w+)"', sql, re.DOTALL)
    return f"{found[1]} {found[2]}" if found else " ".join(sql.split()[:2])


def parts(call: Callable[[], object], calls: int) -> list[Row]:
    """Time what a call waits for, without a profiler.

    Returns:
        Name, how often in a call, and milliseconds in a call (medians); the whole last.
    """
    from django.core.cache.backends.redis import RedisCacheClient
    from django.db import connection

    from django_obc_ai.backends.providers import providers
    from django_obc_ai.backends.redis_link import RedisLink

    clock = _Clock()

    def wrap(owner: Any, name: str, title: Callable[[], str]) -> Any:
        inner = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            return clock.timed(title(), lambda: inner(*args, **kwargs))

        return patch.object(owner, name, timed)

    def statement(execute: Any, sql: str, *rest: Any) -> Any:
        return clock.timed(f"SQL: {_statement(sql)}", lambda: execute(sql, *rest))

    with ExitStack() as stack:
        stack.enter_context(wrap(RedisLink, "_send", lambda: f"Redis: {_step()}"))
        for name in ("get", "set", "add", "get_many", "set_many", "incr"):
            stack.enter_context(wrap(RedisCacheClient, name, lambda: f"Redis: {_step()}"))
        provider = type(providers["default"])
        stack.enter_context(wrap(provider, "generate", lambda: "the provider, SDK and HTTP"))
        stack.enter_context(connection.execute_wrapper(statement))
        for _ in range(calls):
            clock.calls.append(defaultdict(float))
            began = time.perf_counter()
            call()
            whole = time.perf_counter() - began
            waits = sum(clock.calls[-1].values())
            clock.calls[-1] |= {"Python around these": whole - waits, "": whole}
    rows: list[Row] = [[name, n / calls, clock.typical(name)] for name, n in clock.count.items()]
    rows.sort(key=lambda row: -row[2])
    return [*rows, *([name, 1, clock.typical(name)] for name in ("Python around these", ""))]


def profile(call: Callable[[], object], calls: int, *, most: int = 25) -> list[Row]:
    """Profile calls; the profiler makes all of it slower, so that only shares mean something.

    Returns:
        Function of ours, how often in a call, microseconds of its own and with all it calls.
    """
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(calls):
        call()
    profiler.disable()
    found: list[Row] = []
    stats: dict[Any, Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    for (path, _, name), (_, count, own, whole, _) in stats.items():
        if "django_obc_ai" in path and "/tests/" not in path:
            place = path.rpartition("django_obc_ai/")[2].removesuffix(".py").replace("/", ".")
            found.append([f"{place}.{name}", count / calls, own * 1e6 / calls, whole * 1e6 / calls])
    return sorted(found, key=lambda row: -row[3])[:most]
