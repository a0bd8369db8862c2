#!/usr/bin/env bash
# Back up the site's database, SQLite or PostgreSQL, while the site runs.
#
#   db_backup.sh [--home DIR] [--to DIR] [--label TEXT] [--keep-days N] [--database ALIAS]
#   db_backup.sh --schedule [--keep-days N]     print how to do it every night; changes nothing
#
#   --home DIR       the installation folder (its .env names the database); see _lib.sh
#   --to DIR         where backups go; default: backups/ in the installation folder
#   --label TEXT     part of the folder's name: before-migrate, for example
#   --keep-days N    afterwards remove backups older than N days, never the last whole one
#   --database ALIAS which of DATABASES; default: default
#
# A backup is a folder, with mode 0700 and files 0600: the data (a copy of SQLite; pg_dump's custom
# format), manifest.json (when, versions, migrations, rows of each table, the ledger's sum in
# nano-dollars) and SHA256SUMS. It is there whole or not at all. Copy it to another machine, too.
#
# Exit codes: 0 made, 1 not made (nothing was removed), 2 called wrongly.
set -euo pipefail
# shellcheck source=_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"

where="" given=()
while (($#)); do
    case "$1" in
        -h | --help) show_help && exit 0 ;;
        --home) needs_value "$@" && where="$2" && shift 2 ;;
        --to | --label | --keep-days | --database) needs_value "$@" && given+=("$1" "$2") && shift 2 ;;
        --schedule) given+=("$1") && shift ;;
        *) fail "$USAGE" "Unknown argument $1; see $(basename "$0") --help." ;;
    esac
done
use_home "$where"
script="$home/current/example_project/scripts/db_backup.sh"  # of whichever release is current then
[[ -f "$script" ]] || script="$site/scripts/db_backup.sh"
exec "$python" -m deploy.backups.backup --script "$script" ${given[@]+"${given[@]}"}
