#!/usr/bin/env bash
# tests/tox.sh PYTHON ENVIRONMENTS: run environments of tox.ini, with commas, two at a time. Tox itself
# comes into .venv-tests.
set -euo pipefail
cd "$(dirname "$0")/.."

venv="$PWD/.venv-tests/tox"
tests/make_venv.sh "$1" "$venv"
"$venv/bin/pip" install --quiet tox
TOX_DISCOVER="$(tests/find_python.sh --all | paste -sd:)"
export TOX_DISCOVER
exec "$venv/bin/tox" run-parallel -q -p 2 --parallel-no-spinner -e "$2"
