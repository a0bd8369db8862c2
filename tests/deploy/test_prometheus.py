"""Prometheus with the kit's files: judged by its own tools, and scraping a running site."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from tests.deploy.rendered import DEPLOY, text
from tests.deploy.site import NEEDS, SECRET, example, run
from tests.deploy.test_logs import SBIN, certify, fill, home, port, process
from tests.extras import is_installed
from tests.subprocesses import ROOT

__all__ = ["home"]
ALERTS = DEPLOY / "alerts"
TOKEN = "a-token-of-the-test-that-nobody-guesses-000"
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed"
)

needs_site = pytest.mark.skipif(
    not all(map(is_installed, (*NEEDS, "prometheus_client", "gunicorn"))),
    reason="what the site needs is not installed",
)


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_alerts_of_the_package_come_with_the_kit() -> None:
    of_package = ROOT / "docs" / "monitoring" / "alerts.yml"
    assert (ALERTS / "django-obc-ai.yml").read_bytes() == of_package.read_bytes()


@needs_promtool
def test_alerts_fire_when_they_should_and_only_then() -> None:
    promtool("check", "rules", str(ALERTS / "obc-site.yml"))
    promtool("test", "rules", "tests/deploy/alerts_test.yml")
    rules = yaml.safe_load((ALERTS / "obc-site.yml").read_text())["groups"][0]["rules"]
    tried = (ROOT / "tests/deploy/alerts_test.yml").read_text()
    assert [each["alert"] for each in rules if each["alert"] not in tried] == []


@needs_promtool
@pytest.mark.parametrize("own_ca", [False, True])
def test_prometheus_takes_its_configuration(home: Path, own_ca: bool) -> None:
    certify(home)
    changed = [f"--set=alerts={ALERTS}"]
    changed += [f"--set=metrics_ca={home}/tls/cert.pem"] if own_ca else []
    fill(home, "--host", "ai.example.org", "--https-port", "8443", *changed)
    (home / "conf/metrics.token").write_text(TOKEN)
    promtool("check", "config", str(home / "conf/prometheus.yml"))
    (scrape,) = yaml.safe_load(text(home, "prometheus.yml"))["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": ["ai.example.org:8443"]}]
    assert ("tls_config" in scrape) is own_ca


SCRAPE = f"""
import json, sys
import django
django.setup()
from django.test import Client
from prometheus_client.openmetrics import parser as newer
from prometheus_client import parser as older

seen = {{"Host": "atlas.example.org", "X-Forwarded-Proto": "https"}}
token = seen | {{"Authorization": "Bearer {TOKEN}"}}
stranger = Client(headers=seen | {{"Authorization": "Bearer x"}})
found = {{"refused": stranger.get("/metrics").status_code}}
for name, accept, parse in (
    ("older", "text/plain", older), ("newer", "application/openmetrics-text; version=1.0.0", newer)
):
    answer = Client(headers=token | {{"Accept": accept}}).get("/metrics")
    families = list(parse.text_string_to_metric_families(answer.text))
    found[name] = {{
        each.name + "".join(each.labels.values()): each.value
        for family in families for each in family.samples if each.name.startswith("obc_site_")
    }}
    found[name + " others"] = len(families)
print(json.dumps(found))
"""


@needs_site
def test_metrics_tell_of_the_night_in_both_formats(
    home: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.deploy.test_nightly import nights

    shutil.copy(migrated, home / "db.sqlite3")
    variables = example(
        home, OBC_SITE_METRICS_TOKEN=TOKEN, REDIS_URL=f"redis://127.0.0.1:{port()}/0"
    )

    def scraped() -> dict[str, Any]:
        done = run("-c", SCRAPE, variables=variables)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        assert found["refused"] == 401
        assert found["older"] == found["newer"]
        assert found["older others"] > 5
        return dict(found["older"])

    assert scraped() == {"obc_site_backup_timestamp_seconds": 0.0}
    assert (home / "run").stat().st_mode & 0o777 == 0o750  # whatever the umask
    made = nights.Record(night=5, tried=7, tries=1, succeeded=9.5, said="")
    failed = nights.Record(night=5, tried=7, tries=1, succeeded=None, said="")
    nights.write(home, {"backup": made, "logs": failed})
    assert scraped() == {
        "obc_site_backup_timestamp_seconds": 9.5,
        "obc_site_nightly_failedbackup": 0.0,
        "obc_site_nightly_failedlogs": 1.0,
    }


# --- the real thing ------------------------------------------------------------------------------
@pytest.fixture
def served(home: Path, migrated: Path) -> Iterator[int]:
    """The site behind nginx, over TLS; its port."""
    nginx = shutil.which("nginx", path=SBIN)
    if nginx is None or shutil.which("prometheus") is None:
        pytest.skip("nginx or prometheus is not installed")
    certify(home)
    (home / "current/example_project").rmdir()
    (home / "current/example_project").symlink_to(DEPLOY.parent)
    shutil.copy(migrated, home / "db.sqlite3")
    https = port()
    fill(
        home, "--host", "localhost", "--http-port", str(port()), "--https-port", str(https),
        "--set=address=127.0.0.1", f"--set=metrics_ca={home}/tls/cert.pem",
    )  # fmt: skip
    variables = example(
        home, ALLOWED_HOSTS="localhost", CSRF_TRUSTED_ORIGINS=f"https://localhost:{https}",
        OBC_SITE_METRICS_TOKEN=TOKEN, REDIS_URL=f"redis://127.0.0.1:{port()}/0",
    )  # fmt: skip
    assert SECRET in variables.values()
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OBC_", "DJANGO_"))}
    path = f"{DEPLOY.parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    environment = inherited | variables | {
        "DJANGO_SETTINGS_MODULE": "deploy.settings", "OBC_SITE_EMBEDDER": "hashing",
        "OBC_SITE_WORKERS": "1", "OBC_SITE_LONGEST_ANSWER": "5", "PYTHONPATH": path,
    }  # fmt: skip
    (home / ".env").write_text(f"OBC_SITE_METRICS_TOKEN={TOKEN}\n")
    (home / ".env").chmod(0o600)
    gunicorn = [sys.executable, "-P", "-m", "gunicorn"]
    gunicorn += ["--config", str(home / "current/example_project/deploy/gunicorn.conf.py")]
    with (
        process(*gunicorn, with_environment=environment),
        process(nginx, "-c", f"{home}/conf/nginx.conf", "-e", "stderr", "-g", "daemon off;"),
    ):
        yield https


def ask(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - on loopback
            return json.load(answer)["data"]
    except OSError:
        return None


def wait(found: Callable[[], Any], what: str) -> Any:
    for _ in range(600):
        if value := found():
            return value
        time.sleep(0.1)
    pytest.fail(f"{what}: waited in vain")


@needs_site
def test_prometheus_scrapes_the_site_over_tls_and_knows_its_alerts(home: Path, served: int) -> None:
    # As prometheus.yml.in says it.
    (command,) = re.findall(r"#   (\(umask.*\))", text(home, "prometheus.yml"))
    subprocess.run(["bash", "-c", command], cwd=home, check=True)
    assert (home / "conf/metrics.token").read_text().strip() == TOKEN
    config = home / "conf/prometheus.yml"
    # The same, more often.
    config.write_text(config.read_text().replace("30s", "2s").replace("25s", "2s"))
    at = f"127.0.0.1:{port()}"
    arguments = [f"--config.file={config}", f"--storage.tsdb.path={home}/run/prometheus"]
    with process("prometheus", *arguments, f"--web.listen-address={at}"):

        def query(expression: str) -> Any:
            found = ask(f"http://{at}/api/v1/query?query={quote(expression)}")
            return found and [each["value"][1] for each in found["result"]]

        def target() -> Any:
            found = ask(f"http://{at}/api/v1/targets")
            return found and [e for e in found["activeTargets"] if e["health"] == "up"]

        (scraped,) = wait(target, "a scrape")
        assert scraped["scrapeUrl"] == f"https://localhost:{served}/metrics"
        assert wait(lambda: query("obc_ai_info"), "obc_ai_info") == ["1"]
        assert wait(lambda: query("obc_site_backup_timestamp_seconds"), "the kit's") == ["0"]
        groups = wait(lambda: ask(f"http://{at}/api/v1/rules"), "rules")["groups"]
        assert {each["name"] for each in groups} == {"django-obc-ai", "obc-site"}

        def pending() -> set[str]:
            return {
                each["labels"]["alertname"] for each in ask(f"http://{at}/api/v1/alerts")["alerts"]
            }

        wait(lambda: "ObcSiteBackupOld" in pending(), "the alert of a backup that is missing")
        assert "ObcSiteDown" not in pending()
