"""Checks: what one is, in which order they run, how they are told and counted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
_WORDS = {PASSED: "ok", FAILED: "FAILED", SKIPPED: "skipped"}


class Failed(Exception):
    """The check failed; the message names what was wrong, where, and what to do."""


class Skipped(Exception):
    """The check cannot be made here; the message says why."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question to the site.

    Attributes:
        id: What it is called in output and documentation, such as ``chat-answer``.
        title: What is asked, in a line.
        ask: Returns what was seen, in a line; raises `Failed` or `Skipped`.
        needs: Checks that have to pass first; otherwise this one is skipped.
    """

    id: str
    title: str
    ask: Callable[[Any], str]
    needs: tuple[str, ...] = ()


@dataclass(slots=True)
class Suite:
    """Checks in the order in which they run."""

    name: str
    checks: list[Check] = field(default_factory=list)

    def check(
        self, name: str, title: str, *, needs: tuple[str, ...] = ()
    ) -> Callable[[Callable[[Any], str]], Callable[[Any], str]]:
        """Add the decorated function."""
        known = {each.id for each in self.checks}
        if name in known or not known.issuperset(needs):
            raise ValueError(f"{name} is there already, or comes before what it needs: {needs}")

        def add(ask: Callable[[Any], str]) -> Callable[[Any], str]:
            self.checks.append(Check(name, title, ask, needs))
            return ask

        return add


@dataclass(frozen=True, slots=True)
class Result:
    """What a check found."""

    id: str
    status: str
    text: str
    seconds: float


@dataclass(slots=True)
class Report:
    """Results, and what they add up to."""

    suite: str
    results: list[Result] = field(default_factory=list)

    def add(self, name: str, status: str, text: str, out: TextIO, *, seconds: float = 0) -> None:
        """Add a result, and tell it."""
        self.results.append(Result(name, status, text, seconds))
        print(f"{_WORDS[status]:<8} {name:<20} {text}", file=out, flush=True)

    def count(self, status: str) -> int:
        """Return how many checks ended so."""
        return sum(each.status == status for each in self.results)

    def status(self, name: str) -> str | None:
        """Return how a check ended, None if it did not run."""
        return next((each.status for each in self.results if each.id == name), None)

    @property
    def score(self) -> int:
        """Per cent of the checks that could be made; rounded down, so that 100 is all of them."""
        made = self.count(PASSED) + self.count(FAILED)
        return 100 * self.count(PASSED) // made if made else 0

    @property
    def exit_code(self) -> int:
        """0: none failed, and at least one passed."""
        return int(self.count(FAILED) > 0 or self.count(PASSED) == 0)

    def summary(self) -> str:
        """Return the last line of the output."""
        counts = (f"{self.count(status)} {status}" for status in (PASSED, FAILED, SKIPPED))
        return ", ".join(counts)

    def write(self, path: Path) -> None:
        """Write all as JSON."""
        told = {
            "suite": self.suite,
            "score": self.score,
            "passed": self.count(PASSED),
            "failed": self.count(FAILED),
            "skipped": self.count(SKIPPED),
            "checks": [asdict(each) for each in self.results],
        }
        path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def run(
    suite: Suite,
    context: Any,
    out: TextIO,
    *,
    only: tuple[str, ...] = (),
    report: Report | None = None,
) -> Report:
    """Make all checks, tell each as it ends, and return the report.

    A check that raises anything else than `Failed` or `Skipped` has failed.

    Args:
        suite: What to ask.
        context: Handed to each check.
        out: Where a line for each check goes.
        only: Ids of the checks to make, what they need included; empty for all.
        report: Where results are added as they come.
    """
    report = Report(suite.name) if report is None else report
    for check in _chosen(suite, only):
        began = time.monotonic()
        lacking = [each for each in check.needs if report.status(each) != PASSED]
        if lacking:
            status, text = SKIPPED, f"not tried, since this did not pass: {', '.join(lacking)}"
        else:
            status, text = _outcome(check, context)
        report.add(check.id, status, text, out, seconds=round(time.monotonic() - began, 3))
    return report


def _outcome(check: Check, context: Any) -> tuple[str, str]:
    try:
        return PASSED, check.ask(context)
    except Failed as error:
        return FAILED, str(error)
    except Skipped as error:
        return SKIPPED, str(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the others are asked
        return FAILED, f"{type(error).__name__}: {error}"


def _chosen(suite: Suite, only: tuple[str, ...]) -> Iterator[Check]:
    if unknown := set(only) - {each.id for each in suite.checks}:
        listed = ", ".join(each.id for each in suite.checks)
        raise ValueError(f"There is no check {', '.join(sorted(unknown))}. There are: {listed}.")
    wanted = set(only)
    for check in reversed(suite.checks):  # what is needed stands before
        if check.id in wanted:
            wanted.update(check.needs)
    yield from (each for each in suite.checks if not only or each.id in wanted)
