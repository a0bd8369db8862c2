"""One process that submits jobs as it is told: a line of JSON in, a line of JSON out.

python tests/acceptance/_jobs_submitter.py FACTS-as-JSON

The facts are not used: `_jobs_app` knows them. All times are of `time.monotonic()`.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any


class Submitter:
    """The orders."""

    def __init__(self) -> None:
        from django_obc_ai.services.text import GeminiService

        self.service = GeminiService()

    def submit(
        self,
        *,
        person: int,
        label: str,
        count: int,
        stop: str = "",
        pause: float = 0.0,
        atomic: bool = False,
        progress: str = "",
    ) -> list[dict[str, Any]]:
        """Submit so many, or until there is a file, and return what became of each.

        Args:
            person: Whose they are.
            label: Begins every prompt.
            count: How many at most.
            stop: The file that ends it.
            pause: Seconds between two.
            atomic: Whether each is submitted in a transaction.
            progress: A file that gets a line for each, as it is told.
        """
        from contextlib import nullcontext

        from django.contrib.auth import get_user_model
        from django.db import transaction

        from django_obc_ai.exceptions import ObcAIError

        user = get_user_model().objects.get(pk=person)
        notes: list[dict[str, Any]] = []
        for number in range(count):
            if stop and Path(stop).exists():
                break
            prompt = f"{label}: {os.getpid()}-{number}?"
            note: dict[str, Any] = {"prompt": prompt, "began": time.monotonic(), "error": ""}
            try:
                with transaction.atomic() if atomic else nullcontext():
                    job = self.service.submit(
                        prompt, user=user, use_cache=False, include_context=False,
                        max_output_tokens=100,
                    )  # fmt: skip
                note["id"] = str(job.id)
            except ObcAIError as error:
                note["error"] = type(error).__name__
            note["seconds"] = time.monotonic() - note["began"]
            notes.append(note)
            if progress:
                with Path(progress).open("a", encoding="utf-8") as file:
                    file.write(json.dumps(note) + "\n")
            time.sleep(pause)
        return notes

    def ask(self, *, persons: dict[str, int], label: str) -> list[dict[str, Any]]:
        """Ask as each person, in a thread of its own, so many questions one after the other."""
        notes: list[dict[str, Any]] = []

        def work(person: int, count: int) -> None:
            from django.contrib.auth import get_user_model
            from django.db import connections

            user = get_user_model().objects.get(pk=person)
            try:
                for number in range(count):
                    prompt = f"{label}: {person}-{number}?"
                    began = time.monotonic()
                    result = self.service.generate_text(
                        prompt, user=user, use_cache=False, include_context=False,
                        max_output_tokens=100,
                    )  # fmt: skip
                    job = getattr(result.exception, "job_id", None)
                    notes.append({
                        "prompt": prompt, "person": person, "began": began,
                        "ended": time.monotonic(), "error": result.error,
                        "job": None if job is None else str(job), "text": result.text,
                    })  # fmt: skip
            finally:
                connections.close_all()

        threads = [
            threading.Thread(target=work, args=(int(person), count), daemon=True)
            for person, count in persons.items()
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        return notes


def main() -> None:
    faulthandler.register(signal.SIGUSR1)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing else may write among the answers
    from tests.acceptance import _jobs_app  # noqa: F401 - Django is set up by it

    submitter = Submitter()
    print(json.dumps("ready"), file=out, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(getattr(submitter, order.pop("do"))(**order)), file=out, flush=True)


if __name__ == "__main__":
    main()
