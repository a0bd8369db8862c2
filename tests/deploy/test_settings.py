"""The production settings, used: what is refused, sent, counted and locked on a real Redis."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import django
import pytest
import valkey

from tests.deploy.site import DEPLOY, NEEDS, SECRET, example, manage, run
from tests.extras import is_installed, requires
from tests.servers.gemini import GeminiServer, replies
from tests.servers.postgres import PostgresServer
from tests.servers.valkey import RedisServer, run_redis

pytestmark = [
    *(requires(module) for module in NEEDS),
    requires("celery"),
    requires("markdown_it"),
    requires("drf_spectacular"),
    requires("prometheus_client"),
    pytest.mark.skipif(
        django.VERSION < (6, 0) and not is_installed("csp"), reason="csp is not installed"
    ),
]
NONE = "System check identified no issues (0 silenced)."
CHECK = ("manage.py", "check", "--deploy")
TOKEN = "m" * 24


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the site answered to every visit of visit.py."""
    home = tmp_path_factory.mktemp("the home")  # a space in its path is no fault
    with run_redis() as redis:
        variables = example(home, REDIS_URL=redis.url, OBC_SITE_METRICS_TOKEN=TOKEN)
        variables["ALLOWED_HOSTS"] += ",testserver"  # what Django's asynchronous client always says
        manage("migrate", "--verbosity", "0", variables=variables)
        manage("collectstatic", "--no-input", "--verbosity", "0", variables=variables)
        done = run(Path(__file__).with_name("visit.py"), variables=variables)
    assert done.returncode == 0, done.stderr[-3000:]
    *lines, last = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(last)
    return found | {"stdout": [json.loads(line) for line in lines], "home": home}


def settings_shown(code: str, variables: dict[str, str]) -> Any:
    """Evaluate an expression with the settings in a process of its own."""
    whole = f"import json; from django.conf import settings; print(json.dumps({code}, default=str))"
    done = run("-c", whole, variables=variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# --- check --deploy ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"DATABASE_URL": "postgres://atlas:abc@localhost:5432/atlas"},
        {"GOOGLE_API_KEY": "AQ.made-for-this-test-alone"},
        {"OBC_SITE_SERVER": "asgi", "DATABASE_URL": "postgres://atlas:abc@localhost/atlas"},
    ],
    ids=["offline", "postgres", "gemini", "asgi"],
)
def test_the_deployment_check_finds_nothing(tmp_path: Path, changes: dict[str, str]) -> None:
    done = run(*CHECK, variables=example(tmp_path, **changes))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == NONE
    assert settings_shown("settings.SILENCED_SYSTEM_CHECKS", example(tmp_path, **changes)) == []


def test_the_deployment_check_reads_the_file(tmp_path: Path) -> None:
    variables = example(tmp_path)
    lines = [f"{name}={value}" for name, value in variables.items() if name != "OBC_SITE_VAR"]
    (tmp_path / ".env").write_text("\n".join(lines))
    (tmp_path / ".env").chmod(0o600)
    done = run(*CHECK, variables={"OBC_SITE_VAR": str(tmp_path)})
    assert done.stdout.strip() == NONE, done.stderr


def test_a_domain_that_decides_otherwise_is_warned(tmp_path: Path) -> None:
    done = run(*CHECK, variables=example(tmp_path, OBC_SITE_HSTS_SUBDOMAINS="0"))
    assert "security.W005" in done.stderr
    assert "security.W021" not in done.stderr


def test_settings_with_faults_do_not_load(tmp_path: Path) -> None:
    done = run(*CHECK, variables=example(tmp_path, DEBUG="1", ALLOWED_HOSTS="*"))
    assert done.returncode != 0
    assert "ImproperlyConfigured" in done.stderr
    assert "DEBUG: asks for debugging, which deploy.settings refuses" in done.stderr
    assert 'ALLOWED_HOSTS: holds "*"' in done.stderr
    assert SECRET not in done.stderr


@pytest.mark.parametrize("name", ["OBC_SITE_DEBUG", "DEBUG"])
def test_debugging_stays_off_whatever_is_off(tmp_path: Path, name: str) -> None:
    variables = example(tmp_path, **{name: "off"})
    assert settings_shown("settings.DEBUG", variables) is False
    assert not (tmp_path / "secret_key").exists()  # the example makes one for its demo


# --- What is sent -----------------------------------------------------------------------------
def test_plain_http_is_led_to_https(told: dict[str, Any]) -> None:
    assert told["plain"] == [301, "https://atlas.example.org/health/live/"]
    assert told["live"] == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Strict-Transport-Security", "max-age=31536000; includeSubDomains; preload"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "same-origin"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
    ],
)
def test_header_is_sent(told: dict[str, Any], name: str, value: str) -> None:
    assert told["headers"][name] == value


def test_the_content_security_policy_allows_the_sites_own_files_alone(told: dict[str, Any]) -> None:
    sent = told["headers"]["Content-Security-Policy"]
    policy = {part.split()[0]: part.split()[1:] for part in sent.split(";")}
    assert policy.pop("img-src") == ["'self'", "data:"]
    assert {name for name, value in policy.items() if value == ["'none'"]} == {
        "base-uri", "frame-ancestors", "object-src",
    }  # fmt: skip
    assert {name for name, value in policy.items() if value == ["'self'"]} == {
        "connect-src", "default-src", "form-action", "script-src", "style-src",
    }  # fmt: skip
    assert len(policy) == 8


def test_cookies_go_to_this_site_alone(told: dict[str, Any]) -> None:
    for name in ("csrf_cookie", "session_cookie"):
        kept = told[name]
        assert kept["secure"] and kept["httponly"] and kept["samesite"] == "Strict", name
        assert "domain" not in kept


def test_static_files_have_names_that_change_with_them(told: dict[str, Any]) -> None:
    assert "/static/admin/css/base." in told["page"]
    assert "/static/admin/css/base.css" not in told["page"]


def test_requests_of_strangers_are_refused(told: dict[str, Any]) -> None:
    assert told["wrong_host"] == 400
    assert (told["csrf_foreign"], told["csrf_own"]) == (403, 302)
    assert told["metrics"] == [401, 200]


def test_an_error_shows_no_setting_and_no_code(told: dict[str, Any]) -> None:
    assert "DEBUG" not in told["missing"] and "urlconf" not in told["missing"].lower()


# --- Who is let in ----------------------------------------------------------------------------
def test_five_failures_lock_a_name_at_an_address(told: dict[str, Any]) -> None:
    assert told["failures"] == [200, 200, 200, 200, 429]
    assert told["right_while_locked"] == 429
    assert told["other_name"] == told["other_address"] == 302


def test_the_lock_ends_after_half_an_hour(told: dict[str, Any]) -> None:
    assert (told["after_28_more"], told["after_3_more"]) == (429, 302)


def test_failures_count_by_what_nginx_says_and_not_the_client(told: dict[str, Any]) -> None:
    assert told["counted_by"] == ["203.0.113.3"]
    assert told["ipv6"] == [200, 200, 200, 200, 429]  # one customer's network


def test_the_lock_holds_under_asgi(told: dict[str, Any]) -> None:
    assert told["asgi"] == [200, 200, 200, 200, 429, 429]


def test_an_address_that_tries_many_names_has_to_wait(told: dict[str, Any]) -> None:
    assert told["many_names"] == [200] * 11 + [429]
    assert (told["right_after_many"], told["right_elsewhere"]) == (429, 302)


def test_tokens_open_the_api(told: dict[str, Any]) -> None:
    assert (told["no_token"], told["wrong_password"], told["forged"]) == (401, 401, 401)
    assert told["token"] == ["access", "refresh"]
    assert told["with_token"] == 200
    assert told["renewed"] == ["access"]


def test_sessions_open_the_api_too(told: dict[str, Any]) -> None:
    assert told["session"] == [302, 200]


def test_a_new_password_ends_tokens(told: dict[str, Any]) -> None:
    assert told["after_new_password"] == 401


def test_failures_lock_tokens_too(told: dict[str, Any]) -> None:
    assert told["token_failures"] == [401, 401, 401, 401, 429, 429]


def test_chat_answers_who_is_known_and_says_that_it_is_offline(told: dict[str, Any]) -> None:
    assert told["chat"] == [200, True]
    assert told["chat_alone"] == 401


def test_the_61st_request_of_a_minute_is_refused(told: dict[str, Any]) -> None:
    assert told["burst"][:60] == [401] * 60
    assert told["burst"][60] == told["other_first_entry"] == 429


def test_logs_are_json_and_hold_no_secret(told: dict[str, Any]) -> None:
    assert any(line["logger"].startswith("django") for line in told["stdout"])
    text = "".join(path.read_text() for path in (told["home"] / "log").glob("*.log"))
    assert "a-Long-One-4242" not in text and SECRET not in text and TOKEN not in text


# --- Where things are kept --------------------------------------------------------------------
ASK = """
from django_obc_ai.services.text import GeminiService
found = GeminiService().generate_text("Who is open?", include_context=False)
print(found.success, found.model, found.error)
"""
LEDGER = "from django_obc_ai.models import *; print(AIOperation.objects.get(success=True).cost_usd)"
SHELL = ("shell", "--verbosity", "0", "-c")


@requires("google.genai")
def test_with_a_key_gemini_answers_within_the_days_budget(
    tmp_path: Path, redis_server: RedisServer, gemini_server: GeminiServer
) -> None:
    variables = example(
        tmp_path,
        REDIS_URL=redis_server.url,
        GOOGLE_API_KEY=gemini_server.key,
        OBC_SITE_GEMINI_URL=gemini_server.url,
        OBC_SITE_DAY_BUDGET="0.0300",
    )
    gemini_server.script(replies.answer("The clinic.", thoughts_tokens=5000))
    manage("migrate", "--verbosity", "0", variables=variables)
    assert manage(*SHELL, ASK, variables=variables).startswith("True gemini-3.5-flash-lite")
    cost = Decimal(manage(*SHELL, LEDGER, variables=variables))
    assert cost > Decimal("0.0125")  # 5,000 tokens of thinking
    refused = manage(*SHELL, ASK.replace("open", "shut"), variables=variables)
    assert refused.startswith("False")
    assert "budget" in refused.lower()
    assert len(gemini_server.journal) == 1
    logged = (tmp_path / "log" / "ai_assistant.log").read_text()
    assert "gemini-3.5-flash-lite" in logged
    assert gemini_server.key not in logged
    with valkey.Valkey.from_url(redis_server.url) as kept:
        assert any(b"obc-ai:costs" in key for key in kept.scan_iter())


def test_emptying_the_cache_leaves_costs_and_jobs(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    variables = example(tmp_path, REDIS_URL=redis_server.url)
    with valkey.Valkey.from_url(redis_server.url) as kept:
        kept.set("obc-ai:costs", "1")
        code = "from django.core.cache import cache; cache.set('a', 1); print(cache.clear())"
        assert manage(*SHELL, code, variables=variables).strip() == "True"
        assert kept.get("obc-ai:costs") == b"1"


def test_postgres_is_used_through_a_pool_under_asgi(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    url = f"postgres://postgres@{quote(postgres_server.host, safe='')}/postgres"
    code = (
        "from django.db import connection as c; c.ensure_connection();"
        "print(c.vendor, c.pool and c.pool.max_size, c.settings_dict['CONN_MAX_AGE'])"
    )
    variables = example(tmp_path, DATABASE_URL=url)
    assert manage(*SHELL, code, variables=variables).split() == ["postgresql", "None", "60"]
    pooled = variables | {"OBC_SITE_SERVER": "asgi"}
    assert manage(*SHELL, code, variables=pooled).split() == ["postgresql", "20", "0"]
    chosen = variables | {"OBC_SITE_POOL": "3"}
    assert manage(*SHELL, code, variables=chosen).split() == ["postgresql", "3", "0"]


def test_a_database_of_sqlite_lies_where_it_is_said(tmp_path: Path) -> None:
    name = "str(settings.DATABASES['default']['NAME'])"
    assert settings_shown(name, example(tmp_path)) == str(tmp_path / "db.sqlite3")
    elsewhere = example(tmp_path, DATABASE_URL=f"sqlite:///{tmp_path}/other.sqlite3")
    assert settings_shown(name, elsewhere) == str(tmp_path / "other.sqlite3")


def test_limits_budgets_and_places_are_those_of_the_environment(tmp_path: Path) -> None:
    variables = example(
        tmp_path, GOOGLE_API_KEY="AQ.made-for-this", OBC_SITE_ALERT_EMAILS="it@example.org"
    )
    shown = settings_shown("settings.OBC_AI", variables)
    assert shown["VECTOR_STORES"]["default"]["OPTIONS"]["path"] == str(tmp_path / "vectors")
    assert shown["LEXICAL_STORES"]["default"]["OPTIONS"]["path"] == str(tmp_path / "vectors")
    assert shown["RATE_LIMITS"]["default"]["per_minute"] == 60
    assert shown["RATE_LIMITS"]["default"]["per_day"] == 1500
    assert [(b["period"], b["limit_usd"], b["enforce"]) for b in shown["BUDGETS"]] == [
        ("day", "5.00", True),
        ("month", "100.00", True),
    ]
    assert shown["MONEY"]["alert_emails"] == ["it@example.org"]
    assert shown["LOG"]["spool"] == str(tmp_path / "spool")
    paid = variables | {"OBC_SITE_PER_MINUTE": "none", "OBC_SITE_PER_DAY": "20000"}
    limits = settings_shown("settings.OBC_AI['RATE_LIMITS']['default']", paid)
    assert (limits["per_minute"], limits["per_day"]) == (None, 20_000)


@pytest.mark.parametrize("name", ["deploy", "obc_site"])
def test_workers_and_beat_know_broker_and_schedule(tmp_path: Path, name: str) -> None:
    variables = example(tmp_path)
    code = (
        f"from celery.app.utils import find_app; app = find_app({name!r});"
        "print(app.conf.broker_url, 'recover_jobs' in str(app.conf.beat_schedule),"
        " app.conf.beat_schedule_filename)"
    )
    done = run("-c", code, variables=variables, strict=False)  # Celery's own are not ours to mend
    assert done.stdout.split() == ["redis://localhost:6379/0", "True", f"{tmp_path}/run/beat"]


@pytest.mark.parametrize("module", ["deploy.wsgi", "deploy.asgi"])
def test_servers_take_these_settings_by_themselves(tmp_path: Path, module: str) -> None:
    variables = example(tmp_path) | {"DJANGO_SETTINGS_MODULE": "deploy.settings"}
    code = (
        "import os; os.environ.pop('DJANGO_SETTINGS_MODULE');"
        f"from {module} import application; from django.conf import settings;"
        "print(settings.SETTINGS_MODULE, settings.ROOT_URLCONF)"
    )
    done = run("-c", code, variables=variables)
    assert done.stdout.split() == ["deploy.settings", "deploy.urls"], done.stderr


def test_the_kit_is_the_one_of_this_folder(told: dict[str, Any]) -> None:
    assert told["from"] == str(DEPLOY)
