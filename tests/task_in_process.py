"""One process that saves places or runs tasks: ``python -m tests.task_in_process JSON``.

JSON holds what `tests.task_runners.of_this_test` returns, and "save": how many places, "run": names
and arguments of tasks, or "call": functions by dotted path. Prints names and what was returned.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from django_obc_ai.backends.embedders.hashing import HashingEmbedder
from tests.in_process import begin, wait_for_the_others


class StuckEmbedder(HashingEmbedder):
    """The default embedder, but that it tells by a file that it was asked, and never answers."""

    def __init__(self, *, path: str) -> None:
        super().__init__()
        self._path = path

    def embed_documents(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[np.float32]:
        Path(self._path).touch()
        os.read(os.pipe()[0], 1)
        raise AssertionError("nobody writes there")


def main() -> None:
    given = begin()
    from django.db import connections
    from django.utils.module_loading import import_string

    from django_obc_ai.services import tasks
    from tests.testapp.models import Place

    Place.objects.count()  # connects
    wait_for_the_others()
    for number in range(given.get("save", 0)):
        Place.objects.create(name=f"{os.getpid()} {number}", province="Sulu")
    said: list[Any] = []
    for name, arguments in given.get("run", []):
        tasks.run(name, arguments)
        said.append(name)
    said += [import_string(path)() for path in given.get("call", [])]
    connections.close_all()
    print(json.dumps(said))


if __name__ == "__main__":
    main()
