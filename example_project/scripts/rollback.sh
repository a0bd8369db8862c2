#!/usr/bin/env bash
# Go back to an earlier release: its migrations, then its code and its packages.
#
#   rollback.sh [--home DIR] [RELEASE] [--dry-run] [--force]
#
#   RELEASE     a folder's name in releases/; default: the one that served before the current one, or
#               the one that this was on its way to when it failed
#   --home DIR  the installation folder; see _lib.sh
#   --dry-run   say what would be done, change nothing
#   --force     go on although the site runs without supervisor (restart it yourself afterwards)
#
# It backs up the database, stops the programs through supervisor where it runs, takes back the
# migrations that the older release does not know (with the current release's code, which does),
# switches the link `current` in one step, fills conf/ as the older release does, and starts the
# programs. What cannot be reversed is found before anything is changed. If a step before the switch
# fails, the current release stays, with its migrations. After it the older one is current, and the
# same again starts what does not run: run/rollback names it until then.
#
# Exit codes: 0 done, 1 not done (the message says which release is current), 2 called wrongly,
# 3 refused.
set -euo pipefail
# shellcheck source=_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"

where="" target="" dry="" force=""
while (($#)); do
    case "$1" in
        -h | --help) show_help && exit 0 ;;
        --home) needs_value "$@" && where="$2" && shift 2 ;;
        --dry-run) dry=1 && shift ;;
        --force) force=1 && shift ;;
        -*) fail "$USAGE" "Unknown argument $1; see $(basename "$0") --help." ;;
        *) target="$1" && shift ;;
    esac
done
use_home "$where"

[[ -L "$home/current" ]] || fail "$USAGE" "There is no link $home/current to a release: nothing was deployed here."
current="$(cd "$home/current" 2>/dev/null && pwd -P)" \
    || fail "$FAILED" "$home/current leads nowhere: point it to a folder in $home/releases."
pending="$home/run/rollback"
under_way="$(cat "$pending" 2>/dev/null || true)"
if [[ -z "$target" ]]; then
    target="${under_way:-$("$python" -P -m deploy.install.releases before "$home")}"
    [[ -n "$target" ]] || fail "$USAGE" "There is no release before $(basename "$current") in $home/releases."
fi
older="$home/releases/$(basename "$target")"
[[ -f "$older/example_project/manage.py" ]] \
    || fail "$USAGE" "$older is no release: it has no example_project/manage.py. There are: $(ls "$home/releases")"
[[ "$older" != "$current" || "$under_way" == "$(basename "$older")" ]] \
    || fail "$USAGE" "$(basename "$older") is the current release."

# From here on with the current release's code, whichever release this script is of.
site="$current/example_project"
python="$(find_python "$current")"
draft="$(mktemp -d)"
known="$draft/known"
trap 'rm -rf "$draft"' EXIT

# Fill conf/ with the older release's files, or another folder; where no render.conf says with what
# values, conf/ was not made by deploy_ai.sh.
fill() { # fill [--out DIR]
    local its_python
    [[ -f "$home/render.conf" ]] || return 0
    its_python="$(find_python "$older")"
    "$its_python" -P "$older/example_project/deploy/render.py" --home "$home" "$@" >/dev/null
}

# Go on from where the older release is current: to where all of it runs.
finish() {
    fill || fail "$FAILED" "$(basename "$older") is current, and conf/ could not be filled (see above). $again"
    if supervisor_runs; then
        say "Start the programs"
        if [[ -f "$home/render.conf" ]]; then
            supervisor update || fail "$FAILED" "$(basename "$older") is current, and supervisor does not take its files. $again"
            ! supervisor status nginx 2>/dev/null | grep -q RUNNING || supervisor signal HUP nginx
        fi
        mapfile -t managed < <(programs all)
        ((${#managed[@]} == 0)) || supervisor start "${managed[@]}" \
            || fail "$FAILED" "$(basename "$older") is current, and not all of it started: see supervisorctl status and $home/log. $again"
    elif [[ -n "$living" ]]; then
        warn "still running on the code before: $living; restart it."
    fi
    rm -rf "$home/conf.before" # of a deploy that did not come to its end
    "$python" -P -m deploy.install.releases went-back "$home" "$(basename "$older")"
    say "$(basename "$older") is current."
    exit 0
}
again="Correct it; the same again goes on from here."

say "From $(basename "$current") to $(basename "$older")"
(
    its_python="$(find_python "$older")"
    use_release "$older"
    cd "$older/example_project"
    "$its_python" -P "$site/deploy/backups/migrations.py" known >"$known"
) || fail "$FAILED" "$(basename "$older") does not start (see above); the current release stays."
use_release "$current"
cd "$site"
fill --out "$draft/conf" || fail "$FAILED" "$(basename "$older") cannot fill conf/ (see above): take what it does not
   know out of $home/render.conf. The current release stays."

reverse() { "$python" -m deploy.backups.migrations reverse --known "$known" "$@"; }
runs() { "$python" -c 'import os, pathlib
from deploy.backups import running
print("; ".join(running.living(pathlib.Path(os.environ["OBC_SITE_VAR"]))))'; }

if [[ "$older" == "$current" ]]; then
    say "Goes on: $(basename "$older") is current already"
    [[ -z "$dry" ]] || exit 0
    lock_releases
    living="$(runs)"
    finish
fi
say "Migrations to take back"
reverse --dry-run || fail "$FAILED" "The current release stays."
managed=()
supervisor_runs && mapfile -t managed < <(programs all)
if [[ -n "$dry" ]]; then
    ((${#managed[@]})) && note "supervisor would stop and start ${managed[*]}"
    note "backs up the database into $home/backups, then switches $home/current to $older"
    say "Dry run: nothing was changed."
    exit 0
fi
lock_releases
living="$(runs)"
if [[ "${#managed[@]}" == 0 && -n "$living" && -z "$force" ]]; then
    fail "$REFUSED" "The site runs without supervisor ($living): stop it, or use --force."
fi

say "Back up"
"$python" -m deploy.backups.backup --script "$site/scripts/db_backup.sh" --label "before-rollback" \
    || fail "$FAILED" "There is no backup, so nothing was changed; the current release stays."

start() {
    ((${#managed[@]} == 0)) || supervisor start "${managed[@]}" || warn "not all started: supervisorctl status"
}
if ((${#managed[@]})); then
    say "Stop the programs"
    supervisor stop "${managed[@]}" || fail "$FAILED" "supervisor could not stop the programs; the current release stays."
fi

say "Take back"
basename "$older" >"$pending"
if ! reverse; then
    rm -f "$pending"
    start
    fail "$FAILED" "The current release stays. The database as it was: db_restore.sh latest --force"
fi

say "Switch $home/current"
# Made beside and renamed: the link leads to the one or to the other, at any moment.
ln -s "releases/$(basename "$older")" "$home/.current-$$"
if ! mv -T "$home/.current-$$" "$home/current"; then
    rm -f "$home/.current-$$"
    "$python" manage.py migrate --noinput --verbosity 0 || warn "migrate forward by hand"
    rm -f "$pending"
    start
    fail "$FAILED" "$home/current could not be replaced; the current release stays."
fi
finish
