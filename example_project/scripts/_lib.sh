# shellcheck shell=bash
# Sourced by the scripts beside it: the installation folder, its Python, messages, exit codes.
#
# An installation folder (--home DIR) holds .env, venv/, releases/, current, run/, log/, backups/.
# A release is a copy of this repository: releases/NAME/{django_obc_ai,example_project}; where it
# needs packages of its own it has a venv, too: releases/NAME/venv.

# shellcheck disable=SC2034 # the scripts use them
readonly FAILED=1 USAGE=2 REFUSED=3
umask 077

#: The example_project folder that the running script belongs to, links resolved.
site="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"

say() { printf '== %s\n' "$*"; }
note() { printf '   %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
fail() { # fail CODE MESSAGE...
    local code="$1"
    shift
    printf 'error: %s\n' "$*" >&2
    exit "$code"
}

# The comment at the head of the script that runs is its help.
show_help() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; }
needs_value() { [[ -n "${2:-}" ]] || fail "$USAGE" "$1 needs a value; see $(basename "$0") --help."; }

# Where this installation is: --home, else OBC_SITE_VAR, else around the release the script is in.
use_home() { # use_home [DIR]
    local around
    around="$(dirname "$(dirname "$site")")"
    if [[ -n "${1:-}" ]]; then
        home="$1"
    elif [[ -n "${OBC_SITE_VAR:-}" ]]; then
        home="$OBC_SITE_VAR"
    elif [[ "$(basename "$around")" == releases ]]; then
        home="$(dirname "$around")"
    else
        home="$site/var/production"
    fi
    [[ -d "$home" ]] || fail "$USAGE" "There is no installation folder $home; name one with --home DIR."
    home="$(cd "$home" && pwd -P)"
    export OBC_SITE_VAR="$home"
    load_env "$home/.env"
    if [[ -z "${DJANGO_SETTINGS_MODULE:-}" ]]; then
        export DJANGO_SETTINGS_MODULE=obc_site.settings
        if [[ -f "$home/.env" && -f "$site/deploy/settings.py" ]]; then
            DJANGO_SETTINGS_MODULE=deploy.settings
        fi
    fi
    python="$(find_python "$(dirname "$site")")"
    use_release "$(dirname "$site")"
}

# NAME=value lines, never run as shell; what is in the environment already stays.
load_env() { # load_env FILE
    local line name value
    [[ -f "$1" ]] || return 0
    [[ -r "$1" ]] || fail "$FAILED" "$1 cannot be read by $(id -un); run this as the site's user."
    while IFS= read -r line || [[ -n "$line" ]]; do
        [[ "$line" =~ ^[[:space:]]*(export[[:space:]]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$ ]] || continue
        name="${BASH_REMATCH[2]}" value="${BASH_REMATCH[3]%$'\r'}"
        [[ "$value" =~ ^\"(.*)\"$ || "$value" =~ ^\'(.*)\'$ ]] && value="${BASH_REMATCH[1]}"
        [[ -n "${!name+set}" ]] || export "$name=$value"
    done <"$1"
}

# PYTHON, else the release's own venv, else the installation's, else one that has Django.
find_python() { # find_python RELEASE
    local each
    for each in "${PYTHON:-}" "$1/venv/bin/python" "$home/venv/bin/python" python3; do
        if [[ -n "$each" ]] && command -v "$each" >/dev/null && "$each" -c 'import django' 2>/dev/null; then
            command -v "$each"
            return
        fi
    done
    fail "$FAILED" "No Python with Django in $home/venv (nor PYTHON, nor python3): run deploy_ai.sh first."
}

# Let Python find the release's own packages first.
use_release() { # use_release RELEASE
    local base="${OBC_SITE_BASE_PYTHONPATH-${PYTHONPATH:-}}"
    export OBC_SITE_BASE_PYTHONPATH="$base"
    export PYTHONPATH="$1/example_project:$1${base:+:$base}"
    unset PYTHONSAFEPATH
}

# What supervisor runs here; nothing if it is not in use. Its answers are the caller's to judge.
supervisor_conf() {
    local each
    for each in "${OBC_SITE_SUPERVISOR_CONF:-}" "$home"/{,run/,etc/}supervisord.conf; do
        [[ -f "$each" ]] && printf '%s\n' "$each" && return
    done
    return 1
}
supervisor() { # supervisor ARGUMENTS...
    local conf program="$home/venv/bin/supervisorctl"
    conf="$(supervisor_conf)" || return 4
    [[ -x "$program" ]] || program="$(command -v supervisorctl)" || return 4
    "$program" -c "$conf" "$@"
}
supervisor_runs() { supervisor pid >/dev/null 2>&1; }
