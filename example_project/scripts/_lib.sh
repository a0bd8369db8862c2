# shellcheck shell=bash
# Sourced by the scripts beside it: the installation folder, its Python, messages, exit codes.
#
# An installation folder (--home DIR) holds .env, venvs/, releases/, current, run/, log/, backups/.
# A release is releases/NAME with example_project/, django_obc_ai/ unless its packages have it, and
# venv, which leads to its packages in venvs/.

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
    # deploy.settings reads the .env itself; without one this is the local demo.
    if [[ -z "${DJANGO_SETTINGS_MODULE:-}" && -f "$home/.env" && -f "$site/deploy/settings.py" ]]; then
        DJANGO_SETTINGS_MODULE=deploy.settings
    fi
    export DJANGO_SETTINGS_MODULE="${DJANGO_SETTINGS_MODULE:-obc_site.settings}"
    python="$(find_python "$(dirname "$site")")"
    use_release "$(dirname "$site")"
}

# PYTHON, else the release's own packages, else those of the current release, else one with Django.
find_python() { # find_python RELEASE
    local each
    for each in "${PYTHON:-}" "$1/venv/bin/python" "$home/current/venv/bin/python" python3; do
        if [[ -n "$each" ]] && command -v "$each" >/dev/null && "$each" -c 'import django' 2>/dev/null; then
            command -v "$each"
            return
        fi
    done
    fail "$FAILED" "No Python with Django in $1/venv (nor PYTHON, nor python3): run deploy_ai.sh first."
}

# Let Python find the release's own code first. A clone's package counts where none is installed.
use_release() { # use_release RELEASE
    local base="${OBC_SITE_BASE_PYTHONPATH-${PYTHONPATH:-}}"
    export OBC_SITE_BASE_PYTHONPATH="$base"
    PYTHONPATH="$1/example_project${base:+:$base}"
    if [[ -d "$1/django_obc_ai" ]] && { [[ "$1" == */releases/* ]] || ! has_package; }; then
        PYTHONPATH="$1/example_project:$1${base:+:$base}"
    fi
    export PYTHONPATH
    unset PYTHONSAFEPATH
}

has_package() { (cd / && PYTHONPATH="$OBC_SITE_BASE_PYTHONPATH" "$python" -c 'import django_obc_ai' 2>/dev/null); }

# supervisorctl of this installation, or of OBC_SITE_SUPERVISOR_CONF (environment or .env). Exit code
# 4: there is none, or no configuration for it.
supervisor() { # supervisor ARGUMENTS...
    local conf="${OBC_SITE_SUPERVISOR_CONF:-}" program
    if [[ -z "$conf" && -f "$home/.env" ]]; then
        conf="$("$python" -P "$site/deploy/dotenv.py" OBC_SITE_SUPERVISOR_CONF "$home/.env")"
    fi
    conf="${conf:-$home/conf/supervisord.conf}"
    [[ -f "$conf" ]] || return 4
    if "$python" -c 'import supervisor' 2>/dev/null; then
        "$python" -m supervisor.supervisorctl -c "$conf" "$@"
    else
        program="$(command -v supervisorctl)" || return 4
        "$program" -c "$conf" "$@"
    fi
}
supervisor_runs() { supervisor pid >/dev/null 2>&1; }
# Names of the programs that use code and database, so neither nginx nor what a trial runs besides.
programs() { # programs all|running
    local wanted=.
    [[ "$1" == running ]] && wanted='^[^ ]+ +(RUNNING|STARTING|BACKOFF|STOPPING)'
    local told status=0
    told="$(supervisor status 2>&1)" || status=$?
    # 3: not all of them run; 4: there is no supervisor, or it does not run.
    ((status == 0 || status == 3 || status == 4)) || warn "supervisorctl does not tell what runs: ${told##*$'\n'}"
    printf '%s\n' "$told" | { grep -E "$wanted" || true; } | awk '$1 !~ /^(nginx|postgres|redis)$/ && $2 ~ /^[A-Z]+$/ { print $1 }'
}

# One at a time changes what is current; a script that was killed holds it no longer.
lock_releases() {
    mkdir -p "$home/run"
    exec {releases_lock}>>"$home/run/deploy.lock"
    ! command -v flock >/dev/null || flock --nonblock "$releases_lock" \
        || fail "$REFUSED" "Another deploy_ai.sh or rollback.sh works in $home: wait for its end."
}

# What verify_ai.sh and verify_security.sh do: hand everything but the folder to a part of deploy/verify.
verify() { # verify MODULE ARGUMENTS...
    local module="$1" where="" given=()
    shift
    while (($#)); do
        case "$1" in
            -h | --help) show_help && exit 0 ;;
            --home) needs_value "$@" && where="$2" && shift 2 ;;
            *) given+=("$1") && shift ;;
        esac
    done
    # The deployed site is asked for, also where its .env is missing: a check of each says so.
    export DJANGO_SETTINGS_MODULE="${DJANGO_SETTINGS_MODULE:-deploy.settings}"
    use_home "$where"
    exec "$python" -P -m "$module" ${given[@]+"${given[@]}"}
}
