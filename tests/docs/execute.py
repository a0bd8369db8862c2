"""Doing what a page says: writing its files, running its commands, comparing its output.

A block is understood by its language:

- ``python`` that begins with a comment ``# some/path.py`` is that file; with ``# some/path.py,
  at the end`` it is added to the file. Other ``python`` blocks run as a script.
- ``html`` that begins with ``{# some/path.html #}`` is that template.
- ``console`` holds commands behind ``$`` and what they print; ``...`` stands for anything.
- ``pycon`` is what somebody types into ``manage.py shell``; it runs as a doctest.

Every page runs in a project directory of its own, with this interpreter.
"""

from __future__ import annotations

import doctest
import re
import shlex
import textwrap
from collections.abc import Sequence
from pathlib import Path

from tests.docs.markdown import Block, blocks
from tests.subprocesses import run_python

_FILE = re.compile(r"(?:\{)?# (?P<path>[\w./-]+\.\w+)(?P<append>, at the end)?(?: #\})?\n")
#: What a reader does to get an environment, which the tests have got already.
#: tests/check_package.sh installs the built wheel into an empty one.
_ENVIRONMENT = ("python -m venv ", ". .venv/", "pip install ", "mkdir ", "cd ")
_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_SHELL = """
import doctest, sys, django
django.setup()
with open(sys.argv[1], encoding="utf-8") as file:
    text = file.read()
test = doctest.DocTestParser().get_doctest(text, {}, "page", sys.argv[1], 0)
runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
sys.exit(bool(runner.run(test).failed))
"""


class Page:
    """One page and the project directory that it is followed in."""

    def __init__(self, path: Path, folder: Path, *, settings: str) -> None:
        """Name the page, the directory and the settings module its shell uses."""
        self._path = path
        self._folder = folder
        self._settings = settings

    def follow(self, languages: Sequence[str] = ("python", "console", "pycon", "html")) -> int:
        """Do everything the page says, in order, and return the number of blocks."""
        done = 0
        for block in blocks(self._path):
            if block.language in languages:
                self._do(block)
                done += 1
        return done

    def _do(self, block: Block) -> None:
        if block.language == "console":
            self._run_commands(block)
        elif block.language == "pycon":
            self._run(block, ["-c", _SHELL, str(self._saved(block, "shell.txt"))])
        elif match := _FILE.match(block.text):
            file = self._folder / match["path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a" if match["append"] else "w", encoding="utf-8") as stream:
                stream.write(("\n\n" if match["append"] else "") + block.text)
        else:
            script = "import django\ndjango.setup()\n" + block.text
            self._run(block, [str(self._saved(block, "script.py", script))])

    def _saved(self, block: Block, name: str, text: str = "") -> Path:
        file = self._folder / f".{block.line}-{name}"
        file.write_text(text or block.text, encoding="utf-8")
        return file

    def _run_commands(self, block: Block) -> None:
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, _, wanted = part.partition("\n")
            if command.startswith(_ENVIRONMENT):
                continue
            program, *arguments = shlex.split(command, comments=True)
            modules = {"python": [], "django-admin": ["-m", "django"], "pytest": ["-m", "pytest"]}
            shown = self._run(block, [*modules[program], *arguments])
            # The pages show a project without extras; where FAISS is installed it is the default.
            shown = shown.replace(
                "store default: FaissVectorStore", "store default: NumpyVectorStore"
            )
            is_same = doctest.OutputChecker().check_output(wanted, shown, _OPTIONS)
            assert is_same or not wanted, f"{self._where(block)}\n{wanted}\n--- but:\n{shown}"

    def _run(self, block: Block, arguments: Sequence[str]) -> str:
        environment = {"DJANGO_SETTINGS_MODULE": self._settings}
        is_creating = "startproject" in arguments
        result = run_python(
            arguments,
            cwd=self._folder,
            path=[self._folder],
            environment={} if is_creating else environment,
        )
        assert result.returncode == 0, f"{self._where(block)}\n{result.stdout}"
        return result.stdout

    def _where(self, block: Block) -> str:
        return f"{self._path.name}:{block.line}"


def run_script(project: Path, script: str, *, settings: str = "mysite.settings") -> str:
    """Run a script in a project that is set up, and return what it prints."""
    result = run_python(
        ["-c", "import django\ndjango.setup()\n" + textwrap.dedent(script)],
        cwd=project,
        path=[project],
        environment={"DJANGO_SETTINGS_MODULE": settings},
    )
    assert result.returncode == 0, result.stdout
    return result.stdout
