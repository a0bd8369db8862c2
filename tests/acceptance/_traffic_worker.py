"""One process that makes calls as it is told: a line of JSON in, a line of JSON out.

python tests/acceptance/_traffic_worker.py FACTS-as-JSON

All times are of `time.monotonic()`, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Note(dict[str, Any]):
    """What became of one call."""

    def __init__(self, prompt: str) -> None:
        super().__init__(prompt=prompt, began=time.monotonic(), first=None, raised="", is_ours=True)

    def end(self, result: Any, error: BaseException | None = None) -> None:
        """Enter the result, and an error that was raised: streams raise ours."""
        from django_obc_ai.exceptions import ConfigurationError, ObcAIError

        self["ended"] = time.monotonic()
        reason = error or getattr(result, "exception", None)
        if error is not None:
            self["raised"] = f"{type(error).__module__}.{type(error).__name__}: {error}"[:300]
        if reason is not None:
            self["is_ours"] = isinstance(reason, (ObcAIError, ConfigurationError))
            until = getattr(reason, "until", None)
            self |= {
                "exception": type(reason).__name__,
                "reason": getattr(reason, "reason", ""),
                "until": None if until is None else until.timestamp(),
                "message": str(reason)[:300],
            }
        self["success"] = error is None and bool(getattr(result, "success", False))
        self["error"] = getattr(result, "error", None) or getattr(reason, "code", None)
        self["text"] = getattr(result, "text", "")
        self["cached"] = bool(getattr(result, "cached", False))


def _sync(service: Any, prompt: str, arguments: dict[str, Any]) -> Note:
    note = Note(prompt)
    try:
        note.end(service.generate_text(prompt, include_context=False, **arguments))
    except BaseException as error:
        note.end(None, error)
    return note


def _stream(service: Any, prompt: str, arguments: dict[str, Any]) -> Note:
    note, pieces = Note(prompt), []
    stream = service.stream_text(prompt, include_context=False, **arguments)
    try:
        for piece in stream:
            note["first"] = note["first"] or time.monotonic()
            pieces.append(piece)
        note.end(stream.result)
    except BaseException as error:
        note.end(stream.result, error)
    note["text"] = "".join(pieces)
    return note


async def _async(service: Any, prompt: str, arguments: dict[str, Any]) -> Note:
    note = Note(prompt)
    try:
        note.end(await service.agenerate_text(prompt, include_context=False, **arguments))
    except BaseException as error:
        note.end(None, error)
    return note


async def _astream(service: Any, prompt: str, arguments: dict[str, Any]) -> Note:
    note, pieces = Note(prompt), []
    stream = service.astream_text(prompt, include_context=False, **arguments)
    try:
        async for piece in stream:
            note["first"] = note["first"] or time.monotonic()
            pieces.append(piece)
        note.end(stream.result)
    except BaseException as error:
        note.end(stream.result, error)
    note["text"] = "".join(pieces)
    return note


WAYS: dict[str, Callable[..., Any]] = {
    "sync": _sync, "async": _async, "stream": _stream, "astream": _astream,
}  # fmt: skip


class Worker:
    """The orders."""

    def __init__(self) -> None:
        from django_obc_ai.services.text import TextService

        self.service = TextService()
        self.runner = asyncio.Runner()  # one loop for all: clients belong to one

    def configure(self, **settings: Any) -> None:
        """Change settings as `override_settings` does, for good."""
        from django.test import override_settings

        override_settings(**settings).enable()

    def scale(self, *, window: float = 60.0, day: float = 86_400.0, lease: float = 15.0) -> None:
        """Make minutes, days and the leases of flights shorter."""
        from django_obc_ai.backends.coordinators import BaseCoordinator
        from django_obc_ai.gateway import ratelimit

        def day_of(_zone: object, at: float) -> tuple[str, float, float]:
            number = int(at // day)
            return f"day {number} of {day:g} s", number * day, (number + 1) * day

        ratelimit.WINDOW_SECONDS, ratelimit.day_of = window, day_of
        ratelimit._days.clear()
        BaseCoordinator.flight_lease_seconds = lease

    def once(
        self, *, way: str, prompt: str, at: float, callers: int, arguments: dict[str, Any]
    ) -> list[Note]:
        """Ask the same from so many threads, or tasks, at one time."""
        ask, notes = WAYS[way], []

        async def gather() -> list[Note]:
            from asgiref.sync import sync_to_async
            from django.db import connections

            await asyncio.sleep(at - time.monotonic())
            given = (self.service, prompt, arguments)
            found = await asyncio.gather(*(ask(*given) for _ in range(callers)))
            await sync_to_async(connections.close_all)()
            return found

        if way.startswith("a"):
            return self.runner.run(gather())

        def work() -> None:
            time.sleep(max(0.0, at - time.monotonic()))
            notes.append(ask(self.service, prompt, arguments))

        _in_threads(work, callers)
        return notes

    def push(
        self,
        *,
        label: str,
        callers: int,
        arguments: dict[str, Any],
        until: float = float("inf"),
        stop: str = "",
        interval: float = 0.0,
        shared: int = 0,
        way: str = "sync",
    ) -> list[Note]:
        """Ask again and again from so many threads.

        Args:
            label: Begins every prompt.
            until: When to stop, or …
            stop: … the file that says so.
            interval: Seconds from one call of a thread to its next, however long it takes.
            shared: Every so manieth prompt is one that other threads ask at about the same time.
        """
        notes: list[Note] = []
        lock, counter = threading.Lock(), iter(range(10**9))

        def work() -> None:
            due = time.monotonic()
            while time.monotonic() < until and not (stop and Path(stop).exists()):
                with lock:
                    number = next(counter)
                prompt = f"{label}: {os.getpid()}-{number}?"
                if shared and number % shared == 0:
                    prompt = f"{label}: shared {int(time.monotonic() * 2)}?"
                asked = WAYS[way](self.service, prompt, arguments)
                if way.startswith("a"):
                    asked = asyncio.run(asked)
                notes.append(asked)
                due = max(due + interval, time.monotonic() - 1.0)
                time.sleep(max(0.0, due - time.monotonic()))

        _in_threads(work, callers)
        return notes


def _in_threads(work: Callable[[], None], count: int) -> None:
    from django.db import connections

    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def main() -> None:
    faulthandler.register(signal.SIGUSR1)
    facts = json.loads(sys.argv[1])
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing else may write among the answers
    import django
    from django.conf import settings

    for name, value in facts["settings"].items():
        setattr(settings, name, value)
    django.setup()
    import google.genai  # noqa: F401 - seconds on a busy machine, in which nothing is measured

    worker = Worker()
    if facts["scale"]:
        worker.scale(**facts["scale"])
    print(json.dumps("ready"), file=out, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(getattr(worker, order.pop("do"))(**order)), file=out, flush=True)


if __name__ == "__main__":
    main()
