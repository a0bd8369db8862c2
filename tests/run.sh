#!/usr/bin/env bash
# Install the package and run its tests. Needs Python 3.11 or later and a package index; no root,
# no service. Arguments go to pytest.
#
#   tests/run.sh
#   PYTHON=python3.13 DJANGO=6.1 tests/run.sh -k search
set -euo pipefail
cd "$(dirname "$0")/.."

python="$(tests/prepare.sh)"
exec tests/pytest.sh "$python" "$@"
