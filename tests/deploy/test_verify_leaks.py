"""Where verify_security.sh looks for secrets: logs of any length, the journal."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.test_verify_security import SECRET, parts  # noqa: F401 - parts is a fixture

KNOWN = {"SECRET_KEY": SECRET}


def test_packed_logs_are_read(parts: Any, tmp_path: Path) -> None:  # noqa: F811
    path = tmp_path / "web.log-1.gz"
    with gzip.open(path, "wb") as packed:
        packed.write(b"one\n" + SECRET)
    (found,) = parts.leaks.scan_file(path, KNOWN, patterns=False)
    assert str(found) == f"SECRET_KEY in {path}, line 2"
    (tmp_path / "link").symlink_to(path)
    assert list(parts.leaks.files(tmp_path)) == [path]


@pytest.mark.parametrize("name", ["web.log", "web.log-1.gz"])
def test_the_end_of_a_long_log_is_read(parts: Any, tmp_path: Path, name: str) -> None:  # noqa: F811
    path = tmp_path / name
    text = (b"\0" * (2**20 - 1) + b"\n") * 65 + SECRET
    path.write_bytes(gzip.compress(text, 1) if name.endswith(".gz") else text)
    assert [each.line for each in parts.leaks.scan_file(path, KNOWN, patterns=True)] == [66]


def test_pieces_overlap_and_lines_are_counted(
    parts: Any,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parts.leaks, "_PIECE", 100)
    monkeypatch.setattr(parts.leaks, "_OVERLAP", 40)
    path = tmp_path / "web.log"
    for before in range(60, 260, 7):
        text = b"x" * 9 + b"\n"
        lead = text * (before // 10) + b"y" * (before % 10)
        path.write_bytes(lead + SECRET + b"\n" + text * 9 + SECRET)
        (found,) = parts.leaks.scan_file(path, KNOWN, patterns=False)
        assert found.line == lead.count(b"\n") + 1
        # What stood there before is not read again.
        later = len(lead) + 5
        assert len(list(parts.leaks.scan_file(path, KNOWN, patterns=False, start=later))) == 1
        assert not list(parts.leaks.scan_file(path, KNOWN, patterns=False, start=later + 150))


def test_new_lines_are_found_in_logs_that_were_rotated(parts: Any, tmp_path: Path) -> None:  # noqa: F811
    from deploy.verify.security_leaks import _new_from

    path = tmp_path / "web.log"
    path.write_text("before")
    before = {path.stat().st_ino: 6}
    assert _new_from(path, before) is None
    with path.open("a") as file:
        file.write("more")
    path.rename(tmp_path / "web.log-1")
    assert _new_from(tmp_path / "web.log-1", before) == 6
    (tmp_path / "web.log-1").write_text("cut")
    assert _new_from(tmp_path / "web.log-1", before) == 0
    path.write_text("another one")
    assert _new_from(path, before) == 0


def test_the_journal_is_read_or_said_not_to_be(
    parts: Any,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from deploy.verify.journal import scan_journal

    monkeypatch.setenv("PATH", str(tmp_path))
    found, unread = scan_journal(KNOWN, patterns=False)
    assert not found and "there is no journalctl" in unread
    program = tmp_path / "journalctl"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.defpath}")
    program.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/asked; exit 0\n')
    program.chmod(0o755)
    found, unread = scan_journal(KNOWN, patterns=False, since=1234.5)
    assert not found and "it was not read" in unread and "obc-site-*" in unread
    asked = (tmp_path / "asked").read_text()
    assert "--unit obc-site-*" in asked and "--since @1234" in asked
    program.write_text(f"#!/bin/sh\necho one; echo two {SECRET.decode()}\n")
    found, unread = scan_journal(KNOWN, patterns=False)
    assert [str(each) for each in found] == ["SECRET_KEY in the journal of obc-site-*, line 2"]
    assert unread == ""
