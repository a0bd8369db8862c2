#!/usr/bin/env bash
# tests/pytest.sh PYTHON [pytest arguments]: run the suite against the package installed for PYTHON,
# in three processes where there are two cores, since tests of servers wait a lot, without what is
# marked as long. `--long` runs just that. With other arguments the run is partial, in one process.
#
#   OBC_AI_TEST_COVERAGE=1   measure branch coverage too, with its gate, which takes a third longer;
#                            without Python's development mode, which takes a tenth more
set -euo pipefail
cd "$(dirname "$0")/.."

python="$1"
shift

source tests/environment.sh "$python"
strict="error::DeprecationWarning,error::PendingDeprecationWarning,error::ResourceWarning"
export PYTHONWARNINGS="$strict"

workers=(--durations=20 --durations-min=3)
if (($# == 0)) || [[ "$*" == --long ]]; then
    if (($# == 0)); then workers+=(-m "not long"); else workers+=(-m long); fi
    (($(nproc) == 1)) || workers+=(--numprocesses=3 --dist=worksteal)
    shift $#
fi

if [[ "${OBC_AI_TEST_COVERAGE:-}" != 1 ]]; then
    # The allocator stays the usual one: the checks of the debug build cost a lot and are of C code.
    export PYTHONDEVMODE=1 PYTHONMALLOC=pymalloc
    exec "$python" -m pytest "${workers[@]}" "$@"
fi
data="$(mktemp -d)"
trap 'rm -rf "$data"' EXIT
export COVERAGE_FILE="$data/coverage"
status=0
"$python" -m coverage run -m pytest "${workers[@]}" "$@" || status=$?
"$python" -m coverage combine --quiet
"$python" -m coverage report || status=$((status ? status : $?))
exit "$status"
