"""What the health report says of the response cache, of databases and of disks."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.test import override_settings

from django_obc_ai.backends.lexical_stores.bm25 import BM25LexicalStore
from django_obc_ai.logs.handlers import SharedRotatingFileHandler
from django_obc_ai.models import AIOperation
from django_obc_ai.services import _data_health, _disk
from django_obc_ai.services.health import HealthItem, check_health
from django_obc_ai.services.pauses import pause_provider, resume_provider
from django_obc_ai.testing import override_ai
from tests.fakes import FolderStore, entry

pytestmark = pytest.mark.django_db
MIB = 1024 * 1024


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def look(name: str) -> HealthItem:
    _, found = check_health(only=[name]).items
    return found


# --- cache ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("backend", "status", "told"),
    [
        ("locmem.LocMemCache", "warning", "Each process has the cache 'default' to itself"),
        ("dummy.DummyCache", "warning", "does not keep what is written; answers are paid twice"),
        ("filebased.FileBasedCache", "ok", "keeps answers"),
    ],
)
def test_a_cache_that_workers_do_not_share_is_a_warning(
    tmp_path: Path, backend: str, status: str, told: str
) -> None:
    entry = {"BACKEND": f"django.core.cache.backends.{backend}", "LOCATION": str(tmp_path)}
    with override_settings(CACHES={"default": entry}):
        found = look("response cache")
        assert (found.status, told in found.message) == (status, True)
        assert bool(found.hint) == (status == "warning")


def test_one_process_that_develops_needs_no_shared_cache() -> None:
    with override_settings(DEBUG=True):
        assert look("response cache").status == "ok"


def test_paused_providers_are_named_and_the_reason_is_for_operators() -> None:
    with override_ai():
        assert look("pauses").status == "ok"
        pause_provider("default", reason="The bill of Juan")
        found = look("pauses")
        assert found.status == "warning" and found.message.startswith("Paused: 'default' since 2")
        assert "Juan" not in f"{found.message} {found.hint}"
        resume_provider("default")
        assert look("pauses").status == "ok"


def test_looking_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    path = "django.core.cache.backends.filebased.FileBasedCache"
    with override_settings(CACHES={"default": {"BACKEND": path, "LOCATION": str(tmp_path)}}):
        look("response cache")
    assert list(tmp_path.iterdir()) == []


# --- databases -----------------------------------------------------------------------------------
def test_a_large_ledger_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_data_health, "_MOST_COUNTED", 2)
    for number in (1, 2, 3):
        AIOperation.objects.create(provider="default", success=True, prompt_hash="")
        told = "more than 2" if number == 3 else str(number)
        assert look("database").message == f"Migrated; {told} operations logged."


# --- disk ----------------------------------------------------------------------------------------
@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say how full the disks of some folders are; all others have room."""

    def set_up(**free: int) -> None:
        def usage(folder: Path) -> Usage:
            for name, left in free.items():
                if name in str(folder):
                    return Usage(1_000_000 * MIB, 0, left)
            return Usage(1_000_000 * MIB, 0, 500_000 * MIB)

        monkeypatch.setattr(_disk, "_usage", usage)

    return set_up


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    handler = SharedRotatingFileHandler(tmp_path / "logfolder" / "ai_assistant.log")
    logging.getLogger("django_obc_ai").addHandler(handler)
    (tmp_path / "logfolder").mkdir()
    yield tmp_path / "logfolder"
    logging.getLogger("django_obc_ai").removeHandler(handler)


@pytest.fixture
def _folders(tmp_path: Path, log_file: Path) -> Iterator[None]:
    for name in ("spoolfolder", "storefolder", "wordsfolder"):
        (tmp_path / name).mkdir()
    store = entry(FolderStore, path=str(tmp_path / "storefolder"))
    words = entry(BM25LexicalStore, path=str(tmp_path / "wordsfolder"))
    spool = {"spool": tmp_path / "spoolfolder"}
    with override_ai(VECTOR_STORES=store, LEXICAL_STORES=words, LOG=spool):
        yield


@pytest.mark.usefixtures("_folders")
def test_disks_with_room_are_fine(disk: Callable[..., None]) -> None:
    disk(logfolder=20_000 * MIB)
    found = look("disk")
    assert found.message == "There is room for what is written in 4 folders."
    assert (found.status, found.detail) == ("ok", "20,000 MB or more left")


@pytest.mark.usefixtures("_folders")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("spoolfolder", "spool"),
        ("storefolder", "vector store default"),
        ("wordsfolder", "lexical store default"),
        ("logfolder", "log"),
    ],
)
def test_a_disk_that_is_nearly_full_is_named_by_what_is_on_it(
    disk: Callable[..., None], tmp_path: Path, name: str, told: str
) -> None:
    disk(**{name: 499 * MIB})
    found = look("disk")
    assert found.status == "warning"
    assert found.message == f"Disks are nearly full: the {told} has 499 MB left."
    assert found.hint == f"Make room on the disk of {tmp_path / name}."
    assert check_health(only=["disk"]).exit_code == 0


@pytest.mark.usefixtures("_folders")
@pytest.mark.parametrize(("free", "status"), [(10_239, "warning"), (10_241, "ok")])
def test_a_small_share_counts_until_it_is_plenty_in_itself(
    disk: Callable[..., None], free: int, status: str
) -> None:
    disk(spoolfolder=free * MIB)  # 1 % of a terabyte
    assert look("disk").status == status


def test_a_folder_that_does_not_exist_yet_is_looked_for_above(tmp_path: Path) -> None:
    with override_ai(LOG={"spool": tmp_path / "a" / "b"}):
        assert look("disk").status in ("ok", "warning")
    assert _disk._existing(tmp_path / "a" / "b") == tmp_path
    assert shutil.disk_usage(tmp_path).free


def test_where_nothing_is_written_no_disk_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: list[Any] = []
    monkeypatch.setattr(_disk, "_folders", lambda: iter(nothing))
    assert look("disk").message == "Nothing is written to disk."
