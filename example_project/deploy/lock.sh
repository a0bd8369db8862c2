#!/usr/bin/env bash
# Write constraints.txt: one version of everything that the kit installs, with hashes.
#
#   example_project/deploy/lock.sh            keep the versions that stand there, as far as they fit
#   example_project/deploy/lock.sh --upgrade  take the newest ones
#   example_project/deploy/lock.sh --check    write nothing; fail if the file is not what it would be
#   example_project/deploy/lock.sh --help
#
# Needs uv (python -m pip install uv) and a package index; which one, it is told by the environment
# (UV_DEFAULT_INDEX), and the file does not name it. UV=/path/to/uv picks one that is not on PATH.
# Exit codes: 0 done, 1 the file is not current, 2 wrong usage, 3 something is missing.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
uv="${UV:-uv}"
mode="write"
arguments=()
case "${1:-}" in
    "") ;;
    --help | -h)
        sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    --upgrade) arguments+=(--upgrade) ;;
    --check) mode=check ;;
    *)
        echo "lock.sh: unknown argument $1. See --help." >&2
        exit 2
        ;;
esac
if [[ $# -gt 1 ]]; then
    echo "lock.sh: one argument at most. See --help." >&2
    exit 2
fi
if ! command -v "$uv" >/dev/null; then
    echo "lock.sh: uv is not installed. Run: python -m pip install uv" >&2
    exit 3
fi

for extra in google-genai redis celery faiss prometheus example; do
    arguments+=(--extra "$extra")
done

draft="$(mktemp -d)"
trap 'rm -rf "$draft"' EXIT
# The versions in the last file are kept: uv reads what it is about to overwrite.
if [[ -f "$here/constraints.txt" ]]; then
    cp "$here/constraints.txt" "$draft/constraints.txt"
fi
cd "$here/../.."
"$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
    --no-annotate --no-emit-index-url --no-emit-find-links --emit-build-options \
    "${arguments[@]}" --output-file "$draft/constraints.txt" \
    example_project/deploy/requirements.in pyproject.toml
{
    cat <<'END'
# Made by lock.sh from requirements.in and the extras of pyproject.toml; do not edit.
# For Python 3.11 and later on Linux, x86-64. Into an empty environment:
#
#   pip install --require-hashes --only-binary :all: -r constraints.txt
#   pip install --no-deps django_obc_ai-....whl
#
# It names no package index: pip takes the one that it is configured for, and what does not have one
# of these hashes is refused.
END
    cat "$draft/constraints.txt"
} >"$draft/made.txt"

if [[ $mode == check ]]; then
    if ! diff -u "$here/constraints.txt" "$draft/made.txt" >&2; then
        echo "lock.sh: constraints.txt is not current. Run $here/lock.sh" >&2
        exit 1
    fi
    echo "constraints.txt is current."
else
    cp "$draft/made.txt" "$here/constraints.txt"
    echo "constraints.txt: $(grep -c '==' "$here/constraints.txt") releases."
fi
