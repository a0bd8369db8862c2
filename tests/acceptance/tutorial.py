"""The tutorial from an empty directory, and search and chat for sites that nobody here wrote.

Everything is typed as it is written, by a shell, in fresh virtual environments into which `pip`
puts the built wheel. The quickstart runs on Python 3.11 and on the newest interpreter; at its end
its own server is asked over HTTP. Then sites are made of other people's apps, get the blocks of
"Add search and chat to an existing site", and are asked: a search must find the right row and none
that is hidden, and what the chat counts must equal what the ORM counts without the page's rule.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, build_opener

sys.path.insert(0, str(Path(__file__).parent))
from _api_report import Report
from _sites import KINDS, prove_site
from _typed_page import Reader, TypedPage, cpu_seconds

from tests.docs.conftest import QUICKSTART
from tests.subprocesses import ROOT

_SMALL = "wiki"  # the site of the reduced proof
_WORDS_A_MINUTE = 200
_VERSIONS = "import sys, django; print(sys.version.split()[0], django.get_version())"
_RECORD = (
    "import importlib.metadata as m; print(m.distribution('django-obc-ai').read_text('RECORD'))"
)
_TUTORIAL = [
    "Python",
    "Django",
    "seconds",
    "of them pip",
    "CPU s",
    "blocks",
    "the chat page, asked",
]
_SITES = [
    "site", "versions", "made in s (pip)", "lines added", "with blank ones",
    "s to the first answers", "CPU s in all", "search", "hidden", "chat",
    "by the ORM",
]  # fmt: skip


_REDUCED = (
    "At reduced size: one interpreter and one site, both at once, so that the seconds of the clock"
    " and of the processor are those of both."
)
_ABOUT_SITES = """\
All on the newest interpreter. Lines are counted over all files, comments too. Hidden rows are in
the index; `visible_to` alone keeps them back. The chat's figure is compared with the last column:
what the ORM counts by a condition of its own, of all rows there are. Everything is asked in code
and over HTTP, by somebody who logged in; without a login there is no answer."""


def build_wheel(folder: Path) -> Path:
    """Build the wheel, as prepare.sh does."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, cwd=folder)
    return next(folder.glob("*.whl"))


def interpreter(*which: str) -> str:
    """Return the path of a Python."""
    command = [str(ROOT / "tests" / "find_python.sh"), *which]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def expect_wheel(reader: Reader, wheel: Path, report: Report) -> None:
    """Note a fault if the package that pip installed is not the one that was built."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(each for each in archive.namelist() if each.endswith(".dist-info/RECORD"))
        built = {line for line in archive.read(name).decode().split() if ",sha256=" in line}
    installed = set(reader.run(["-c", _RECORD]).split())
    report.expect(bool(built) and built <= installed, "pip installed another django-obc-ai")


class Browser:
    """Somebody who logs in and asks, as a browser without JavaScript does."""

    def __init__(self, address: str) -> None:
        """Wait until the server answers."""
        self.address = address
        self.opener: OpenerDirector = build_opener(HTTPCookieProcessor(CookieJar()))
        deadline = time.monotonic() + 60
        while True:
            try:
                self.page = self._open("/chat/")
                return
            except URLError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _open(self, path: str, data: bytes | None = None) -> str:
        with self.opener.open(self.address + path, data, timeout=60) as answer:
            self.path = answer.url.removeprefix(self.address)
            return str(answer.read().decode())

    def send(self, path: str, **fields: str) -> str:
        """Send the form of the page that is open."""
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.page)
        assert token, f"{self.path} has no form"
        data = urlencode({"csrfmiddlewaretoken": token[1], **fields}).encode()
        self.page = self._open(path, data)
        return self.page


def prove_tutorial(python: str, home: Path, wheel: Path, report: Report) -> list[str]:
    """Follow the quickstart; return the cells of its row."""
    reader = Reader(home, python, wheel.parent)
    began, used = time.monotonic(), cpu_seconds()
    page = TypedPage(QUICKSTART, reader)
    done = page.follow()
    taken, used = time.monotonic() - began, cpu_seconds() - used
    expect_wheel(reader, wheel, report)
    report.expect(page.has_served, "the quickstart does not start the server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with reader.serving(port) as address:
        browser = Browser(address)
        report.expect("/admin/login/" in browser.path, f"without a login: {browser.path}")
        browser.send(browser.path, username="amina", password="six paces east", next="/chat/")
        report.expect(browser.path == "/chat/", f"after the login: {browser.path}")
        counted = browser.send("/chat/", message="How many clinics are there?")
        found = browser.send("/chat/", message="Find dental care")
    is_right = "There are 5 clinics" in counted and "Jolo Dental Clinic" in found
    report.expect(is_right, f"{python}: the chat page does not count, or does not search")
    versions = reader.run(["-c", _VERSIONS]).split()
    print(f"quickstart on {versions}: {taken:.0f} s", flush=True)
    answers = "counts and searches" if is_right else "FAILS"
    installing = f"{reader.installing_seconds:.0f}"
    return [*versions, f"{taken:.0f}", installing, f"{used:.0f}", str(done), answers]


def attempt(what: str, report: Report, prove, *given) -> list[str]:
    """Prove one thing; what it raises is a fault, and the others are proved all the same."""
    try:
        return prove(*given, report)
    except Exception as error:
        report.fault(f"{what}: {error}")
        return [what, "FAILED"]


def reading() -> str:
    """Return what a person adds to the times of the machine."""
    words = len(QUICKSTART.read_text(encoding="utf-8").split())
    return (
        "What the machine takes is measured, with nobody in front of it. To read the page's"
        f" {words:,} words, code included, takes {words / _WORDS_A_MINUTE:.0f} minutes at"
        f" {_WORDS_A_MINUTE} words a minute."
    )


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a table."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--site", action="append", default=[], choices=list(KINDS))
    parser.add_argument("--out", required=True)
    given = parser.parse_args()
    report, began = Report(), time.monotonic()
    oldest, newest = interpreter("3.11"), interpreter("--newest")
    sites = given.site or ([_SMALL] if given.small else list(KINDS))
    pythons = [] if given.site else [oldest] if given.small else [oldest, newest]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        (folder / "wheels").mkdir()
        wheel = build_wheel(folder / "wheels")
        # Times are told at full size alone, where one goes after the other.
        with ThreadPoolExecutor(2 if given.small else 1) as pool:
            tutorials = [
                pool.submit(
                    attempt, f"Quickstart {number}", report,
                    prove_tutorial, python, folder / f"tutorial{number}", wheel,
                )
                for number, python in enumerate(pythons)
            ]  # fmt: skip
            made = [
                pool.submit(
                    attempt, name, report,
                    prove_site, name, Reader(folder / name, newest, wheel.parent),
                )
                for name in sites
            ]  # fmt: skip
            tutorial_rows = [each.result() for each in tutorials]
            site_rows = [each.result() for each in made]
    lines = [
        "# The tutorial, and sites of others", "", (__doc__ or "").strip(), "",
        f"{os.cpu_count()} cores, {platform.system()}, {time.monotonic() - began:.0f} s in all.",
        f"Command: `./tests/acceptance/run.sh tutorial{' --small' * given.small}`", "",
        *([_REDUCED, ""] if given.small else []),
        "## Quickstart", "", reading(), "", *table(_TUTORIAL, tutorial_rows), "",
        "## Sites", "", _ABOUT_SITES, "", *table(_SITES, site_rows), "",
    ]  # fmt: skip
    Path(given.out).write_text("\n".join(lines), encoding="utf-8")
    raise SystemExit("\n".join(report.faults) or 0)


if __name__ == "__main__":
    main()
