#!/usr/bin/env bash
# Run a management command in an installation: with its settings, its release and its packages.
#
#   manage.sh [--home DIR] COMMAND [ARGUMENT...]
#   manage.sh createsuperuser
#   manage.sh --home /srv/site ai_health_check
#
#   --home DIR  the installation folder; see _lib.sh
#
# It is the current release's command, whichever release or clone this script is of; before there is
# a current one, it is this one's. Exit codes are the command's own, and 2: called wrongly.
set -euo pipefail
# shellcheck source=_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"

where=""
while (($#)); do
    case "$1" in
        -h | --help) show_help && exit 0 ;;
        --home) needs_value "$@" && where="$2" && shift 2 ;;
        -*) fail "$USAGE" "Unknown argument $1; see $(basename "$0") --help." ;;
        *) break ;;
    esac
done
(($#)) || fail "$USAGE" "Which command? manage.sh help lists them all; see --help."
use_home "$where"
if [[ -f "$home/current/example_project/manage.py" ]]; then
    current="$(cd "$home/current" && pwd -P)"
    site="$current/example_project"
    python="$(find_python "$current")"
    use_release "$current"
fi
exec "$python" "$site/manage.py" "$@"
