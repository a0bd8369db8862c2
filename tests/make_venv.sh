#!/usr/bin/env bash
# tests/make_venv.sh PYTHON FOLDER: make a virtual environment whose pip knows --group, or keep the
# one that is there if it still fits PYTHON.
set -euo pipefail

python="$1"
folder="$2"

# pip 25.1 brought --group (PEP 735).
knows_groups() {
    "$1" -c 'import sys, pip; sys.exit(tuple(map(int, pip.__version__.split(".")[:2])) < (25, 1))' \
        2>/dev/null
}
base_of() { "$1" -c 'import sys; print(sys.base_prefix, sys.version)' 2>/dev/null; }

if [[ -x "$folder/bin/python" && "$(base_of "$folder/bin/python")" == "$(base_of "$python")" ]] \
    && knows_groups "$folder/bin/python"; then
    exit 0
fi

rm -rf "$folder"
mkdir -p "$(dirname "$folder")"
log="$(mktemp)"
trap 'rm -f "$log"' EXIT

# Debian keeps ensurepip in a package of its own (python3-venv), so a plain venv may fail.
if ! "$python" -m venv "$folder" >"$log" 2>&1; then
    rm -rf "$folder"
    if "$python" -m virtualenv --version >/dev/null 2>&1; then
        "$python" -m virtualenv --quiet "$folder"
    elif "$python" -m pip --version >/dev/null 2>&1; then
        "$python" -m venv --without-pip "$folder"
        "$python" -m pip --python "$folder/bin/python" install --quiet pip
    else
        cat "$log" >&2
        echo "$python can make no virtual environment: it has neither ensurepip, virtualenv nor pip." >&2
        echo "On Debian and Ubuntu: apt-get install python3-venv. Or set PYTHON to another one." >&2
        exit 1
    fi
fi

if ! knows_groups "$folder/bin/python"; then
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
fi
