"""Back the database up and rotate the logs, every night.

    python -P -m deploy.nightly [--home DIR] [--at HH:MM] [--keep-days N] [--only PART]
    python -P -m deploy.nightly --once      do it now, and end: for the timer of systemd
    python -P -m deploy.nightly --status    say how it ended last, and how old the backup is

--home DIR      the installation folder; default: OBC_SITE_VAR
--at HH:MM      when, in the machine's own time; default: nightly_at of render.conf, else 02:30. A
                night that was missed, since the machine was off, is made up for after the start
--keep-days N   backups older than N days are removed, never the last whole one; default:
                keep_backups_days of render.conf, else 14
--only PART     backup or logs, where something else does the other
--log FILE      write there, too, what is printed

The parts are db_backup.sh of the current release, and logrotate with conf/logrotate.conf. When one
fails, the other is done all the same; what failed is tried again each hour, three times. How each
ended is kept in run/nightly.json, from which the site's metrics tell Prometheus.

Exit codes: 0 done, 1 a part failed (or, of --status, the backup is missing or older than 26 hours),
2 called wrongly, 3 it is under way already.
"""

from __future__ import annotations

import argparse
import datetime
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from deploy import nights, render

HERE = Path(__file__).absolute().parent
#: How often the clock is looked at: it may jump, and the machine may sleep.
POLL_SECONDS = 20
#: At a start the database may not be there yet.
SETTLE_SECONDS = 60
#: What takes longer hangs.
LONGEST_SECONDS = 6 * 3600
#: Lines of a failure that are logged.
_TOLD_LINES = 6


class UnderWay(Exception):
    """Another process does it."""


class Nightly:
    """The work of the night for one installation.

    Args:
        home: The installation folder.
        at: When.
        keep_days: For db_backup.sh.
        parts: Which of `nights.PARTS`.
        log: Where lines go besides standard output.
        now: The clock, in seconds since 1970.
    """

    def __init__(
        self,
        home: Path,
        *,
        at: datetime.time,
        keep_days: int,
        parts: Sequence[str] = nights.PARTS,
        log: Path | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.home, self.at, self.keep_days = home, at, keep_days
        self.parts, self.log, self.now = parts, log, now
        self._records: dict[str, nights.Record] = {}

    def say(self, level: str, text: str) -> None:
        """Write a line: to standard output, and to the file."""
        moment = datetime.datetime.fromtimestamp(self.now()).astimezone()
        line = f"{moment:%Y-%m-%dT%H:%M:%S%z} {level} {text}"
        print(line, flush=True)
        if self.log is not None:
            # Opened for each line, so that it may be rotated in any way.
            with suppress(OSError), self.log.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    def due(self) -> list[str]:
        """Return the parts that have to be done now."""
        records = self.records()
        return [
            each for each in self.parts if nights.is_due(records.get(each), self.now(), self.at)
        ]

    def records(self) -> dict[str, nights.Record]:
        """Return how each part ended last; what could not be written is remembered here."""
        found = nights.read(self.home)
        for part, record in self._records.items():
            if part not in found or found[part].tried < record.tried:
                found[part] = record
        return found

    def work(self, *, all_parts: bool = False) -> bool:
        """Do what is due, or everything; return whether all that was done ended well.

        Raises:
            UnderWay: Another process does it.
        """
        with self._alone() as lock:
            ended = [self._do(each, lock) for each in (self.parts if all_parts else self.due())]
        return all(ended)

    def _do(self, part: str, lock: int) -> bool:
        begun = self.now()
        try:
            text = run_backup(self, lock) if part == "backup" else run_logrotate(self, lock)
        except CannotDo as error:
            said, level, ended = str(error), "ERROR", None
        else:
            said, level, ended = text, "INFO", max(begun, self.now())
        records = self.records()
        records[part] = nights.record_of(
            records.get(part), night=nights.latest(begun, self.at), tried=begun, ended=ended,
            said=said[:500],
        )  # fmt: skip
        self._records = {each: records[each] for each in self.parts if each in records}
        try:
            nights.write(self.home, records)
        except OSError as error:  # the disk may be full: then the backup failed, too
            self.say("ERROR", f"{nights.path_in(self.home)} cannot be written: {error.strerror}")
        outcome = "failed" if ended is None else "done"
        self.say(level, f"{part}: {outcome} after {self.now() - begun:.1f} s: {said}")
        return ended is not None

    @contextmanager
    def _alone(self) -> Iterator[int]:
        """Hold the lock. What is started inherits it: it ends with the last of them."""
        folder = self.home / "run"
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        with (folder / "nightly.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UnderWay(f"The work of the night is under way in {self.home}.") from error
            yield lock.fileno()

    def serve(self, sleep: Callable[[float], None] = time.sleep) -> None:
        """Do it every night, until the process is told to end."""
        coming = datetime.datetime.fromtimestamp(nights.following(self.now(), self.at)).astimezone()
        self.say("INFO", f"Waits for {coming:%Y-%m-%d %H:%M %Z}: {' and '.join(self.parts)}")
        sleep(SETTLE_SECONDS)
        while True:
            try:
                if self.due():
                    self.work()
            except UnderWay:
                pass  # it is looked at again
            sleep(POLL_SECONDS)


class CannotDo(Exception):
    """A part failed: what was wrong, and what to do."""


def run_backup(nightly: Nightly, lock: int) -> str:
    """Run db_backup.sh of the current release, and return what it made."""
    script = nightly.home / "current" / "example_project" / "scripts" / "db_backup.sh"
    if not script.is_file():
        script = HERE.parent / "scripts" / "db_backup.sh"
    command = [str(script), "--home", str(nightly.home), "--keep-days", str(nightly.keep_days)]
    told = _run(command, "db_backup.sh", lock)
    return "; ".join(line.strip() for line in told.splitlines() if line.strip())


def run_logrotate(nightly: Nightly, lock: int) -> str:
    """Run logrotate with the site's configuration."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    program = shutil.which("logrotate", path=path)
    if program is None:
        raise CannotDo("logrotate is not there (PATH, /usr/sbin): install it. Until then logs grow")
    conf = nightly.home / "conf" / "logrotate.conf"
    if not conf.is_file():
        raise CannotDo(f"{conf} is missing: run deploy/render.py --home {nightly.home}")
    state = str(nightly.home / "run" / "logrotate.state")
    told = _run([program, "--state", state, str(conf)], "logrotate", lock)
    return told.strip() or f"rotated as {conf} says"


def _run(command: list[str], name: str, lock: int) -> str:
    """Run a program and return what it said."""
    try:
        process = subprocess.Popen(  # noqa: S603 - a script of the kit, and logrotate
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", pass_fds=[lock],
        )  # fmt: skip
    except OSError as error:
        raise CannotDo(f"{command[0]} cannot be started: {error.strerror}") from error
    try:
        told, _ = process.communicate(timeout=LONGEST_SECONDS)
    except BaseException as error:
        # Told to end, it removes what it began.
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            hours = LONGEST_SECONDS // 3600
            raise CannotDo(f"{name} was ended, since it took more than {hours} hours") from None
        raise
    if process.returncode:
        lines = [line.strip() for line in told.splitlines() if line.strip()][-_TOLD_LINES:]
        raise CannotDo(f"{name} ended with {process.returncode}: {' | '.join(lines)}")
    return told


def status(home: Path) -> int:
    """Print how each part ended last, and how old the newest backup is; 1 if that is too old."""
    records = nights.read(home)
    for part in nights.PARTS:
        record = records.get(part)
        if record is None:
            print(f"{part}: never done")
            continue
        when = datetime.datetime.fromtimestamp(record.tried).astimezone()
        outcome = "failed" if record.failed else "done"
        print(f"{part}: {outcome}, {when:%Y-%m-%d %H:%M %Z}: {record.said}")
    age = nights.backup_age(home)
    print(age.text)
    return int(age.is_old)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="nightly", description=__doc__, usage=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    hidden = argparse.SUPPRESS
    parser.add_argument("--home", type=Path, help=hidden)
    parser.add_argument("--at", help=hidden)
    parser.add_argument("--keep-days", type=int, help=hidden)
    parser.add_argument("--only", choices=nights.PARTS, help=hidden)
    parser.add_argument("--log", type=Path, help=hidden)
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--once", action="store_true", help=hidden)
    one.add_argument("--status", action="store_true", help=hidden)
    found = parser.parse_args(arguments)
    home = found.home or os.environ.get("OBC_SITE_VAR")
    if not home or not Path(home).is_dir():
        parser.error(f"there is no installation folder {home or ''}: name one with --home DIR")
    found.home = Path(home).resolve()
    try:
        kept = {"nightly_at": "02:30", "keep_backups_days": "14", **render.kept(found.home)}
    except render.CannotRender as error:
        parser.error(str(error))
    if found.keep_days is None:
        if not kept["keep_backups_days"].isdecimal():
            parser.error(f"keep_backups_days in render.conf is {kept['keep_backups_days']!r}")
        found.keep_days = int(kept["keep_backups_days"])
    try:
        found.at = nights.clock(found.at or kept["nightly_at"])
    except ValueError as error:
        parser.error(f"--at: {error}")
    if found.keep_days < 1:
        parser.error(f"--keep-days {found.keep_days} would keep nothing: 1 is the least")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for."""
    options = _options(arguments)
    if options.status:
        return status(options.home)
    nightly = Nightly(
        options.home, at=options.at, keep_days=options.keep_days,
        parts=[options.only] if options.only else nights.PARTS, log=options.log,
    )  # fmt: skip
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    if not options.once:
        nightly.serve()  # to the signal
    try:
        return int(not nightly.work(all_parts=True))
    except UnderWay as error:
        print(f"nightly: {error} Wait for it.", file=sys.stderr)
        return 3


if __name__ == "__main__":
    raise SystemExit(main())
