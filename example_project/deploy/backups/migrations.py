"""The migrations of a release, and the way back to them; scripts/rollback.sh uses it.

python deploy/backups/migrations.py known                   what the code at hand knows, as JSON
python -m deploy.backups.migrations reverse --known FILE    unapply what FILE does not name
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

# Nothing of deploy at the top: `known` runs with an older release's modules.


def known() -> dict[str, list[str]]:
    """Return the migrations of each installed app, those replaced by squashed ones, too."""
    from django.db.migrations.loader import MigrationLoader

    loader = MigrationLoader(None)
    found: dict[str, set[str]] = {app: set() for app in loader.migrated_apps}
    for (app, name), migration in loader.disk_migrations.items():
        found[app].add(name)
        for old_app, old_name in migration.replaces:
            found.setdefault(old_app, set()).add(old_name)
    return {app: sorted(names) for app, names in sorted(found.items())}


def steps_back(executor: Any, older: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Return the applied migrations that an older release does not know, in order of reversal.

    Raises:
        Problem: One of them cannot be reversed, or something that the older release knows rests
            on one.
    """
    from deploy.backups.problems import Problem

    loader = executor.loader
    unknown = {
        (app, name)
        for app, name in loader.applied_migrations
        if name not in older.get(app, ()) and app in loader.migrated_apps
    }
    lost = sorted(unknown - set(loader.graph.nodes))
    if lost:
        raise Problem(
            f"Applied, and known to neither release: {_listed(lost)}. The release that made them"
            " has to take them back, or restore an earlier backup."
        )
    order: list[tuple[str, str]] = []
    for node in sorted(unknown):
        for each in loader.graph.backwards_plan(node):
            if each in loader.applied_migrations and each not in order:
                order.append(each)
    kept = [each for each in order if each not in unknown]
    if kept:
        raise Problem(
            f"The older release knows {_listed(kept)}, which rest on what it does not know: its"
            " migrations were changed after it. Restore a backup of its time instead."
        )
    # Latest first: what depends on another goes before it.
    latest = [
        node for leaf in loader.graph.leaf_nodes() for node in loader.graph.forwards_plan(leaf)
    ]
    place = {node: number for number, node in enumerate(dict.fromkeys(latest))}
    order.sort(key=lambda node: place[node], reverse=True)
    stuck = [
        each
        for each in order
        if not all(one.reversible for one in loader.graph.nodes[each].operations)
    ]
    if stuck:
        raise Problem(
            f"{_listed(stuck)} cannot be reversed. Nothing was changed; to go back, restore a"
            " backup that was made before them: db_restore.sh with the older release."
        )
    return order


def reverse(older: dict[str, list[str]], alias: str, *, is_dry_run: bool) -> None:
    """Unapply what an older release does not know; forward again if one of them fails."""
    from django.core.management import CommandError, call_command
    from django.db import Error, connections
    from django.db.migrations.executor import MigrationExecutor

    from deploy.backups.problems import Problem, say

    executor = MigrationExecutor(connections[alias])
    order = steps_back(executor, older)
    if not order:
        say("   no migration has to be reversed")
        return
    # Each to the one before it, so that every step is one that can be read in the log.
    for app, name in order:
        parents = [
            key for key in executor.loader.graph.node_map[app, name].parents if key[0] == app
        ]
        target = max(parents)[1] if parents else "zero"
        say(f"   migrate {app} {target}  (takes back {name})")
        if is_dry_run:
            continue
        try:
            call_command("migrate", app, target, database=alias, interactive=False, verbosity=0)
        except (CommandError, Error) as error:
            say(f"   {app}.{name} could not be reversed; migrate forward again")
            call_command("migrate", database=alias, interactive=False, verbosity=0)
            raise Problem(f"Reversing {app}.{name} failed: {error}") from error
    if not is_dry_run and (left := steps_back(MigrationExecutor(connections[alias]), older)):
        raise Problem(f"Still applied: {_listed(left)}")


def _listed(migrations: list[tuple[str, str]]) -> str:
    return ", ".join(".".join(each) for each in migrations)


def main() -> None:
    """See the module."""
    import django

    parser = argparse.ArgumentParser(prog="deploy.backups.migrations")
    parser.add_argument("what", choices=("known", "reverse"))
    parser.add_argument("--known", type=Path)
    parser.add_argument("--database", default="default")
    parser.add_argument("--dry-run", action="store_true")
    given = parser.parse_args()
    django.setup()
    if given.what == "known":
        json.dump(known(), sys.stdout)
        return
    reverse(json.loads(given.known.read_text()), given.database, is_dry_run=given.dry_run)


if __name__ == "__main__":
    if "known" in sys.argv[1:2]:
        main()
    else:
        from deploy.backups.problems import run

        run(main)
