"""Restore a backup; scripts/db_restore.sh is the way to it.

The backup goes into a new database, is compared there with its manifest and migrated if asked.
Only then do two renames put it in the place of the present one, which is kept. Whatever fails
before, the present database was not touched.
"""

from __future__ import annotations

import argparse
import datetime
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.backups import archive, running
from deploy.backups.archive import Backup
from deploy.backups.backup import settings_of
from deploy.backups.fingerprint import Fingerprint, differences, dollars
from deploy.backups.places import Place, PostgresPlace, SqlitePlace
from deploy.backups.problems import Problem, Refused, run, say


def arguments() -> argparse.Namespace:
    """Read what the script was called with."""
    parser = argparse.ArgumentParser(prog="db_restore.sh")
    parser.add_argument("backup")
    parser.add_argument("--database", default="default")
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--migrate", action="store_true")
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--running", action="append", default=[])
    return parser.parse_args()


@dataclass(slots=True, kw_only=True)
class Migrations:
    """The code's migrations beside a backup's.

    Attributes:
        unknown: Applied in the backup, and not there in the code.
        missing: In the code, and not applied in the backup.
    """

    unknown: list[str]
    missing: list[str]


def compare_migrations(backup: Backup) -> Migrations:
    """Compare what a backup has applied with what the code at hand knows."""
    from django.db.migrations.loader import MigrationLoader

    loader = MigrationLoader(None)
    squashed = {old for each in loader.replacements.values() for old in each.replaces}
    known = {f"{app}.{name}" for app, name in {*loader.disk_migrations, *squashed}}
    applied = set(backup.fingerprint.migrations)
    installed = loader.migrated_apps
    return Migrations(
        unknown=sorted(m for m in applied - known if m.split(".")[0] in installed),
        missing=[
            f"{app}.{name}"
            for app, name in loader.graph.nodes
            if f"{app}.{name}" not in applied
            and not applied.issuperset(
                f"{a}.{n}" for a, n in loader.disk_migrations[app, name].replaces or [(app, name)]
            )
        ],
    )


def main() -> None:
    """Restore, or rehearse it."""
    import django

    given = arguments()
    home = Path(os.environ["OBC_SITE_VAR"])
    if given.backup == "latest":
        found = archive.newest_good(home / "backups")
        if found is None:
            raise Problem(f"There is no whole backup in {home / 'backups'}.")
        backup = found
    else:
        backup = archive.read(Path(given.backup).absolute())
    nano = backup.fingerprint.ledger_nano
    say(f"Backup of {backup.made_at:%Y-%m-%d %H:%M:%S %Z}: sums agree, ledger {dollars(nano)}")

    django.setup()
    settings = settings_of(given.database)
    place: Place = (
        SqlitePlace(settings) if settings["vendor"] == "sqlite" else PostgresPlace(settings)
    )
    if backup.manifest["vendor"] != settings["vendor"]:
        raise Problem(
            f"The backup is of {backup.manifest['vendor']}, and DATABASES[{given.database!r}] is"
            f" {settings['vendor']}: set DATABASE_URL to a database of that kind."
        )
    migrations = compare_migrations(backup)
    if migrations.unknown and not given.force:
        raise Refused(
            f"This release does not know migrations of the backup: {', '.join(migrations.unknown)}."
            " Restore it with the release that made it (rollback.sh, or its own db_restore.sh), or"
            " use --force."
        )
    if not given.rehearse:
        may_replace(place, home, given)

    stamp = f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S}_{os.getpid()}"
    new = place.beside("restore", stamp)
    try:
        fill(place, new, backup, given, migrations)
        if given.rehearse:
            say(f"Rehearsed: {place.label} was not touched.")
            return
        may_replace(place, home, given)  # once more: minutes may have passed
        swap(place, new, place.beside("before", stamp), force=given.force)
    finally:
        # After the swap there is nothing of that name any more.
        with suppress(Problem, OSError):
            place.remove(new)
    afterwards(given.database)


def may_replace(place: Place, home: Path, given: argparse.Namespace) -> None:
    """Refuse to take the place of a database that is there, or that the site uses."""
    users = [*given.running, *running.living(home), *place.users()]
    if users and not given.force:
        raise Refused(
            f"The site runs: {'; '.join(users[:5])}. Stop it first (supervisorctl stop all), or use"
            " --force, and it finds other data from one moment to the next."
        )
    if place.state() == "there" and not given.force:
        raise Refused(
            f"{place.label} holds data. With --force the backup takes its place, and it is kept"
            " under another name; --rehearse only tries the backup."
        )


def fill(
    place: Place, new: str, backup: Backup, given: argparse.Namespace, migrations: Migrations
) -> None:
    """Restore into a new database, compare, migrate if asked."""
    say(f"Restore into {new}")
    place.fill(new, backup)
    found = place.fingerprint(new, backup.fingerprint)
    if wrong := differences(backup.fingerprint, found):
        raise Problem(
            "What was restored is not what was backed up; the present database was not touched: "
            + "; ".join(wrong[:10])
        )
    rows = sum(found.tables.values())
    say(
        f"   {len(found.tables)} tables, {rows:,} rows, ledger {dollars(found.ledger_nano)}:"
        " as backed up"
    )
    if not given.migrate:
        if migrations.missing:
            say(
                f"   not applied: {', '.join(migrations.missing)}; --migrate does it, or later"
                " manage.py migrate"
            )
        return
    migrate(place, new, given.database)
    after = place.fingerprint(new, backup.fingerprint)
    if after.ledger_nano != found.ledger_nano:
        raise Problem(
            f"The migrations changed the ledger from {dollars(found.ledger_nano)} to"
            f" {dollars(after.ledger_nano)}; the present database was not touched."
        )
    say(f"   {len(migrations.missing)} migrations applied")


def migrate(place: Place, new: str, alias: str) -> None:
    """Migrate a new database, which no other process knows."""
    from django.core.management import CommandError, call_command
    from django.db import Error, connections

    connection = connections[alias]
    connection.close()
    before = connection.settings_dict["NAME"]
    connection.settings_dict["NAME"] = new
    try:
        call_command("migrate", database=alias, interactive=False, verbosity=0)
    except (CommandError, Error) as error:
        raise Problem(f"Migrating {new} failed; {place.label} was not touched: {error}") from error
    finally:
        connection.close()
        connection.settings_dict["NAME"] = before


def swap(place: Place, new: str, old: str, *, force: bool) -> None:
    """Put the new one in place, and say what the present one had spent beyond it."""
    spent: Fingerprint | None = None
    kept = place.state() != "missing"
    if kept:
        with suppress(Problem):  # a damaged one is replaced all the same
            spent = place.fingerprint(place.name, None)
    restored = place.fingerprint(new, None)
    place.swap(new, old if kept else None, force=force)
    say(f"Restored: {place.label}")
    if kept:
        say(f"   what was there before is kept as {old}; remove it when it is not needed")
    if spent and spent.ledger_nano is not None and spent.ledger_nano != restored.ledger_nano:
        say(
            f"   its ledger says {dollars(spent.ledger_nano)}, the restored one"
            f" {dollars(restored.ledger_nano)}: what was spent since the backup is in {old} alone"
        )


def afterwards(alias: str) -> None:
    """Do what is safe about the state that follows from the data, and say the rest."""
    from django.core.management import CommandError, call_command
    from django.db import Error, connections

    from django_obc_ai.models import AIOperation, Job

    connections[alias].close()
    say("Afterwards:")

    def attempt(what: str, *arguments: str) -> bool:
        try:
            call_command(*arguments)
        except (CommandError, Error, OSError) as error:
            say(f"   {what}: {error} Run: manage.py {' '.join(arguments)}")
            return False
        return True

    # Rows that waited on the disk, then holds that were open: their calls count at their ceiling.
    attempt("the spool was not taken up", "ai_drain_spool")
    attempt("holds were not looked at", "expire_reservations")
    try:
        first = AIOperation.objects.order_by("created_at").values_list("created_at").first()
        jobs = Job.objects.filter(status__in=(Job.Status.QUEUED, Job.Status.RUNNING)).count()
    except Error as error:
        say(f"   this release cannot read the restored tables ({error}); run manage.py migrate")
        return
    if first:
        _totals(attempt, f"{first[0].date() - datetime.timedelta(days=1)}")
    if jobs:
        say(
            f"   {jobs} jobs are waiting as they were then. Those answered since would be asked and"
            " paid for again: cancel them in the admin before workers start."
        )
    _forget_answers()
    say(
        "   indexes: snapshots of vectors that the database does not know are set aside by"
        " themselves; compare with: manage.py ai_index --verify\n"
        "   sessions: who signed out since the backup is signed in again; end all sessions with:"
        " manage.py shell -c 'from django.contrib.sessions.models import Session;"
        " Session.objects.all().delete()'"
    )


def _forget_answers() -> None:
    """Make cached answers about indexed rows unusable: they may speak of rows that are gone.

    Never by clear(): with Django's Redis cache that empties the whole database of Redis, in which
    the cost store may be.
    """
    from django_obc_ai.indexes import get_indexes
    from django_obc_ai.services.cache import invalidate, tag_of_index

    names = [each.name for each in get_indexes()]
    invalidate(tags=[tag_of_index(name) for name in names])
    say(
        f"   caches: answers about {', '.join(names) or 'no index'} are not used again; others"
        " until OBC_AI['CACHE']['ttl_seconds'] ends. Do not clear() a Redis that also keeps costs."
    )


def _totals(attempt: Callable[..., bool], first: str) -> None:
    """Compare the cost store's totals with the restored ledger; never lower them by themselves.

    A store outside of the database (Redis) knows what was spent since the backup, and the ledger
    does not: its totals are the truth, and to repair them would let that be spent again.
    """
    if attempt("totals", "reconcile_costs", "--from", first):
        return
    say(
        "   The cost store's totals are not those of the restored ledger. If they are higher, they"
        " hold what was spent since the backup: leave them until the period has ended, or take over"
        " those rows, or give the provider's bill with --export. Then: manage.py reconcile_costs"
        f" --from {first} --repair"
    )


if __name__ == "__main__":
    run(main)
