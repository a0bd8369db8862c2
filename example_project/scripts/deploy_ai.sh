#!/usr/bin/env bash
# Install the site in a folder, or bring it up to the code that this script belongs to.
#
#   deploy_ai.sh [--home DIR] [--yes] [option ...]
#
#   --home DIR           the installation folder; default: see _lib.sh
#   --yes                ask nothing
#   --dry-run            say what would be done, change nothing
#   --host NAMES         names of the site, with commas, the main one first; default: what .env says,
#                        and localhost,127.0.0.1 where there is none
#   --http-port N, --https-port N        default: 8080 and 8443
#   --set NAME=VALUE     a value of deploy/render.py, kept in render.conf; may be given more than once
#   --skip-database      the database is somebody else's: neither made, backed up nor migrated
#   --keep-releases N    how many of the releases that served stay, 2 or more; default: 5
#   --venv DIR           use these packages; do not install those of constraints.txt
#   --no-start           leave the site's processes alone; systemd runs them, for example
#   --no-verify          do not end with verify_ai.sh
#
# Without an .env one is made, mode 0600: SECRET_KEY, DATABASE_URL, REDIS_URL, GOOGLE_API_KEY and the
# others of .env.example are taken from the environment, and what is missing is generated. Without
# DATABASE_URL and REDIS_URL the site gets a PostgreSQL (SQLite where that is not installed) and a
# Redis of its own, on the loopback address; without GOOGLE_API_KEY the offline provider answers;
# without a certificate in tls/ it gets a throwaway one. DJANGO_SUPERUSER_USERNAME, _EMAIL and
# _PASSWORD make a superuser. PYTHON names the Python (3.11 or later) that the packages are for.
#
# It can be run again at any time, also after it was killed: what is done already is left as it is.
# The site serves meanwhile, and takes the new code up without a gap. Before migrations the database
# is backed up. If a step fails, the release before stays.
#
# Exit codes: 0 done, 1 a step failed, 2 called wrongly, 3 refused.
set -euo pipefail
# shellcheck source=_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"

for each in "$@"; do
    case "$each" in -h | --help) show_help && exit 0 ;; esac
done
if ((EUID == 0)); then
    fail "$REFUSED" "This is for an ordinary user, which PostgreSQL insists on, too. Make one, and run it as that:
   adduser --system --group --home /srv/site --shell /bin/bash site
   runuser -u site -- $0 --home /srv/site/installed ..."
fi

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
base=""
for each in "${PYTHON:-}" python3 python3.{14..11}; do
    if [[ -n "$each" ]] && command -v "$each" >/dev/null && is_new_enough "$each"; then
        base="$(command -v "$each")"
        break
    fi
done
if [[ -z "$base" ]]; then
    lacking=(python3 python3-venv)
    PATH="$PATH:/usr/sbin:/usr/local/sbin"
    for each in nginx openssl; do command -v "$each" >/dev/null || lacking+=("$each"); done
    command -v redis-server >/dev/null || command -v valkey-server >/dev/null || lacking+=(redis-server)
    fail "$FAILED" "There is no Python 3.11 or later (PYTHON names one elsewhere). What is missing:
   sudo apt-get install ${lacking[*]}"
fi
unset PYTHONSAFEPATH PYTHONHOME
exec env PYTHONPATH="$site" "$base" -P -m deploy.install "$@"
