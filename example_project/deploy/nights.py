"""When the work of the night is due, how it ended last, and how old the newest backup is.

Standard library alone: the site's metrics and the verification read this, too.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

#: What is done every night, in this order. The logs of the backup are rotated the night after.
PARTS = ("backup", "logs")
#: A backup that is older is told by the verification and by an alert: a night and two hours.
OLD_SECONDS = 26 * 3600
#: What failed is tried again after this, and so often in one night.
RETRY_SECONDS, TRIES = 3600, 4
_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """How a part ended last. Times are seconds since 1970.

    Attributes:
        night: When that night's work was due.
        tried: When it was begun.
        tries: How often in that night.
        succeeded: When it last ended well, None if it never did.
        said: The last thing that it said, in a line.
    """

    night: float
    tried: float
    tries: int
    succeeded: float | None
    said: str

    @property
    def failed(self) -> bool:
        """Whether it ended badly."""
        return self.succeeded is None or self.succeeded < self.tried


def clock(text: str) -> datetime.time:
    """Return the time that "02:30" means.

    Raises:
        ValueError: It is none.
    """
    hour, colon, minute = text.partition(":")
    if not (colon and hour.isdecimal() and minute.isdecimal() and len(minute) == 2):
        raise ValueError(f"{text!r} is no time of day: give one such as 02:30.")
    return datetime.time(int(hour), int(minute))


def latest(now: float, at: datetime.time) -> float:
    """Return when the work was last due: at that time of the machine, today or the day before.

    There is one such moment on each date. Where the clocks skip it, it is as much later as they
    skip; where they show it twice, it is the first.
    """
    today = datetime.datetime.fromtimestamp(now).date()  # noqa: DTZ006 - the machine's own time
    days = (today - datetime.timedelta(days=back) for back in range(-1, 3))
    moments = (datetime.datetime.combine(day, at).timestamp() for day in days)
    return max(moment for moment in moments if moment <= now)


def following(now: float, at: datetime.time) -> float:
    """Return when the work is due next, looking from a moment."""
    today = datetime.datetime.fromtimestamp(now).date()  # noqa: DTZ006 - the machine's own time
    days = (today + datetime.timedelta(days=ahead) for ahead in range(-1, 3))
    moments = (datetime.datetime.combine(day, at).timestamp() for day in days)
    return min(moment for moment in moments if moment > now)


def is_due(record: Record | None, now: float, at: datetime.time) -> bool:
    """Whether a part has to be done now: also for a night in which nothing ran."""
    if record is None:
        return True
    if record.night > now + _DAY or record.tried > now + _DAY:
        return True  # the clock was wrong then: that night is still to come
    if record.night < latest(now, at):
        return True
    return record.failed and record.tries < TRIES and now - record.tried >= RETRY_SECONDS


def record_of(
    before: Record | None, *, night: float, tried: float, ended: float | None, said: str
) -> Record:
    """Return the record after one more try; `ended` is None if it failed."""
    again = before is not None and before.night == night
    kept = before.succeeded if before is not None else None
    return Record(
        night=night,
        tried=tried,
        tries=before.tries + 1 if before is not None and again else 1,
        succeeded=kept if ended is None else ended,
        said=said,
    )


def path_in(home: Path) -> Path:
    """Return where the records are kept."""
    return home / "run" / "nightly.json"


def read(home: Path) -> dict[str, Record]:
    """Return how each part ended last; one of which nothing can be read is not in it."""
    try:
        told = json.loads(path_in(home).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    found = {}
    for part in PARTS:
        try:
            record = Record(**told[part])
            numbers = (record.night, record.tried, record.tries, record.succeeded or 0)
        except (TypeError, KeyError):
            continue
        if all(isinstance(each, int | float) for each in numbers):
            found[part] = record
    return found


def write(home: Path, records: Mapping[str, Record]) -> None:
    """Keep the records: the old ones or the new, at any moment."""
    path = path_in(home)
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    half = path.with_name(path.name + ".new")
    text = json.dumps({part: asdict(record) for part, record in records.items()}, indent=2)
    half.write_text(text + "\n", encoding="utf-8")
    half.replace(path)


@dataclass(frozen=True, slots=True)
class BackupAge:
    """The newest backup that is whole.

    Attributes:
        name: Its folder's name; None if there is none.
        seconds: How long ago it was made.
        is_old: Whether it is missing or older than `OLD_SECONDS`.
        text: The same in a line, with what to do.
    """

    name: str | None
    seconds: float
    is_old: bool
    text: str


def backup_age(home: Path, now: float | None = None) -> BackupAge:
    """Return how old the newest backup in the installation folder is; its sums are compared."""
    from deploy.backups import archive

    now = time.time() if now is None else now
    backup = archive.newest_good(home / "backups")
    hint = f"see {home / 'log' / 'nightly.log'}, or run db_backup.sh"
    if backup is None:
        return BackupAge(None, 0, True, f"there is no whole backup in {home / 'backups'}: {hint}")
    seconds = max(0.0, now - backup.made_at.timestamp())
    text = f"the newest whole backup, {backup.folder.name}, is {seconds / 3600:.1f} h old"
    is_old = seconds > OLD_SECONDS
    return BackupAge(backup.folder.name, seconds, is_old, f"{text}: {hint}" if is_old else text)
