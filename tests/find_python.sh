#!/usr/bin/env bash
# Print the path of a Python interpreter that runs and is new enough for this project.
#
#   tests/find_python.sh                 $PYTHON if set, else python3, else the newest
#   tests/find_python.sh 3.12            a version, a name (python3.12) or a path
#   tests/find_python.sh --newest        the newest there is
#   tests/find_python.sh --all           one of each minor version, newest first, a line each
#
# A name on PATH that does not run counts as missing: pyenv's shims exist for every installed
# version but work only for the selected ones. So $PYENV_ROOT/versions is searched as well.
set -euo pipefail

oldest=11  # requires-python in pyproject.toml
newest=20  # far enough ahead
pyenv_versions="${PYENV_ROOT:-${HOME:-}/.pyenv}/versions"

# executable_of CANDIDATE: print sys.executable if the candidate runs, is new enough and has the
# standard modules that the tests need.
executable_of() {
    timeout 30 "$1" -c "
import sys
if sys.version_info < (3, $oldest): raise SystemExit(1)
import sqlite3, ssl, venv
print(sys.executable)" 2>/dev/null </dev/null
}

# find_named NAME: try each NAME on PATH, then pyenv's versions of it.
find_named() {
    local name="$1" version candidate
    if [[ "$name" == */* ]]; then
        executable_of "$name"
        return
    fi
    [[ "$name" =~ ^[0-9] ]] && name="python$name"
    while read -r candidate; do
        [[ -n "$candidate" ]] && executable_of "$candidate" && return
    done < <(type -aP "$name" || true)
    version="${name#python}"
    [[ -d "$pyenv_versions" && "$version" =~ ^[0-9.]*$ ]] || return 1
    while read -r candidate; do
        case "$candidate" in
            "$version" | "$version".*) executable_of "$pyenv_versions/$candidate/bin/python" && return ;;
        esac
        [[ -z "$version" ]] && executable_of "$pyenv_versions/$candidate/bin/python" && return
    done < <(ls -1 "$pyenv_versions" | sort -rV)
    return 1
}

find_all() {
    local minor
    for ((minor = newest; minor >= oldest; minor--)); do
        find_named "3.$minor" || true
    done
}

fail() {
    echo "$1" >&2
    echo "Interpreters that would do:" >&2
    find_all | sed 's/^/  /' >&2
    echo "Install Python 3.$oldest or later, or set PYTHON to the path of one." >&2
    exit 1
}

wanted="${1:-${PYTHON:-}}"
case "$wanted" in
    --all) find_all ;;
    --newest) find_all | head -n 1 | grep . || fail "No usable Python 3.$oldest or later was found." ;;
    "")
        find_named python3 || find_all | head -n 1 | grep . \
            || fail "No usable Python 3.$oldest or later was found."
        ;;
    *) find_named "$wanted" || fail "'$wanted' is no Python 3.$oldest or later that runs (with ssl and sqlite3)." ;;
esac
