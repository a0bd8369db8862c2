"""Following a page word for word: by a shell, from an empty folder, with nothing prepared.

tests/docs follows the same pages with the interpreter that has everything. Here `pip install`, `cd`
and the rest are done as they are written, by a shell that remembers where it is.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.docs.execute import Page, commands_of
from tests.docs.markdown import Block

_SERVER = "python manage.py runserver"
#: Of the one who runs the proof, and none of a reader's.
_NOT_READERS = re.compile(r"PYTHON|VIRTUAL_ENV$|DJANGO|OBC_|DATABASE_URL$|REDIS_URL$|_?COVERAGE")
_AFTERWARDS = 'status=$?; env -0 >"$1.env"; pwd >"$1.pwd"; exit $status'
_LIMIT_SECONDS = 600


def cpu_seconds() -> float:
    """Return what ended subprocesses have used so far, whoever else was on the machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Reader:
    """Somebody with a shell, in a folder, who follows pages one after the other.

    Attributes:
        installing_seconds: What the commands of pip and venv took so far.
    """

    def __init__(self, home: Path, python: str, wheels: Path) -> None:
        """Give the reader an empty folder, a `python` and a folder of wheels that pip knows."""
        self.home = home
        self.folder = home / "empty"
        self.folder.mkdir(parents=True)
        programs = home / "bin"
        programs.mkdir()
        (programs / "python").write_text(f'#!/bin/sh\nexec "{python}" "$@"\n')
        (programs / "python").chmod(0o755)
        kept = {name: v for name, v in os.environ.items() if not _NOT_READERS.match(name)}
        self.environment = {
            **kept,
            "PATH": f"{programs}{os.pathsep}{kept['PATH']}",
            "PIP_FIND_LINKS": str(wheels),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "NO_COLOR": "1",
        }
        self.installing_seconds = 0.0

    def type(self, command: str) -> str:
        """Run a command of the shell; return what it prints, errors too.

        Raises:
            AssertionError: It failed.
        """
        began, state = time.monotonic(), self.home / "state"
        done = subprocess.run(
            ["bash", "-c", f"{command}\n{_AFTERWARDS}", "bash", str(state)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_LIMIT_SECONDS,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}"
        left = Path(f"{state}.env").read_text().split("\0")
        self.environment = dict(each.split("=", 1) for each in left if "=" in each)
        self.folder = Path(Path(f"{state}.pwd").read_text().removesuffix("\n"))
        if command.startswith(("pip ", "python -m venv ")):
            self.installing_seconds += time.monotonic() - began
        return done.stdout

    def run(self, arguments: Sequence[str]) -> str:
        """Run `python` with arguments; return what it prints.

        Raises:
            AssertionError: It failed.
        """
        python = shutil.which("python", path=self.environment["PATH"])
        done = subprocess.run(
            [str(python), *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_LIMIT_SECONDS,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    @contextmanager
    def serving(self, port: int) -> Iterator[str]:
        """Run the project's `runserver`, at a port that is free; yield its address."""
        log = self.home / "server.log"
        with log.open("w") as stream:
            server = subprocess.Popen(
                ["bash", "-c", f"exec {_SERVER} --noreload {port}"],
                cwd=self.folder,
                env=self.environment,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        try:
            yield f"http://localhost:{port}"
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=60)


class TypedPage(Page):
    """A page that a reader follows.

    Attributes:
        has_served: Whether the page says to run the server.
    """

    def __init__(self, path: Path, reader: Reader) -> None:
        """Name the page; it is followed where the reader is."""
        super().__init__(path, reader.folder, settings="")
        self._reader = reader
        self.has_served = False

    def _run_commands(self, block: Block) -> None:
        for command, wanted in commands_of(block):
            if command == _SERVER:
                self.has_served = True  # it does not end; see Reader.serving
                continue
            self._compare(block, wanted, self._reader.type(command))
            self._folder = self._reader.folder

    def _run(self, block: Block, arguments: Sequence[str]) -> str:
        if arguments[0] == "-c":  # what is typed into the project's own shell
            driver, *given = arguments[1:]
            driver = f"import sys\nsys.argv = {['', *given]!r}\n{driver}"
            arguments = ["manage.py", "shell", "--verbosity=0", "-c", driver]
        try:
            return self._reader.run(arguments)
        except AssertionError as error:
            raise AssertionError(f"{self._where(block)}\n{error}") from None
