"""A log file that several processes write and rotate at once."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from django_obc_ai.logs.handlers import SharedRotatingFileHandler
from tests.subprocesses import ROOT

PROCESSES, LINES = 4, 1_000


def lines_of(folder: Path) -> list[str]:
    found = []
    for path in folder.iterdir():
        text = path.read_text()
        assert text.endswith("\n")
        found += text.splitlines()
    return found


def run_writers(path: Path, *arguments: Any, processes: int = PROCESSES) -> None:
    commands = [
        [sys.executable, "-m", "tests.logs.write_in_process", str(path), f"p{number}"]
        + [str(each) for each in arguments]
        for number in range(processes)
    ]
    running = [
        subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    for process in running:
        _, complaints = process.communicate(timeout=120)
        assert (process.returncode, complaints) == (0, "")


def emit(handler: logging.Handler, *messages: str) -> None:
    for message in messages:
        handler.handle(logging.makeLogRecord({"msg": message}))


def test_processes_that_rotate_one_file_lose_and_tear_no_line(tmp_path: Path) -> None:
    run_writers(tmp_path / "a.log", LINES, 20_000, 500)
    found = lines_of(tmp_path)
    assert len(list(tmp_path.iterdir())) > 20  # it was rotated, often
    counted = Counter(line.partition(" ")[0] for line in found)
    wanted = {
        f"p{process}-{thread}-{number}"
        for process in range(PROCESSES)
        for thread in range(2)
        for number in range(LINES // 2)
    }
    assert set(counted) == wanted
    assert set(counted.values()) == {1}
    for line in found:
        _, body, end = line.split(" ")
        assert end == "end" and set(body) == {"x"} and len(body) in (20, 20_000)


def test_forked_children_that_share_the_open_file_lose_no_line(tmp_path: Path) -> None:
    run_writers(tmp_path / "a.log", LINES, 20_000, 500, "fork", processes=2)
    names = Counter(line.partition(" ")[0] for line in lines_of(tmp_path))
    assert len(names) == 2 * (1 + 2 * LINES)
    assert set(names.values()) == {1}


def test_a_full_file_is_rotated_and_the_oldest_falls_away(tmp_path: Path) -> None:
    handler = SharedRotatingFileHandler(tmp_path / "a.log", max_bytes=5, backup_count=2)
    emit(handler, "first", "second", "third", "fourth")
    handler.close()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "a.log": "fourth\n",
        "a.log.1": "third\n",
        "a.log.2": "second\n",
    }


def test_without_backups_nothing_is_rotated(tmp_path: Path) -> None:
    handler = SharedRotatingFileHandler(tmp_path / "a.log", max_bytes=1)
    emit(handler, "one", "two")
    assert (tmp_path / "a.log").read_text() == "one\ntwo\n"
    handler.close()


def test_a_file_that_somebody_else_moved_or_removed_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    handler = SharedRotatingFileHandler(path)
    emit(handler, "one")
    path.rename(tmp_path / "moved.log")  # as logrotate does
    emit(handler, "two")
    path.unlink()
    emit(handler, "three")
    handler.close()
    emit(handler, "four")
    handler.close()
    assert path.read_text() == "three\nfour\n"
    assert (tmp_path / "moved.log").read_text() == "one\n"


def test_the_folder_is_made_with_the_first_record(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.log"
    handler = SharedRotatingFileHandler(path)
    assert not path.parent.exists()
    emit(handler, "one \ud800")
    handler.close()
    assert path.read_text() == "one \\ud800\n"


def test_a_folder_that_cannot_be_written_is_told_on_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    handler = SharedRotatingFileHandler(tmp_path / "file" / "a.log")
    emit(handler, "one")
    assert "--- Logging error ---" in capsys.readouterr().err
    handler.close()
