#!/usr/bin/env bash
# tests/pytest.sh PYTHON [pytest arguments]: run the suite against the package installed for PYTHON,
# on two cores where there are two, and measure its coverage. With arguments the run is partial, so
# the coverage gate is off and all tests run in one process.
set -euo pipefail
cd "$(dirname "$0")/.."

python="$1"
shift

source tests/environment.sh "$python"
strict="error::DeprecationWarning,error::PendingDeprecationWarning,error::ResourceWarning"

data="$(mktemp -d)"
trap 'rm -rf "$data"' EXIT
export COVERAGE_FILE="$data/coverage"

workers=()
if (($# == 0)) && (($(nproc) > 1)); then
    workers=(--numprocesses=2 --dist=worksteal)
fi

status=0
PYTHONDEVMODE=1 PYTHONWARNINGS="$strict" "$python" -m coverage run -m pytest "${workers[@]}" "$@" \
    || status=$?

gate=()
if (($# > 0)); then
    gate=(--fail-under=0)
    echo "Arguments were given: coverage is shown without its gate."
fi
"$python" -m coverage combine --quiet
"$python" -m coverage report "${gate[@]}" || status=$((status ? status : $?))
exit "$status"
