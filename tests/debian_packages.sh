#!/usr/bin/env bash
# tests/debian_packages.sh [servers|browser]: bring the programs that proofs run and this machine
# lacks, where that can be: as root, with apt-get. Best effort, within a few minutes; without them the
# proofs that need them skip, and say so. No service is started, and none of them runs afterwards.
#
#   servers: nginx apache2 openssl   the site behind them: tests/deploy, deploy_servers, deploy_kit
#            postgresql redis-server what the kit runs for a trial: deploy_kit
#            python3-venv git        packages and code of the kit: deploy_kit
#            logrotate               deploy_servers
#            util-linux (setpriv)    to become an ordinary user: deploy_kit
#   browser: chromium                dashboard_browser, api
#
# Exit code 0, whatever comes of it.
set -uo pipefail

wanted=()
PATH="$PATH:/usr/sbin:/usr/local/sbin"
has() { command -v "$1" >/dev/null; }
if [[ "${1:-servers}" == servers ]]; then
    for each in nginx apache2 redis-server logrotate openssl git; do
        has "$each" || wanted+=("$each")
    done
    has setpriv || wanted+=(util-linux)
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || wanted+=(postgresql)
    /usr/bin/python3 -c 'import venv, ensurepip' 2>/dev/null || wanted+=(python3-venv)
fi
if [[ "${1:-browser}" == browser && -z "${CHROMIUM:-}" ]]; then
    has chromium || has chromium-browser || has google-chrome || wanted+=(chromium)
fi
((${#wanted[@]})) || exit 0
if ((EUID)) || ! has apt-get; then
    echo "Proofs may skip for want of: ${wanted[*]} (as root, with apt-get, they are installed)." >&2
    exit 0
fi

# Packages start their services when they are installed, unless this says no.
policy=/usr/sbin/policy-rc.d
if [[ ! -e "$policy" ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
log="$(mktemp)"
get() { timeout --kill-after=10 "$1" apt-get -qq -o DPkg::Lock::Timeout=60 "${@:2}" </dev/null >>"$log" 2>&1; }
get 60 update || echo "apt-get update failed: $(tail -n 1 "$log")" >&2
if get 240 install --yes --no-install-recommends "${wanted[@]}"; then
    echo "Installed for the proofs: ${wanted[*]}"
else
    echo "Not installed, so that proofs may skip: ${wanted[*]}. $(tail -n 1 "$log")" >&2
fi
rm -f "$log"
exit 0
