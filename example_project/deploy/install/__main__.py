"""``python -m deploy.install``: what scripts/deploy_ai.sh runs; its head comment describes all."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from pathlib import Path

from deploy import render
from deploy.backups.problems import Refused, run, say
from deploy.install.decisions import Decision, Misused, Options, decide
from deploy.install.steps import Installation

SITE = Path(__file__).resolve().parents[2]


def default_home() -> Path:
    """Return the installation folder as _lib.sh finds it."""
    if given := os.environ.get("OBC_SITE_VAR"):
        return Path(given)
    around = SITE.parent.parent
    return around.parent if around.name == "releases" else SITE / "var" / "production"


def read_options(arguments: list[str] | None = None) -> Options:
    """Read the command line.

    Raises:
        Misused: It asks for what cannot be.
    """
    parser = argparse.ArgumentParser(prog="deploy_ai.sh", add_help=False, allow_abbrev=False)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--host", action="append", default=[])
    parser.add_argument("--http-port")
    parser.add_argument("--https-port")
    parser.add_argument("--set", action="append", default=[], dest="changed")
    parser.add_argument("--keep-releases", type=int, default=5)
    parser.add_argument("--venv", type=Path)
    for name in ("yes", "dry-run", "skip-database", "no-start", "no-verify"):
        parser.add_argument(f"--{name}", action="store_true")
    given = parser.parse_args(arguments)
    if given.keep_releases < 2:
        raise Misused(
            f"--keep-releases {given.keep_releases}: 2 is the least, to be able to go back."
        )
    changed = {}
    for each in given.changed:
        name, equals, value = each.partition("=")
        if not equals:
            raise Misused(f"--set {each} has no value: write --set {each}=VALUE.")
        changed[name.strip()] = value.strip()
    for name in ("http_port", "https_port"):
        if (value := getattr(given, name)) is not None:
            changed[name] = value
    hosts = ",".join(given.host) or changed.pop("hosts", "")
    home = (given.home or default_home()).absolute()
    home = home.parent.resolve() / home.name if not home.exists() else home.resolve()
    data = SITE / "var"
    is_data = home.is_relative_to(data) and home != data
    code = [SITE, SITE.parent / "django_obc_ai"]
    if home == SITE.parent or (any(home.is_relative_to(each) for each in code) and not is_data):
        raise Misused(f"--home {home} lies in the code: choose a folder outside, or in {data}.")
    return Options(
        home=home,
        source=SITE.parent,
        hosts=hosts,
        changed=changed,
        keep_releases=given.keep_releases,
        venv=given.venv.absolute() if given.venv else None,
        is_dry=given.dry_run,
        is_sure=given.yes,
        skips_database=given.skip_database,
        starts=not given.no_start,
        verifies=not given.no_verify,
    )


def lock(home: Path) -> int:
    """Be the only one that installs here, as long as this process lives.

    Raises:
        Refused: Somebody else is at it.
    """
    (home / "run").mkdir(exist_ok=True)
    file = os.open(home / "run" / "deploy.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise Refused(
            f"Another deploy_ai.sh or rollback.sh works in {home}: wait for its end."
        ) from None
    return file


def describe(options: Options, decision: Decision) -> None:
    """Say what is going to be."""
    home = options.home
    made = "is made, mode 0600" if decision.is_new else "stays as it is"
    say(f"== {'Would install' if options.is_dry else 'Installs'} the site")
    say(f"   folder:      {home}{'' if (home / 'current').exists() else ' (new)'}")
    say(f"   code:        {options.source}")
    say(f"   settings:    {home / '.env'} {made}")
    say(f"   database:    {decision.database()}{'; left alone' * options.skips_database}")
    say(f"   redis:       {decision.redis()}")
    say(f"   address:     {decision.origin}")
    say(f"   answers:     {decision.answers()}")
    for note in decision.notes:
        say(f"   note: {note}")


def main() -> int:
    """Install, or say what would be."""
    options = read_options()
    existing = next(each for each in (options.home, *options.home.parents) if each.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        raise Misused(
            f"{existing} is closed to this user: choose another --home, or make it yours."
        )
    installation = Installation(options)
    if options.is_dry:
        installation.machine()
        describe(options, decide(options, os.environ))
        say("== Dry run: nothing was changed.")
        return 0
    if not options.is_sure and not sys.stdin.isatty():
        raise Misused("There is no terminal to ask at. With --yes it goes on without asking.")
    try:
        render.values(str(options.home), render.HOSTS, options.changed)
    except render.CannotRender as error:
        raise Misused(str(error)) from None
    if not options.is_sure:
        installation.machine()
        describe(options, decide(options, os.environ))
        if input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
            say("Nothing was changed.")
            return 0
    if not options.home.exists():
        options.home.mkdir(parents=True)
        options.home.chmod(0o750)  # the group is the web server's
    holder = lock(options.home)
    try:
        installation.install()
    finally:
        os.close(holder)
    return 0


if __name__ == "__main__":
    run(main)
