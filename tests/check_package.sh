#!/usr/bin/env bash
# tests/check_package.sh PYTHON: rehearse a release's build (PYTHON has the group "package"): twice
# alike, with a bill of materials; look into what was built, install the wheel into an empty environment
# and run the demo from it.
set -euo pipefail
cd "$(dirname "$0")/.."

python="$1"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

.ci/build "$python" "$scratch/dist"
"$python" -m twine check --strict "$scratch"/dist/*
"$python" tests/check_dist.py "$scratch"/dist/*

echo "== the wheel in an empty environment, core dependencies only"
tests/make_venv.sh "$python" "$scratch/venv"
wheel="$(echo "$scratch"/dist/*.whl)"
.ci/sbom "$python" "$wheel" "" "$scratch/core.cdx.json"
"$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$wheel"
cd "$scratch"
venv/bin/python - <<'END'
import django
from django.conf import settings
from django.core.management import call_command

settings.configure(
    SECRET_KEY="only for this check",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django_obc_ai"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()
call_command("check", fail_level="WARNING")
call_command("migrate", verbosity=0)

import django_obc_ai

print("django-obc-ai", django_obc_ai.__version__, "starts on Django", django.__version__)
END
cd - >/dev/null

if [[ -x example_project/scripts/demo.sh ]]; then
    echo "== the demo from the wheel"
    PYTHON="$python" DJANGO_OBC_AI_WHEEL="$wheel" OBC_SITE_VAR="$scratch/var" \
        example_project/scripts/demo.sh </dev/null
fi
