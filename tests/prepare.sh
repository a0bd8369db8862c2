#!/usr/bin/env bash
# tests/prepare.sh: build the wheel, install it with the test group into a virtual environment of
# its own, and print that environment's python on standard output.
#
#   PYTHON  a name or path of the interpreter (see find_python.sh)
#   DJANGO  the Django to install: 5.2 or 5.2.8; default: the newest that the Python takes
#   EXTRAS  extras to install, "" for none; default: every one, also what "all" leaves out
#   PREPARED  a python that this script printed before: it is printed again and nothing is done
set -euo pipefail
if [[ -n "${PREPARED:-}" ]]; then
    echo "$PREPARED"
    exit 0
fi
cd "$(dirname "$0")/.."

python="$(tests/find_python.sh)"
version="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
extras="${EXTRAS-all,google-generativeai}"
venv="$PWD/.venv-tests/py$version-django${DJANGO:-newest}${extras:+-${extras//,/-}}"
django="Django"
case "${DJANGO:-}" in
    "") ;;
    *.*.*) django="Django==$DJANGO" ;;
    *) django="Django==$DJANGO.*" ;;
esac

{
    echo "Python $version ($python), $django, in $venv"
    tests/make_venv.sh "$python" "$venv"
    wheels="$(mktemp -d)"
    trap 'rm -rf "$wheels"' EXIT
    pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
    pip wheel --quiet --no-deps --wheel-dir "$wheels" .
    wheel="$(echo "$wheels"/*.whl)"
    pip install --quiet --group test ${extras:+--group deploy} "$django" "$wheel${extras:+[$extras]}"
    # Once more by itself: the version alone would not replace an older build of the same version.
    pip install --quiet --force-reinstall --no-deps "$wheel"
    pip check
    pip list --format=freeze | grep -iE '^(django|numpy|tenacity|pytest)==' | tr '\n' ' '
    echo
} >&2

echo "$venv/bin/python"
