"""Checks of what the site rests on: settings, certificate, database, Redis, servers, files."""

from __future__ import annotations

import datetime
import re
import secrets
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from deploy.verify import processes
from deploy.verify.certificates import public_issuer, shake
from deploy.verify.checks import Failed, Suite
from deploy.verify.context import Context
from deploy.verify.decisions import decided_against
from deploy.verify.site import SECONDS, Visitor, plain_http

suite = Suite("ai")
#: Answers of nginx, when what is behind it does not.
_GATEWAY = (502, 503, 504)
_STATIC = re.compile(r'(?:href|src)="(/static/[^"]+\.[0-9a-f]{12}\.(css|js|svg))"')
_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME
_SOON_DAYS = 14


def without_password(url: str) -> str:
    """Return an address as messages may name it."""
    parts = urlsplit(url)
    where = parts.hostname or "this machine"
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{where}{port}{parts.path}"


@suite.check("configuration", "Is everything configured, and can the settings be loaded?")
def configuration(context: Context) -> str:
    """Read .env and the settings."""
    return "; ".join(context.configured().summary())


@suite.check("deployment", "Has `check --deploy` anything to say?", needs=("configuration",))
def deployment(context: Context) -> str:
    """Run Django's checks and the package's, those for servers included."""
    from django.core.checks import run_checks

    site = context.configured()
    declined = decided_against(site)
    messages = run_checks(include_deployment_checks=True)
    told = [each for each in messages if each.id not in declined]
    if told:
        listed = "; ".join(f"{each.id}: {each.msg}" for each in told)
        raise Failed(f"`manage.sh check --deploy` has {len(told)} issues: {listed}")
    silenced = [each.id for each in messages if each.is_silenced()]
    if silenced:
        raise Failed(
            f"SILENCED_SYSTEM_CHECKS hides {', '.join(map(str, silenced))}: leave it empty"
        )
    also = f"; decided against: {', '.join(declined)}" if declined else ""
    return f"no issue, none silenced{also}"


@suite.check("https", "Is the site reached under its name, with a certificate that is accepted?")
def https(context: Context) -> str:
    """Speak TLS as a browser does."""
    address = context.address
    where = context.values["certificate"]
    try:
        found = shake(address, address.context())
    except ssl.SSLCertVerificationError as error:
        raise Failed(_refused(context, error, where)) from None
    except OSError as error:
        raise Failed(
            f"nothing speaks TLS at {address.connect}:{address.port} ({error}): is nginx running?"
            f" {processes.how_to_start(context, 'nginx')}"
        ) from None
    end = _day(found["notAfter"])
    days = (end - datetime.datetime.now(datetime.UTC)).days
    context.seen["certificate"] = found
    soon = f"; renew it, in {where}" if days < _SOON_DAYS else ""
    return f"{address.origin}: accepted, valid until {end:%Y-%m-%d}, {days} days left{soon}"


def _refused(context: Context, error: ssl.SSLCertVerificationError, where: str) -> str:
    """Say why a certificate is not accepted, with its dates, which a failure does not show."""
    told = error.verify_message.rstrip(".")
    what = f"the certificate of {context.address.host} is not accepted: {told}"
    if _is_another(context, Path(where)):
        return f"{what}. nginx serves another than {where} holds: reload nginx."
    tls = context.address.context()
    tls.verify_flags |= _NO_CHECK_TIME
    try:
        found = shake(context.address, tls)
    except OSError:
        return f"{what}. Put one for this name, with its chain, to {where}, and reload nginx."
    begin, end = _day(found["notBefore"]), _day(found["notAfter"])
    if end < datetime.datetime.now(datetime.UTC):
        when = f"it expired on {end:%Y-%m-%d %H:%M} UTC"
    else:
        when = f"it is valid from {begin:%Y-%m-%d %H:%M} UTC, and this machine's clock is before"
    return f"{what}: {when}. Put a new one to {where}, and reload nginx."


def _is_another(context: Context, path: Path) -> bool:
    """Is what is served not what the file holds?"""
    address = context.address
    try:
        served = ssl.get_server_certificate((address.connect, address.port), timeout=SECONDS)
        end = "-----END CERTIFICATE-----"
        first = path.read_text(encoding="ascii").partition(end)[0] + end
        return ssl.PEM_cert_to_DER_cert(served) != ssl.PEM_cert_to_DER_cert(first)
    except (OSError, ValueError):
        return False


def _day(text: str) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(ssl.cert_time_to_seconds(text), tz=datetime.UTC)


@suite.check("certificate", "Is it one that everybody trusts?", needs=("https",))
def certificate(context: Context) -> str:
    """Tell a throwaway certificate, and one of an authority that is not known."""
    return public_issuer(
        context.address, context.seen["certificate"], context.values["certificate"]
    )


@suite.check("database", "Does the database answer?", needs=("configuration",))
def database(context: Context) -> str:
    """Ask it once."""
    from django.db import connection

    url = context.configured().database_url
    name = without_password(url) if url else str(connection.settings_dict["NAME"])
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
        version = ".".join(map(str, connection.get_database_version()))
    except Exception as error:  # noqa: BLE001 - each database has its own
        why = " ".join(str(error).split()).rstrip(".?")
        raise Failed(
            f"DATABASE_URL: {name} does not answer: {why}."
            f" {processes.how_to_start(context, 'postgres')}"
        ) from None
    return f"{connection.display_name} {version}"


@suite.check("migrations", "Does it have all tables?", needs=("database",))
def migrations(context: Context) -> str:
    """Compare what is applied with what the release brings."""
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        missing = ", ".join(f"{each.app_label}.{each.name}" for each, _ in plan)
        raise Failed(f"not applied: {missing}. Back up, and run deploy_ai.sh or manage.sh migrate.")
    return f"all {len(executor.loader.applied_migrations)} applied"


@suite.check("redis", "Does Redis answer?", needs=("configuration",))
def redis(context: Context) -> str:
    """Ask it, and how it forgets."""
    import redis as client

    url = context.configured().redis_url
    name = without_password(url)
    try:
        with client.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as found:
            context.seen["redis"] = info = found.info()
    except client.RedisError as error:
        raise Failed(
            f"REDIS_URL: {name} does not answer ({type(error).__name__}):"
            f" start Redis. {processes.how_to_start(context, 'redis')}"
        ) from None
    return f"{name}: version {info.get('valkey_version') or info['redis_version']}"


@suite.check("redis-memory", "Does Redis keep what it was given?", needs=("redis",))
def redis_memory(context: Context) -> str:
    """Costs, limits and jobs must not be thrown away for room."""
    policy = context.seen["redis"].get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        name = without_password(context.configured().redis_url)
        raise Failed(
            f"maxmemory-policy of {name} is {policy}: it throws away costs and jobs when it is"
            " full. Set maxmemory-policy noeviction in its configuration."
        )
    return "maxmemory-policy noeviction"


@suite.check("cache", "Does the cache keep what is written, for all processes?", needs=("redis",))
def cache(context: Context) -> str:
    """Write with one connection, read with another."""
    from django.core.cache import caches

    backend = type(caches["default"]).__name__
    name = without_password(context.configured().cache_url)
    if backend != "RedisCache":
        raise Failed(f"CACHES has {backend}, and the throttles count there for all processes")
    key = f"obc-verify-{secrets.token_hex(8)}"
    try:
        caches["default"].set(key, "kept", 30)
        found = caches.create_connection("default").get(key)
        caches["default"].delete(key)
    except Exception as error:  # noqa: BLE001 - of the client
        raise Failed(
            f"OBC_SITE_CACHE_URL: {name} does not answer ({type(error).__name__})"
        ) from None
    if found != "kept":
        raise Failed(f"OBC_SITE_CACHE_URL: {name} does not keep what is written")
    return name


@suite.check("nginx", "Does HTTP lead to HTTPS?")
def nginx(context: Context) -> str:
    """Ask without TLS."""
    answer = plain_http(context.address, "/health/live/")
    where = answer.header("location")
    if answer.status not in (301, 308) or not where.startswith("https://"):
        raise Failed(
            f"http://{context.address.host}:{context.address.http_port} answers {answer.status}"
            f" and leads to {where or 'nowhere'}: does somebody else listen there?"
        )
    return f"port {context.address.http_port} leads to {where.partition('/health')[0]}"


@suite.check("web", "Do the web processes answer, with the database?",
             needs=("https", "database", "redis"))  # fmt: skip
def web(context: Context) -> str:
    """Ask whether they live, and whether they are ready."""
    visitor = Visitor(context.address)
    for path in ("/health/live/", "/health/ready/"):
        answer = visitor.get(path)
        if answer.status in _GATEWAY and "json" not in answer.header("content-type"):
            raise Failed(
                f"nginx answers {answer.status} in place of web:"
                f" {processes.how_to_start(context, 'web')}"
            )
        if answer.status == 503:
            raise Failed(f"{path} answers 503: the site's database does not answer it")
        if answer.status != 200:
            raise Failed(f"{path} answers {answer.status}, not 200")
    return "alive and ready"


@suite.check("streams", "Do the processes for streams answer?",
             needs=("https", "database", "redis"))  # fmt: skip
def streams(context: Context) -> str:
    """Ask for the chat page through nginx, and for readiness at their socket."""
    answer = Visitor(context.address).get("/chat/")
    if answer.status not in (200, 302):
        raise Failed(
            f"/chat/ answers {answer.status} in place of streams:"
            f" {processes.how_to_start(context, 'streams')}"
        )
    status = processes.ask_socket(context, "streams", "/api/health/ready/")
    if status not in (None, 200):
        raise Failed(f"streams are not ready ({status}): does the database answer them?")
    return "the chat page answers" + (", and they are ready" if status else "")


@suite.check("static", "Do style sheets, scripts and pictures load?", needs=("web",))
def static(context: Context) -> str:
    """Load what the login page names; the names hold a hash."""
    visitor = Visitor(context.address)
    page = visitor.get("/admin/login/")
    found = dict(_STATIC.findall(page.text))
    folder = context.values["static"]
    if not found:
        raise Failed(
            f"/admin/login/ (status {page.status}) names no file with a hash: run deploy_ai.sh"
        )
    for path, kind in found.items():
        answer = visitor.get(path)
        if answer.status != 200:
            raise Failed(
                f"{path} answers {answer.status}: run manage.sh collectstatic, and let nginx's"
                f" user read {folder}"
            )
        if answer.header("content-type").partition(";")[0] != _TYPES[kind] or not answer.body:
            raise Failed(f"{path} comes as {answer.header('content-type')}, not as {_TYPES[kind]}")
    return f"{len(found)} files of the login page"


@suite.check("programs", "Do all programs run under supervisor or systemd?")
def programs(context: Context) -> str:
    """Ask supervisord; where there is none, systemd."""
    found = {} if processes.is_supervised(context) else processes.units(context)
    found = found or processes.supervised(context)
    stopped = {name: state for name, state in found.items() if state not in ("RUNNING", "active")}
    if stopped:
        listed = ", ".join(f"{name} is {state}" for name, state in stopped.items())
        first = next(iter(stopped)).removeprefix("obc-site-")
        raise Failed(f"{listed}. {processes.how_to_start(context, first)}")
    return f"{', '.join(found)} run"
