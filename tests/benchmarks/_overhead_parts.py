"""Where the time of a call goes: what it waits for, and which of our functions work."""

from __future__ import annotations

import cProfile
import pstats
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

Row = list[Any]
#: The modules through which others ask Redis: who they ask for is their caller.
_MESSENGERS = ("redis_link.py", "_overhead_parts.py")
#: How far above a message its sender may be.
_FRAMES = 12


class _Clock:
    """Adds up times by name; a wait within another belongs to the outer one."""

    def __init__(self) -> None:
        self.count: dict[str, int] = defaultdict(int)
        self.seconds: dict[str, float] = defaultdict(float)
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
                self.seconds[name] += time.perf_counter() - began


def _caller() -> str:
    """Return the nearest public function of ours that asks, as "module.function()"."""
    frame = sys._getframe(2)
    for _ in range(_FRAMES):
        path, name = Path(frame.f_code.co_filename), frame.f_code.co_name
        is_ours = "django_obc_ai" in path.parts and path.name not in _MESSENGERS
        if is_ours and not name.startswith(("_", "<")):
            return f"{path.stem}.{name}()"
        if frame.f_back is None:
            break
        frame = frame.f_back
    return "another"


def _statement(sql: str) -> str:
    found = re.match(r'(\w+).*?(?:FROM|INTO|UPDATE)?\s+"(\w+)"', sql, re.DOTALL)
    return f"{found[1]} {found[2]}" if found else " ".join(sql.split()[:2])


def parts(call: Callable[[], object], calls: int) -> list[Row]:
    """Time what a call waits for, without a profiler.

    Returns:
        Name, how often in a call, and milliseconds in a call; the whole last.
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
        stack.enter_context(wrap(RedisLink, "_send", lambda: f"Redis: {_caller()}"))
        for name in ("get", "set", "add", "get_many", "set_many", "incr"):
            stack.enter_context(wrap(RedisCacheClient, name, lambda: f"Redis: {_caller()}"))
        provider = type(providers["default"])
        stack.enter_context(wrap(provider, "generate", lambda: "the provider, SDK and HTTP"))
        stack.enter_context(connection.execute_wrapper(statement))
        began = time.perf_counter()
        for _ in range(calls):
            call()
        whole = time.perf_counter() - began
    rows: list[Row] = [
        [name, clock.count[name] / calls, seconds * 1000 / calls]
        for name, seconds in sorted(clock.seconds.items(), key=lambda each: -each[1])
    ]
    rest = whole - sum(clock.seconds.values())
    return [*rows, ["Python around these", 1, rest * 1000 / calls], ["", 1, whole * 1000 / calls]]


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
