#!/usr/bin/env bash
# tests/debian_packages.sh: bring the programs that proofs run and this machine lacks, where that can
# be: as root, with apt-get. Best effort, within a few minutes; without them the proofs that need them
# skip, and say so. No service is started, and none of them runs afterwards.
#
#   nginx apache2             proxies before the site: deploy_servers, deploy_kit, tests/deploy
#   postgresql redis-server   what the deployment kit runs for a trial: deploy_kit, deploy_backup
#   python3-venv logrotate    the kit's packages and logs: deploy_kit, deploy_servers
#   setpriv (util-linux)      to become an ordinary user: deploy_kit
#   chromium                  dashboard_browser, api; by itself, since it is large
#
# Exit code 0, whatever comes of it.
set -uo pipefail

programs=(nginx apache2 redis-server logrotate openssl git)
packages=()
PATH="$PATH:/usr/sbin:/usr/local/sbin"
for each in "${programs[@]}"; do
    command -v "$each" >/dev/null || packages+=("$each")
done
command -v setpriv >/dev/null || packages+=(util-linux)
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || packages+=(postgresql)
/usr/bin/python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3-venv)
chromium=()
for each in chromium chromium-browser google-chrome; do
    command -v "$each" >/dev/null && break
done || chromium=(chromium)

wanted=("${packages[@]}" "${chromium[@]}")
((${#wanted[@]})) || exit 0
if ((EUID)) || ! command -v apt-get >/dev/null; then
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
install() { # install SECONDS PACKAGE...
    if get "$1" install --yes --no-install-recommends "${@:2}"; then
        echo "Installed for the proofs: ${*:2}"
    else
        echo "Not installed, so that proofs may skip: ${*:2}. $(tail -n 1 "$log")" >&2
    fi
}
get 60 update || echo "apt-get update failed: $(tail -n 1 "$log")" >&2
((!${#packages[@]})) || install 150 "${packages[@]}"
((!${#chromium[@]})) || install 120 "${chromium[@]}"
rm -f "$log"
exit 0
