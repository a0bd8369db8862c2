"""What may go wrong with a backup or a restore: each is named, and changes nothing.

Part of deploy_backup.py.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.deploy.kit import Kit, reseal

sys.path.insert(0, str(Path(__file__).parent))
from _api_report import Report

#: How often to look for a moment at which a backup is under way.
_MOST_TRIES = 12
Fault = tuple[str, subprocess.CompletedProcess[str], str]


def plant_faults(kit: Kit, good: Path, report: Report) -> int:
    """Plant each fault beside a good backup, and return how many there were."""
    before = kit.fingerprint()
    there = kit.backups()

    def restore(folder: Path, **how: str) -> subprocess.CompletedProcess[str]:
        return kit.run("db_restore.sh", folder, "--force", **how)

    def changed(name: str) -> Path:
        folder = kit.home / name
        shutil.copytree(good, folder)
        return folder

    broken, wrong, half, other = (changed(each) for each in ("broken", "wrong", "half", "other"))
    data = next(each.name for each in good.iterdir() if each.name.startswith("database."))
    content = bytearray((broken / data).read_bytes())
    content[len(content) // 2] ^= 1
    (broken / data).write_bytes(content)
    sums = (wrong / "SHA256SUMS").read_text()
    (wrong / "SHA256SUMS").write_text(sums[1:2] + sums[1:])
    # Sums that fit a file that is cut: what reads it has to notice.
    with (half / data).open("r+b") as file:
        file.truncate((half / data).stat().st_size // 2)
    reseal(half, bytes=(half / data).stat().st_size, sha256=_sum(half / data))
    reseal(other, tables=before["tables"] | {"auth_user": 77})

    no_file = "ulimit -f 200"
    planted: list[Fault] = [
        ("a bit flipped in the data", restore(broken), f"{data} is not that in SHA256SUMS"),
        ("a wrong checksum", restore(wrong), f"{data} is not that in SHA256SUMS"),
        ("data cut, sums made to fit", restore(half), ""),
        ("a row count that is not so", restore(other), "table auth_user: 77 rows were backed up"),
        ("no room for a backup", kit.run("db_backup.sh", before=no_file), "No room to write in"),
    ]
    if data.endswith(".sqlite3"):
        planted.append(("no room to restore", restore(good, before=no_file), "No room to write in"))
    if os.geteuid() == 0 and (full := _on_a_full_disk(kit)):
        planted.append(("a full disk (tmpfs)", full, "No room to write in"))
    for what, done, named in planted:
        lines = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
        report.line(f"- {what}: `{_short(lines)}`")
        report.expect(done.returncode == 1 and len(lines) == 1, f"{what}: {done.stdout}")
        report.expect(named in done.stdout, f"{what} is not named: {done.stdout}")
        report.expect("Traceback" not in done.stdout, f"{what}: {done.stdout}")
    report.expect(kit.fingerprint() == before, "A fault changed the present database.")
    report.expect(kit.backups() == there, f"A fault left {kit.backups()}")
    return len(planted)


def _sum(path: Path) -> str:
    return subprocess.run(["sha256sum", path], capture_output=True, text=True).stdout[:64]


def _short(lines: list[str]) -> str:
    text = (lines or ["no message"])[0].removeprefix("error: ").replace("`", "'")
    text = text.replace(tempfile.gettempdir(), "...")
    return text if len(text) < 160 else f"{text[:157]}..."


def _on_a_full_disk(kit: Kit) -> subprocess.CompletedProcess[str] | None:
    """Back up onto a disk of 256 kB; None where none can be mounted."""
    folder = kit.home / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        return None
    try:
        return kit.run("db_backup.sh", "--to", folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def kill_at_random(
    kit: Kit, name: str, arguments: list[object], *, seconds: float, chance: random.Random
) -> bool:
    """Kill a script and what it started with SIGKILL; return whether it was still running."""
    process = subprocess.Popen(
        kit.command(name, *arguments),
        env=kit.environment(),
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(chance.uniform(0.3, seconds))
    was_running = process.poll() is None
    if was_running:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return was_running


def kill_in_the_middle(kit: Kit, good: Path, report: Report, times: int) -> None:
    """Kill backups and restores at random moments: whole, or not there."""
    chance = random.Random(11)
    begun = time.monotonic()
    newest = kit.back_up("--label", "newest")
    seconds = time.monotonic() - begun
    begun = time.monotonic()
    kit.run("db_restore.sh", newest, "--force")
    restoring = time.monotonic() - begun
    states = [kit.fingerprint()]
    kit.run("db_restore.sh", good, "--force")
    states.append(kit.fingerprint())
    killed = tried = 0
    while tried < times or (not killed and tried < _MOST_TRIES):
        tried += 1
        killed += kill_at_random(kit, "db_backup.sh", [], seconds=seconds, chance=chance)
        report.expect(kit.fingerprint() == states[1], "A killed backup changed the database.")
    for each in (kit.home / "backups").glob("2*"):
        if each.name.endswith("before-rollback"):
            continue  # whole, and of a release that is not there now
        done = kit.run("db_restore.sh", each, "--rehearse")
        report.expect(done.returncode == 0, f"A backup is not whole: {done.stdout}")
    ended = {0: 0, 1: 0}
    for _ in range(times):
        arguments: list[object] = [newest, "--force"]
        killed += kill_at_random(kit, "db_restore.sh", arguments, seconds=restoring, chance=chance)
        found = kit.fingerprint()
        if found not in states:  # it was at what follows the swap, which can be done by hand
            for command in ("ai_drain_spool", "expire_reservations"):
                kit.manage(command)
            found = kit.fingerprint()
        report.expect(found in states, "A killed restore left neither the one nor the other.")
        ended[int(found == states[0])] += 1
        if found != states[1]:
            done = kit.run("db_restore.sh", good, "--force")
            report.expect(done.returncode == 0, f"After a kill: {done.stdout}")
    report.line(
        f"- killed with SIGKILL: {killed} of {tried + times} were under way. No backup was half"
        f" written; of the restores {ended[0]} left the present database, {ended[1]} the restored"
        " one, whole."
    )
    report.expect(killed > 0, "Nothing was killed in the middle.")
