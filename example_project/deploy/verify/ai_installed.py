"""Checks of what was installed: the release, who administers it, and what watches it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from deploy.verify.ai_connections import suite
from deploy.verify.checks import Failed, Skipped
from deploy.verify.context import Context

#: What the release's own Python has to have.
_LOOK = "import django, django_obc_ai; print(django.__version__)"
_RULES = re.compile(r'^ *- "(?P<folder>.+)/\*\.yml"$', re.MULTILINE)
_TOKEN = re.compile(r'^ *credentials_file: "(?P<path>.+)"$', re.MULTILINE)


@suite.check("release", "Is there a release, with an environment of its own?")
def release(context: Context) -> str:
    """Look at what `current` leads to, and ask its Python for its packages."""
    link = context.home / "current"
    if not link.is_symlink():
        raise Skipped(f"deploy_ai.sh installed nothing here: there is no link {link}")
    found = link.resolve()
    if not (found / "example_project" / "manage.py").is_file():
        raise Failed(f"{link} leads to {found}, which is no release: run deploy_ai.sh")
    python = found / "venv" / "bin" / "python"
    if not python.exists():
        raise Failed(f"{found / 'venv'} holds no Python: run deploy_ai.sh")
    command = [str(python), "-P", "-c", _LOOK]
    done = subprocess.run(  # noqa: S603 - the release's own Python
        command, cwd=found, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(found)},
    )  # fmt: skip
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise Failed(f"the packages of {found.name} cannot be used ({last}): run deploy_ai.sh")
    return f"{found.name}, with Django {done.stdout.strip()} of its own"


@suite.check("superuser", "Can a person administer the site?", needs=("migrations",))
def superuser(context: Context) -> str:
    """Count superusers who can log in, without those of the verifications."""
    from django.contrib.auth import get_user_model

    people = get_user_model()._default_manager.filter(is_superuser=True, is_active=True)
    others = people.exclude(username__startswith="obc-verify")
    number = sum(each.has_usable_password() for each in others)
    if not number:
        raise Skipped("nobody yet: run manage.sh createsuperuser")
    return f"{number} superuser{'s' * (number > 1)}"


@suite.check("alerts", "Is everything there that Prometheus reads?", needs=("configuration",))
def alerts(context: Context) -> str:
    """Follow conf/prometheus.yml to its rules and to the token that it shows to the site."""
    token = context.configured().metrics_token
    path = context.home / "conf" / "prometheus.yml"
    if not token:
        raise Skipped("nothing watches the site: OBC_SITE_METRICS_TOKEN is not set")
    if not path.is_file():
        raise Skipped(f"there is no {path}: deploy_ai.sh fills it")
    text = path.read_text(encoding="utf-8")
    rules, file = _RULES.search(text), _TOKEN.search(text)
    if rules is None or file is None:
        raise Failed(f"{path} names no folder of rules, or no file with the token: render it anew")
    folder, shown = Path(rules["folder"]), Path(file["path"])
    if not shown.exists():
        raise Skipped(f"no Prometheus is set up: {shown}, the token it shows, is not there")
    if shown.read_text(encoding="utf-8").strip() != token:
        raise Failed(f"{shown} holds another token than OBC_SITE_METRICS_TOKEN: write it anew")
    if not (files := sorted(folder.glob("*.yml"))):
        raise Failed(f"{path} names {folder}, which holds no rules")
    texts = (each.read_text(encoding="utf-8") for each in files)
    number = sum(len(re.findall(r"^ *- alert:", each, re.MULTILINE)) for each in texts)
    return f"{number} alert rules in {len(files)} files; the token is that of .env"
