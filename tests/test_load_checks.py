"""What the proof of the load judges by finds what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from tests.acceptance._api_report import Report
from tests.acceptance._load_books import is_bad
from tests.acceptance._load_figures import JUDGED, Figures
from tests.acceptance._load_samples import Samples, Use, use_of

MB = 1_000_000
MINUTES = 10


def _figures(own: Callable[[float], float], files: Callable[[float], float]) -> Figures:
    """Figures of ten minutes in which a program's memory and files are such, by the minute."""
    samples = Samples()
    samples.at = [5.0 * n for n in range(MINUTES * 12)]
    for name in JUDGED:
        samples.uses[name] = [
            Use(user=at / 100, system=at / 200, memory=0, own=int(own(at / 60)),
                files=int(files(at / 60)), processes=1)
            for at in samples.at
        ]  # fmt: skip
    return Figures(SimpleNamespace(), {}, [], samples, Report())  # type: ignore[arg-type]


def _warm_up(minute: float) -> float:
    return min(500, 100 + 200 * minute) * MB


def test_a_program_that_warms_up_and_breathes_is_flat() -> None:
    figures = _figures(lambda m: _warm_up(m) + 3 * MB * (m % 2), lambda m: 100 + m % 3)
    figures.growth()
    assert figures.report.faults == []


def test_a_leak_is_seen() -> None:
    figures = _figures(lambda m: _warm_up(m) + 6 * MB * m, lambda m: 100)
    figures.growth()
    assert len(figures.report.faults) == len(JUDGED)
    assert "grew by 20.0 MB" in figures.report.faults[0]


def test_files_that_are_left_open_are_seen() -> None:
    figures = _figures(_warm_up, lambda m: 100 + 10 * m)
    figures.growth()
    assert len(figures.report.faults) == len(JUDGED)


def test_time_is_told_by_mode_and_growth_by_the_minute() -> None:
    samples = _figures(lambda m: 7 * MB * m, lambda m: 0).samples
    assert samples.cpu("web") == pytest.approx((0.01, 0.015))
    assert samples.slope([each.own for each in samples.uses["web"]]) == pytest.approx(7 * MB)


def test_a_process_is_counted_with_its_children() -> None:
    alone = use_of(os.getpid())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        both = use_of(os.getpid())
        child.communicate(b"\n")
    assert both.processes == alone.processes + 1 and both.files > alone.files > 2
    assert alone.own > MB and both.memory > both.own
    assert use_of(child.pid) == use_of(0) == Use(
        user=0, system=0, memory=0, own=0, files=0, processes=0
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"level": "INFO", "message": "ERROR"}', False),
        ('{"level": "WARNING", "message": "fine"}', True),
        ("2026-11-29T17:34:19Z WARNING django_obc_ai.calls calls.failed: chat", True),
        ("2026-11-29T17:34:19Z INFO django_obc_ai.calls calls.made: chat", False),
        ("2026/11/29 17:34:19 [error] 12#12: upstream prematurely closed", True),
        ("2026/11/29 17:34:19 [notice] 12#12: start worker processes", False),
        ("2026-11-29 17:34:19.6 UTC [12] FATAL:  sorry, too many clients already", True),
        ("Traceback (most recent call last):", True),
    ],
)
def test_lines_that_tell_of_errors_are_found(line: str, expected: bool) -> None:
    assert is_bad(line) is expected
