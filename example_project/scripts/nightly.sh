#!/usr/bin/env bash
# The work of the night: back up, remove old backups, rotate logs. supervisord runs it by the clock.
#
#   nightly.sh [--home DIR] --once      do it now
#   nightly.sh [--home DIR] --status    say how it ended last, and how old the newest backup is
#   nightly.sh [--home DIR]             do it every night, until it is ended
#
#   --home DIR     the installation folder; see _lib.sh
#   --at HH:MM     when, in the machine's own time
#   --keep-days N  remove backups older than N days, never the last whole one
#   --only PART    backup or logs, where something else does the other
#   --log FILE     write there, too, what is printed
#
# Without these two, time and days are those of render.conf (nightly_at, keep_backups_days), and 02:30
# and 14 where it does not name them. How each part ended is kept in run/nightly.json.
#
# Exit codes: 0 done, 1 a part failed (of --status: the backup is missing or older than 26 hours),
# 2 called wrongly, 3 it is under way already.
set -euo pipefail
# shellcheck source=_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"

where="" given=()
while (($#)); do
    case "$1" in
        -h | --help) show_help && exit 0 ;;
        --home) needs_value "$@" && where="$2" && shift 2 ;;
        --at | --keep-days | --only | --log) needs_value "$@" && given+=("$1" "$2") && shift 2 ;;
        --once | --status) given+=("$1") && shift ;;
        *) fail "$USAGE" "Unknown argument $1; see $(basename "$0") --help." ;;
    esac
done
use_home "$where"
exec "$python" -P -m deploy.nightly --home "$home" ${given[@]+"${given[@]}"}
