#!/usr/bin/env bash
# The whole tour from a fresh clone: install, load real places, index, search, ask, see the cost.
# Needs Python 3.11 or later and a package index; no root, no service, no key.
#
#   example_project/scripts/demo.sh
#   PYTHON=python3.13 example_project/scripts/demo.sh      another interpreter, by name or path
#   DJANGO_OBC_AI_WHEEL=dist/x.whl .../demo.sh             try a built wheel, not this clone
#   GOOGLE_API_KEY=... example_project/scripts/demo.sh     let Gemini answer, within $5 a day
#
# Everything it writes lies in example_project/var. A second run keeps what is there.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
root="$(dirname "$here")"
wheel="${DJANGO_OBC_AI_WHEEL:+$(realpath "$DJANGO_OBC_AI_WHEEL")}"
var="${OBC_SITE_VAR:-$here/var}"
started=$SECONDS

say() { printf '\n%s\n' "== $1"; }

python="$("$root/tests/find_python.sh")"
version="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
venv="$var/venv-$version${wheel:+-wheel}"

extras="example${GOOGLE_API_KEY:+,google-genai}"

say "Python $version: install django-obc-ai from ${wheel:-this clone}"
"$root/tests/make_venv.sh" "$python" "$venv"
# pip runs again only if the wheel, the dependencies, the extras or the place of the clone changed.
stamp="$(cksum "${wheel:-$root/pyproject.toml}") $root $extras"
if [[ "$(cat "$venv/installed" 2>/dev/null)" == "$stamp" ]]; then
    echo "Already installed."
else
    if [[ -n "$wheel" ]]; then
        what=(--force-reinstall "$wheel[$extras]")
    else
        what=(--editable "$root[$extras]")
    fi
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${what[@]}"
    echo "$stamp" >"$venv/installed"
fi
"$venv/bin/python" -c 'import django, sys
print(f"Django {django.__version__} on Python {sys.version.split()[0]}")'

manage() { "$venv/bin/python" "$here/manage.py" "$@"; }

say "Create the tables"
manage migrate --verbosity 0
echo "Done."

say "Load the places of the Bangsamoro region"
manage load_places

say "Index them"
manage ai_index communities

say "Search, ask, see the cost"
manage demo

say "Health"
manage ai_health_check

cat <<END

== Ready after $((SECONDS - started)) s. Open the site:

  $venv/bin/python $here/manage.py runserver

and go to http://127.0.0.1:8000/. For the admin, and for "Costs" (the dashboard of what the site asked
and what it cost), first make yourself a user:

  $venv/bin/python $here/manage.py createsuperuser
END
