"""The check of the folder in which operations wait."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checks.test_checks import assert_only, found

pytestmark = pytest.mark.django_db


def test_W014_a_spool_that_cannot_be_written(tmp_path: Path) -> None:  # noqa: N802
    (tmp_path / "file").write_text("")
    (message,) = found(LOG={"spool": tmp_path / "file" / "spool"})
    assert_only("W014", [message])
    assert message.msg == (
        f"OBC_AI['LOG']['spool']: {tmp_path / 'file'} is no folder, so operations cannot wait on"
        " disk."
    )


def test_looking_at_the_spool_creates_nothing(tmp_path: Path) -> None:
    assert found(LOG={"spool": tmp_path / "a" / "b"}) == []
    assert found(LOG={"spool": None}) == []
    assert not (tmp_path / "a").exists()
