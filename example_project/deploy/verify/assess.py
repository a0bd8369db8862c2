"""Everything that has to be so before others rely on the site, item by item: scripts/assess.sh.

    python -m deploy.verify.assess [--ai FILE] [--security FILE] [--out FILE] [--json FILE]
                                   [--connect ADDRESS] [--list]

Both verifications are run, and what they say is put to the items of `deploy.verify.criteria`. The
installation folder is OBC_SITE_VAR. Exit codes: 0 nothing failed, 1 something did, 2 called
wrongly, 3 refused.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy import env
from deploy.verify import ai, security
from deploy.verify.assessment import Ran, neutral, write
from deploy.verify.checks import FAILED, PASSED, SKIPPED, Check
from deploy.verify.criteria import AI, GROUPS, SECURITY
from deploy.verify.judging import NOT_HERE, Verdict, judge

_SUITES = {AI: ai.suite, SECURITY: security.suite}
_WORDS = {PASSED: "passed", FAILED: "FAILED", NOT_HERE: "not here"}


class _NotRun(Exception):
    """A verification came to no result; `code` is its own."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class _Results:
    """What one verification said, and when."""

    suite: str
    checks: Mapping[str, tuple[str, str]]
    at: datetime.datetime


def needs() -> dict[tuple[str, str], set[tuple[str, str]]]:
    """Return what has to pass before each check is made, however far back."""
    found: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for name, suite in _SUITES.items():
        for check in suite.checks:  # what is needed stands before
            found[name, check.id] = _back(name, check, found)
    return found


def _back(
    name: str, check: Check, known: Mapping[tuple[str, str], set[tuple[str, str]]]
) -> set[tuple[str, str]]:
    direct = {(name, each) for each in check.needs}
    return direct.union(*(known[each] for each in direct))


def read(suite: str, path: Path) -> _Results:
    """Read what a verification wrote.

    Raises:
        ValueError, OSError: It is no such file.
    """
    told = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(told, dict) or told.get("suite") != suite:
        raise ValueError(f"{path} is not what verify_{suite}.sh --json writes")
    checks = {each["id"]: (each["status"], each["text"]) for each in told["checks"]}
    at = datetime.datetime.fromtimestamp(path.stat().st_mtime, tz=datetime.UTC)
    return _Results(suite, checks, at)


def ask(suite: str, connect: str, folder: Path) -> _Results:
    """Run a verification; its lines go where ours do.

    Raises:
        _NotRun: It was refused, or ended before its end.
    """
    path = folder / f"{suite}.json"
    print(f"== verify_{suite}.sh", flush=True)
    done = subprocess.run(  # noqa: S603 - a module of ours
        [
            sys.executable, "-P", "-m", f"deploy.verify.{suite}",
            "--connect", connect, "--json", str(path),
        ],
        check=False,
    )  # fmt: skip
    if not path.exists():
        raise _NotRun(f"verify_{suite}.sh has no result (exit code {done.returncode}).",
                      done.returncode if done.returncode in (2, 3) else 1)  # fmt: skip
    return read(suite, path)


def tell(verdicts: Sequence[Verdict]) -> None:
    """Print the table: result, item, the command that shows it; and why it did not pass."""
    for group in GROUPS:
        print(f"\n== {group.title}")
        for each in (one for one in verdicts if one.group is group):
            print(f"{_WORDS[each.status]:<9}{each.id:<12}{each.item.what}")
            print(f"{'':<21}{each.item.command}")
            if each.why:
                print(f"{'':<21}why: {each.why}")


def counted(verdicts: Sequence[Verdict]) -> str:
    """Return the last line of the output."""
    totals = (f"{sum(v.status == each for v in verdicts)} {word.lower()}"
              for each, word in _WORDS.items())  # fmt: skip
    return ", ".join(totals)


def listing() -> str:
    """Return every item with the command that shows it, a line each."""
    return "\n".join(
        f"{name}\t{item.what}\t{item.command}"
        for group in GROUPS
        for name, item in group.numbered()
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Assess the installation that the environment names."""
    parser = argparse.ArgumentParser(prog="assess.sh", description="Assess the site's readiness.")
    parser.add_argument("--ai", type=Path, metavar="FILE", help="of verify_ai.sh --json")
    parser.add_argument("--security", type=Path, metavar="FILE", help="of verify_security.sh")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the assessment, in Markdown")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the items there, too")
    parser.add_argument("--connect", default="127.0.0.1", metavar="ADDRESS", help="of the site")
    parser.add_argument("--list", action="store_true", help="print the items, and end")
    options = parser.parse_args(arguments)
    if options.list:
        print(listing())
        return 0
    home = env.home_of(os.environ)
    out: Path = options.out or home / "readiness.md"
    for path in filter(None, (out, options.json)):
        if not path.absolute().parent.is_dir():
            parser.error(f"there is no folder {path.absolute().parent}")
    try:
        found = _results(options)
    except (OSError, ValueError, KeyError, TypeError) as error:
        parser.error(str(error))
    except _NotRun as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    results = {(each.suite, name): told for each in found for name, told in each.checks.items()}
    verdicts = judge(results, needs())
    tell(verdicts)
    ran = [
        Ran(f"verify_{each.suite}.sh", each.at, [status for status, _ in each.checks.values()])
        for each in found
    ]
    write(out, verdicts, others=_others(results), ran=ran, home=home)
    if options.json:
        rows = [{"id": each.id, "status": each.status, "why": each.why} for each in verdicts]
        text = json.dumps({"items": rows}, indent=2)
        options.json.write_text(neutral(text, home) + "\n", encoding="utf-8")
    has_failed = any(status == FAILED for status, _ in results.values())
    is_nothing = all(each.status != PASSED for each in verdicts)
    print(f"\nassessment: {out}")
    print(f"score {Verdict.score(verdicts)}")
    print(counted(verdicts))
    return int(has_failed or is_nothing)


def _results(options: argparse.Namespace) -> list[_Results]:
    """Read what was given, and ask for what was not."""
    with tempfile.TemporaryDirectory(prefix="obc-assess-") as folder:
        return [
            read(suite, given) if given else ask(suite, options.connect, Path(folder))
            for suite, given in ((AI, options.ai), (SECURITY, options.security))
        ]


def _others(results: Mapping[tuple[str, str], tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Return what was asked and belongs to no item."""
    of_items: set[Any] = {
        pair for group in GROUPS for item in group.items for pair in item.checks()
    }
    return {
        f"{suite} {name}": told
        for (suite, name), told in results.items()
        if (suite, name) not in of_items and told[0] != SKIPPED
    }


if __name__ == "__main__":
    sys.exit(main())
