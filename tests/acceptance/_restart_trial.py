"""One project whose Redis is killed while it calls; see redis_restart.py."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.acceptance._budget_bills import cost_of
from tests.acceptance._limits_checks import most_in_window
from tests.acceptance._traffic import DEADLINE, Crew, Site, foreign

PROCESSES, CALLERS = 4, 4
WINDOW, LIMIT = 2.0, 40
#: What is under way when Redis dies ends within so many seconds.
GRACE = 1.0
BUDGET = {"BUDGETS": [{"scope": "global", "period": "day", "limit_usd": "100"}]}
BATCHED = {"LOG": {"rows": "batched"}}
#: What differs in OBC_AI, and whether Redis keeps its data.
TRIALS: dict[str, tuple[dict[str, Any], bool]] = {
    "budget": (BUDGET, False),
    "budget, kept": (BUDGET, True),
    "no budget": ({}, False),
    "no budget, kept": ({}, True),
    "budget, rows in batches": ({**BUDGET, **BATCHED}, False),
    "budget, rows in batches, kept": ({**BUDGET, **BATCHED}, True),
}


class Trial:
    """One of the trials."""

    def __init__(self, name: str, stack: ExitStack, *, outages: int, seconds: float) -> None:
        from tests.servers.valkey import run_redis

        self.name, self.stack, self.outages, self.seconds = name, stack, outages, seconds
        changed, is_kept = TRIALS[name]
        self.has_budget = "BUDGETS" in changed
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) if is_kept else None
        self.run: Callable[..., Any] = lambda port=None: run_redis(port, kept_in=folder)
        self.redis = self.run()
        self.server = self.redis.__enter__()
        stack.callback(lambda: self.redis.__exit__(None, None, None))
        self.site = Site("redis", stack, redis=self.server)
        limits = {
            "per_minute": LIMIT, "tokens_per_minute": None, "per_day": None,
            "when_exceeded": "wait",
        }  # fmt: skip
        self.changed = {
            **changed, "RATE_LIMITS": {"default": limits}, "RETRY": {"deadline_seconds": 10.0},
        }  # fmt: skip
        from django.conf import settings

        settings.OBC_AI = self.site.settings(**self.changed)["OBC_AI"]
        self.faults: list[str] = []

    def expect(self, claim: bool, why: str) -> None:
        if not claim:
            print(f"{self.name}: {why}", flush=True)
            self.faults.append(f"{self.name}: {why}")

    def call_on(self) -> tuple[list[Any], list[tuple[float, float, float]]]:
        """Let all processes call, with outages in between.

        Returns:
            The calls; of each outage when Redis died, when another answered, and how many seconds
            later its limits were counted there again.
        """
        from tests.servers.gemini import replies

        crew = Crew(self.site, PROCESSES, scale={"window": WINDOW}, **self.changed)
        answer = replies.answer("word " * 12, delay_seconds=0.05)
        self.site.gemini.script(answer, is_repeated=True)
        stop = self.site.folder / "stop"
        for number in range(PROCESSES):
            crew.order(
                number, "push", label="Q", callers=CALLERS, stop=str(stop), interval=0.05,
                shared=4, way="async" if number == 0 else "sync",
                arguments={"max_output_tokens": 40},
            )  # fmt: skip
        outages = []
        self.until_warm()
        time.sleep(max(self.seconds, 1.5 * WINDOW))
        for _ in range(self.outages):
            died = time.monotonic()
            os.kill(self.server.pid, signal.SIGKILL)
            self.redis.__exit__(None, None, None)
            time.sleep(self.seconds)
            self.redis = self.run(self.server.port)
            self.server = self.redis.__enter__()
            up = time.monotonic()
            outages.append((died, up, self.until_shared(up)))
            time.sleep(self.seconds + 2 * WINDOW)
        stop.touch()
        notes = [each for found in crew.wait(range(PROCESSES), DEADLINE) for each in found]
        crew.end()
        return notes, outages

    def until_warm(self) -> None:
        """Wait until calls are answered: a new store first waits for calls that are under way."""
        end = time.monotonic() + DEADLINE
        while len(self.site.gemini.journal) < 10 * PROCESSES:
            if time.monotonic() > end:
                raise SystemExit(f"{self.name}: no calls are answered.")
            time.sleep(0.1)

    def until_shared(self, up: float) -> float:
        from django_obc_ai.backends.coordinators import coordinators
        from django_obc_ai.exceptions import CoordinatorError
        from django_obc_ai.types.coordination import Limits

        limits = Limits(requests=LIMIT, window_seconds=WINDOW)
        while time.monotonic() < up + DEADLINE:
            try:
                if coordinators["default"].gate_state("default", limits).requests:
                    return time.monotonic() - up
            except CoordinatorError:
                pass
            time.sleep(0.05)
        self.expect(False, f"no limits were shared {DEADLINE:.0f} s after Redis was back")
        return DEADLINE

    def prove(self) -> str:
        """Return the row of the table."""
        notes, outages = self.call_on()
        journal = self.site.gemini.journal
        arrivals = [entry.started for entry in journal]
        wrong = foreign(notes) + [each["raised"] for each in notes if each["raised"]]
        self.expect(not wrong, f"exceptions: {wrong[:3]}")
        first = outages[0][0]
        most = most_in_window([at for at in arrivals if at < first], WINDOW)
        self.expect(0 < most <= LIMIT, f"{most} requests in a window before it")
        said: Counter[str] = Counter()
        sent = 0
        recovered = []
        for died, up, _ in outages:
            for each in notes:
                if died + GRACE < each["began"] < up:
                    when = "" if each["ended"] < up else " when it was back"
                    said["answered" + when if each["success"] else each["exception"]] += 1
            down = [at for at in arrivals if died + GRACE < at < up]
            sent += len(down)
            most = most_in_window(down, WINDOW) if down else 0
            self.expect(most <= LIMIT * PROCESSES, f"{most} requests in a window without Redis")
            after = [each["ended"] for each in notes if each["success"] and each["began"] >= up]
            recovered.append(min(after, default=up + DEADLINE) - up)
        self.expect(max(recovered) < DEADLINE, "no call was answered after Redis was back")
        if self.has_budget:
            self.expect(sent == 0, f"{sent} requests were sent though no budget could be held")
        else:
            self.expect(said["answered"] > 0, f"no call was answered without Redis: {said}")
        settled = [at for at in arrivals if at > arrivals[-1] - self.seconds]
        most = most_in_window(settled, WINDOW)
        self.expect(most <= LIMIT, f"{most} requests in a window at the end")
        shared = max(each for _, _, each in outages)
        asked = ", ".join(f"{count} {name}" for name, count in said.most_common())
        return (
            f"| {self.name} | {len(notes)} | {len(outages)} | {asked} | {max(recovered):.1f} s |"
            f" {shared:.1f} s | {self.compare(journal)} |"
        )

    def compare(self, journal: Any) -> str:
        """Compare the ledger with what the server was asked and has billed."""
        from django.db.models import Sum

        from django_obc_ai.gateway import ledger, recovery
        from django_obc_ai.models import AIOperation
        from django_obc_ai.types import nano_from_usd

        time.sleep(2.5)  # a lease of the holds that died with Redis
        while ledger.drain("default").stored:
            pass
        recovery.sweep()
        rows = AIOperation.objects
        made = rows.filter(cached=False, coalesced=False)
        attempts = made.aggregate(sum=Sum("attempts"))["sum"]
        bill = sum(cost_of(entry.billed) for entry in journal)
        booked = nano_from_usd(rows.all().total_cost())
        self.expect(attempts == len(journal), f"{attempts} attempts of {len(journal)} in rows")
        self.expect(booked == bill, f"{booked} nano-dollars booked of {bill} billed")
        left = f"${(booked - bill) / 1e9:.9f}"
        return f"{attempts} attempts in rows, {len(journal)} at the server; difference {left}"
