#!/usr/bin/env bash
# Acceptance proofs and benchmarks: what is too long for the test suite. Without arguments their
# names are listed.
#
#   tests/acceptance/run.sh NAME           full size; the result goes to docs/acceptance/NAME.md
#   tests/acceptance/run.sh NAME --small   reduced size for CI; the result is only printed
#
# Each is NAME.py (or .sh) in tests/acceptance or tests/benchmarks. It takes [--small] --out FILE,
# resumes where it can and has 25 minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."

scripts() {
    find tests/acceptance tests/benchmarks -maxdepth 1 \( -name '*.py' -o -name '*.sh' \) \
        ! -name '_*' ! -name run.sh
}
names() { scripts | sed 's/.*\///; s/\.[^.]*$//' | sort; }

name="${1:-}"
if [[ -z "$name" ]]; then
    names
    exit 0
fi
if ! names | grep -qx -- "$name"; then
    echo "There is no proof '$name'. There are:" >&2
    names | sed 's/^/  /' >&2
    exit 2
fi
shift

out="$PWD/docs/acceptance/$name.md"
if [[ "${1:-}" == --small ]]; then
    scratch="$(mktemp -d)"
    trap 'rm -rf "$scratch"' EXIT
    out="$scratch/$name.md"
fi
mkdir -p "$(dirname "$out")"

python="$(tests/prepare.sh)"
export PYTHON="$python"
source tests/environment.sh "$python"
script="$(scripts | grep -E "/$name\.(py|sh)$")"
command=("$python" "$script")
[[ "$script" == *.sh ]] && command=(bash "$script")

status=0
timeout --kill-after=30 25m "${command[@]}" "$@" --out "$out" </dev/null || status=$?
((status == 124)) && echo "$name: stopped after 25 minutes" >&2
[[ -f "$out" ]] && cat "$out"
exit "$status"
