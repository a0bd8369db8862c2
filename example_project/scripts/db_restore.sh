#!/usr/bin/env bash
# Restore a backup of db_backup.sh: into a new database first, compared there, then swapped in.
#
#   db_restore.sh [--home DIR] BACKUP [--force] [--migrate] [--database ALIAS]
#   db_restore.sh [--home DIR] BACKUP --rehearse     try the backup, leave everything as it is
#
#   BACKUP           a backup's folder or a file in it, or "latest": the newest whole one
#   --home DIR       the installation folder (its .env names the database); see _lib.sh
#   --force          replace a database that holds data, also while the site runs; what was there is
#                    kept under another name
#   --migrate        apply migrations that this release has and the backup has not, before the swap
#   --database ALIAS which of DATABASES; default: default
#
# Checksums and manifest are compared first; rows of each table and the ledger, to the nano-dollar,
# in the new database. If anything fails or this is killed, the present database is as it was. A
# database NAME_restore_... or file NAME.restore-... that is left by a kill can be removed.
#
# Exit codes: 0 restored, 1 not restored, 2 called wrongly, 3 refused (--force is for that).
set -euo pipefail
# shellcheck source=_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"

where="" backup="" given=()
while (($#)); do
    case "$1" in
        -h | --help) show_help && exit 0 ;;
        --home) needs_value "$@" && where="$2" && shift 2 ;;
        --database) needs_value "$@" && given+=("$1" "$2") && shift 2 ;;
        --force | --migrate | --rehearse) given+=("$1") && shift ;;
        -*) fail "$USAGE" "Unknown argument $1; see $(basename "$0") --help." ;;
        *)
            [[ -z "$backup" ]] || fail "$USAGE" "One backup at a time: $backup or $1?"
            backup="$1" && shift
            ;;
    esac
done
[[ -n "$backup" ]] || fail "$USAGE" "Which backup? Name its folder, or latest; see --help."
use_home "$where"
while IFS= read -r each; do given+=(--running "$each"); done < <(programs running)
exec "$python" -m deploy.backups.restore "${given[@]+"${given[@]}"}" -- "$backup"
