"""Releases: copies of the code, named after the moment and after what is in them.

``releases/NAME`` is there whole or not at all, ``current`` leads to one of them at any moment, and
the same code again is the release that is there already.

python -m deploy.install.releases before HOME            the release that served before
python -m deploy.install.releases went-back HOME NAME    take down that NAME serves again
"""

from __future__ import annotations

import datetime
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from deploy.backups.problems import NO_ROOM, Problem, no_room

NAME = re.compile(r"\d{8}T\d{6}-[0-9a-f]{7}")
PARTS = ("django_obc_ai", "example_project")
_LEFT_OUT = re.compile(
    r"__pycache__|\..*_cache|\.git|\.hypothesis|\.coverage.*|node_modules|.*\.py[cod]|\.env|.*\.pem"
    r"|.*\.sqlite3.*|metrics\.token|postgres\.env|.*~|.*\.sw[op]"
)


def files(source: Path) -> Iterator[Path]:
    """Yield what belongs to a release, in order: no data, no cache, no secret."""
    for part in PARTS:
        for folder, names, found in os.walk(source / part):
            names[:] = sorted(
                name
                for name in names
                if not _LEFT_OUT.fullmatch(name)
                and not (name == "var" and Path(folder) == source / "example_project")
            )
            for name in sorted(found):
                path = Path(folder) / name
                if not _LEFT_OUT.fullmatch(name) and path.is_file():
                    yield path


def digest(source: Path) -> str:
    """Return what tells one release's files from another's: names, contents, what can be run."""
    whole = hashlib.sha256()
    for path in files(source):
        kind = "x" if os.access(path, os.X_OK) else "-"
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        whole.update(f"{kind} {content} {path.relative_to(source)}\n".encode())
    return whole.hexdigest()


def provide(home: Path, source: Path) -> tuple[Path, bool]:
    """Return the release with the source's files, and whether it was made now.

    Raises:
        Problem: The source is not the whole of it, or it cannot be copied.
    """
    for part in PARTS:
        if not (source / part).is_dir():
            raise Problem(f"{source} holds no {part}: run deploy_ai.sh of a clone or of a release.")
    root = home / "releases"
    root.mkdir(exist_ok=True)
    for left in root.glob(".making-*"):  # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    wanted = digest(source)
    for release in sorted(root.glob(f"*-{wanted[:7]}"), reverse=True):
        if NAME.fullmatch(release.name) and digest(release) == wanted:
            return release, False
    now = datetime.datetime.now(datetime.UTC)
    while (release := root / f"{now:%Y%m%dT%H%M%S}-{wanted[:7]}").exists():
        now += datetime.timedelta(seconds=1)  # the one that is there was changed by somebody
    scratch = root / f".making-{os.getpid()}"
    try:
        _copy(source, scratch)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        if error.errno in NO_ROOM:
            raise no_room(root, error) from error
        raise Problem(f"The release cannot be copied to {root}: {error}.") from error
    if digest(scratch) != wanted:
        shutil.rmtree(scratch)
        raise Problem(f"{source} changed while it was copied; run this again.")
    scratch.rename(release)
    return release, True


def _copy(source: Path, to: Path) -> None:
    # Folders get the time of the copy: Python finds by it that `current` leads to another one.
    for path in files(source):
        target = to / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        target.chmod(0o750 if os.access(path, os.X_OK) else 0o640)


def lead(link: Path, to: str) -> bool:
    """Let a link lead somewhere, in one step; return whether it led elsewhere."""
    if link.is_symlink() and str(link.readlink()) == to:
        return False
    draft = link.with_name(f".{link.name}-{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.symlink_to(to)
    draft.replace(link)
    return True


def use_packages(release: Path, venv: Path, home: Path) -> bool:
    """Let a release's `venv` lead to its packages; return whether it led elsewhere."""
    is_ours = venv.parent == home / "venvs"
    return lead(release / "venv", f"../../venvs/{venv.name}" if is_ours else str(venv))


def current(home: Path) -> Path | None:
    """Return the release that `current` leads to, if there is one."""
    link = home / "current"
    if not link.is_symlink() or not (link / "example_project" / "manage.py").is_file():
        return None
    return Path(os.path.realpath(link))


def listed(home: Path) -> list[Path]:
    """Return all releases, the oldest first."""
    root = home / "releases"
    found = [each for each in root.iterdir() if each.is_dir() and each.name[0] != "."]
    return sorted(found, key=lambda each: each.name)


def served(home: Path) -> list[str]:
    """Return the releases that have served and are there yet, the last one last.

    run/served names them, a line each. Where nobody has written it, releases up to the current one
    count, by their names.
    """
    there = [each.name for each in listed(home)]
    try:
        names = (home / "run" / "served").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        now = current(home)
        return [name for name in there if now and name <= now.name]
    return [name for name in names if name in there]


def before(home: Path) -> str | None:
    """Return the release that served before the current one: where rollback.sh goes."""
    names, now = served(home), current(home)
    if now and now.name in names:
        names = names[: names.index(now.name)]
    return names[-1] if names else None


def has_served(home: Path, name: str, *, went_back: bool = False) -> None:
    """Write into run/served that a release serves; so no rollback.sh is under way any more.

    Args:
        home: The installation folder.
        name: The release.
        went_back: Those that served after it are forgotten: going back again leads further back.
    """
    names = served(home)
    if went_back and name in names:
        names = names[: names.index(name)]
    names = [*(each for each in names if each != name), name]
    path = home / "run" / "served"
    path.parent.mkdir(exist_ok=True)
    draft = path.with_name("served.new")
    draft.write_text("".join(f"{each}\n" for each in names), encoding="utf-8")
    draft.replace(path)
    path.with_name("rollback").unlink(missing_ok=True)


def prune(home: Path, keep: int) -> list[str]:
    """Remove old releases, and those that never served; return their names.

    Never the current one, the one before it, or a folder with a name of another kind.

    Args:
        home: The installation folder.
        keep: How many to keep, those that served last.
    """
    kept = set(served(home)[-keep:])
    kept.add(before(home) or "")
    if now := current(home):
        kept.add(now.name)
    gone = []
    for release in listed(home):
        if release.name in kept or not NAME.fullmatch(release.name):
            continue
        # Under a name that is none first: a half removed release is never taken for one.
        dying = release.with_name(f".making-{release.name}")
        release.rename(dying)
        shutil.rmtree(dying)
        (home / "static" / f"staticfiles-{release.name}.json").unlink(missing_ok=True)
        gone.append(release.name)
    return gone


def main() -> None:
    """Tell rollback.sh the release before, or take down that it went back to one."""
    what, home, *names = sys.argv[1:]
    if what == "before":
        print(before(Path(home)) or "")
    elif what == "went-back":
        has_served(Path(home), names[0], went_back=True)
    else:
        raise SystemExit(f"{what}: before or went-back")


if __name__ == "__main__":
    main()
