"""Threads of the contract suites that leave no connection to the database open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connections

ResultT = TypeVar("ResultT")


class ThreadsWithConnections:
    """For suites of backends in the database; stands before the contract."""

    def run_threads(self, work: Callable[[int], ResultT], numbers: Sequence[int]) -> list[ResultT]:
        def step(number: int) -> ResultT:
            try:
                return work(number)
            finally:
                connections.close_all()

        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(step, numbers))
