"""A task runner whose broker is a folder: other processes may look into it, and switch it off."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from django.db import connections

from django_obc_ai.backends.task_runners import BaseTaskRunner
from django_obc_ai.exceptions import TaskRunnerError
from tests.fakes import entry


class FolderRunner(BaseTaskRunner):
    """Keeps what it was sent, one line each, for whoever wants to run it."""

    def __init__(self, *, path: str) -> None:
        self._path = Path(path)

    def _send(
        self, name: str, arguments: dict[str, Any], *, delay_seconds: float, priority: int
    ) -> None:
        if (self._path / "down").exists():
            raise TaskRunnerError("The broker is down.")
        line = json.dumps([name, arguments]).encode() + b"\n"
        handle = os.open(self._path / "sent", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)


class Folder:
    """What a `FolderRunner` was sent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: The key of `OBC_AI`.
        self.runners = entry(FolderRunner, path=str(path))

    @property
    def sent(self) -> list[tuple[str, dict[str, Any]]]:
        file = self.path / "sent"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(name, arguments) for name, arguments in map(json.loads, lines)]

    def empty(self) -> None:
        (self.path / "sent").unlink(missing_ok=True)

    def set_down(self, is_down: bool) -> None:
        (self.path / "down").touch() if is_down else (self.path / "down").unlink()


def of_this_test(**settings: Any) -> dict[str, Any]:
    """Return the argument of a program of the tests: this test's database, and `OBC_AI`."""
    chosen = connections.databases["default"]
    keys = ("ENGINE", "NAME", "HOST", "PORT", "USER", "OPTIONS")
    return {
        "DATABASES": {"default": {key: chosen[key] for key in keys if key in chosen}},
        "APPS": ["tests.testapp"],
        "OBC_AI": settings,
    }
