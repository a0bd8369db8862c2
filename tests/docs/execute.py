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
import itertools
import re
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.docs.markdown import Block, blocks, lines_below
from tests.extras import is_installed
from tests.subprocesses import run_python

_FILE = re.compile(r"(?:\{)?# (?P<path>[\w./-]+\.\w+)(?P<append>, at the end)?(?: #\})?\n")
#: What a reader does to get an environment, which the tests have got already, and to see the site.
#: tests/acceptance/tutorial.py does that, too, with the built wheel.
_ENVIRONMENT = ("python -m venv ", ". .venv/", "pip install ", "mkdir ", "cd ")
_SERVER = "python manage.py runserver"
#: The chat page needs an extra, which the minimal environment of the tests has not got.
_CHAT_PAGE = 'include("django_obc_ai.widget.urls")'
#: In front of a command, as the shell takes them.
_VARIABLE = re.compile(r"[A-Z_]+=")
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


def _without_chat_page(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if _CHAT_PAGE not in line)


def commands_of(block: Block) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with what it prints."""
    parts = [part.partition("\n") for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]]
    return [(command, wanted) for command, _, wanted in parts]


class Page:
    """One page and the project directory that it is followed in."""

    def __init__(self, path: Path, folder: Path, *, settings: str) -> None:
        """Name the page, the directory and the settings module its shell uses."""
        self._path = path
        self._folder = folder
        self._settings = settings

    def follow(
        self,
        languages: Sequence[str] = ("python", "console", "pycon", "html"),
        *,
        below: str | None = None,
    ) -> int:
        """Do everything the page says, or all below a heading, and return the number of blocks."""
        lines = lines_below(self._path, below) if below else None
        done = 0
        for block in blocks(self._path):
            if block.language in languages and (lines is None or block.line in lines):
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
            text = block.text if is_installed("nh3") else _without_chat_page(block.text)
            with file.open("a" if match["append"] else "w", encoding="utf-8") as stream:
                stream.write(("\n\n" if match["append"] else "") + text)
        else:
            script = "import django\ndjango.setup()\n" + block.text
            self._run(block, [str(self._saved(block, "script.py", script))])

    def _saved(self, block: Block, name: str, text: str = "") -> Path:
        file = self._folder / f".{block.line}-{name}"
        file.write_text(text or block.text, encoding="utf-8")
        return file

    def _run_commands(self, block: Block) -> None:
        for command, wanted in commands_of(block):
            if command.startswith((*_ENVIRONMENT, _SERVER)):
                continue
            words = shlex.split(command, comments=True)
            given = list(itertools.takewhile(_VARIABLE.match, words))
            program, *arguments = words[len(given) :]
            modules = {"python": [], "django-admin": ["-m", "django"], "pytest": ["-m", "pytest"]}
            variables = dict(each.split("=", 1) for each in given)
            shown = self._run(block, [*modules[program], *arguments], variables)
            self._compare(block, wanted, shown)

    def _compare(self, block: Block, wanted: str, shown: str) -> None:
        # The pages show a project without extras; where FAISS is installed it is the default.
        shown = shown.replace("store default: FaissVectorStore", "store default: NumpyVectorStore")
        is_same = doctest.OutputChecker().check_output(wanted, shown, _OPTIONS)
        assert is_same or not wanted, f"{self._where(block)}\n{wanted}\n--- but:\n{shown}"

    def _run(
        self, block: Block, arguments: Sequence[str], variables: Mapping[str, str] | None = None
    ) -> str:
        environment = {"DJANGO_SETTINGS_MODULE": self._settings, **(variables or {})}
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
