"""verify_ai.sh names the fault, where that needs no running site; the rest is in acceptance."""

from __future__ import annotations

import datetime
import shutil
import socket
import sqlite3
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.deploy.kit import SCRIPTS
from tests.deploy.site import NEEDS, example, manage, run
from tests.servers.valkey import run_redis

for name in NEEDS:
    pytest.importorskip(name)

FILL = """
from communities.models import Community, Municipality, Province, Region
here = {"latitude": 7, "longitude": 124}
region = Region.objects.create(code="1900000000", name="Bangsamoro", **here)
province = Province.objects.create(code="1908800000", name="Upper", region=region, **here)
town = Municipality.objects.create(code="1908801000", name="Upi", province=province, **here)
for number, name in enumerate(("Bungcog", "Darugao", "Kibleg")):
    Community.objects.create(code=f"190880100{number}", name=name, municipality=town, **here)
"""


def free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def verify(home: Path, *only: str, **changes: str) -> tuple[int, dict[str, str], str]:
    """Return exit code, what each check says with its status before, and all of the output."""
    variables = example(home, **changes)
    command = ("-m", "deploy.verify.ai", "--only", *only)
    done = run(*command, variables=variables, strict=False)
    lines = (line.split(None, 2) for line in done.stdout.splitlines())
    told = {line[1]: f"{line[0]} {line[2]}" for line in lines if len(line) == 3}
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done.returncode, told, done.stdout + done.stderr


@pytest.fixture
def home() -> Iterator[Path]:
    """An installation folder with ports at which nobody listens.

    Its path is short: the kit refuses one that is too long for sockets.
    """
    with tempfile.TemporaryDirectory(prefix="obc-") as folder:
        yield make_home(Path(folder) / "the site")


def make_home(home: Path) -> Path:
    for name in ("run", "vectors", "tls"):
        (home / name).mkdir(parents=True)
    ports = f"https_port={free_port()}\nhttp_port={free_port()}\n"
    (home / "render.conf").write_text(ports)
    return home


@pytest.fixture(scope="module")
def filled() -> Iterator[tuple[Path, str]]:
    """An installation with three communities, indexed, and a Redis."""
    with tempfile.TemporaryDirectory(prefix="obc-") as folder, run_redis() as redis:
        home = make_home(Path(folder) / "site")
        variables = example(home, REDIS_URL=redis.url)
        manage("migrate", "-v0", variables=variables)
        manage("shell", "-v0", "-c", FILL, variables=variables)
        manage("ai_index", "-v0", variables=variables)
        yield home, redis.url


def test_settings_that_cannot_be_deployed_with_are_named(home: Path) -> None:
    code, told, text = verify(home, "configuration", "migrations", DEBUG="1")
    assert code == 1
    assert told["configuration"].startswith("FAILED") and "DEBUG" in told["configuration"]
    assert told["migrations"].startswith("skipped")
    assert text.splitlines()[-1] == "0 passed, 1 failed, 2 skipped"


def test_settings_that_cannot_be_loaded_are_named(home: Path) -> None:
    code, told, _ = verify(home, "configuration", DJANGO_SETTINGS_MODULE="no_such_settings")
    assert code == 1 and "no_such_settings cannot be loaded" in told["configuration"]


def test_servers_that_are_away_are_named_without_their_passwords(home: Path) -> None:
    port = free_port()
    code, told, text = verify(
        home, "database", "redis", "https", "nginx",
        REDIS_URL=f"redis://:hidden-word@127.0.0.1:{port}/0",
        DATABASE_URL=f"postgres://me:hidden-word@127.0.0.1:{port}/atlas",
    )  # fmt: skip
    assert code == 1 and "hidden-word" not in text
    for name, words in {
        "redis": f"REDIS_URL: redis://127.0.0.1:{port}/0 does not answer",
        "database": f"DATABASE_URL: postgres://127.0.0.1:{port}/atlas does not answer",
        "https": "is nginx running?",
        "nginx": "is nginx running?",
    }.items():
        assert told[name].startswith("FAILED") and words in told[name]


def test_missing_migrations_are_named(home: Path) -> None:
    _, told, _ = verify(home, "migrations")
    assert "FAILED not applied:" in told["migrations"]
    assert "communities.0001_places" in told["migrations"]


def test_vectors_that_are_no_folder_are_named(home: Path) -> None:
    assert verify(home, "vectors")[1]["vectors"].startswith("ok")
    (home / "vectors").rmdir()
    assert "which is not there" in verify(home, "vectors")[1]["vectors"]
    (home / "vectors").write_text("")
    code, told, _ = verify(home, "vectors")
    assert code == 1 and f"{home / 'vectors'}, which is a file" in told["vectors"]


def test_a_scheduler_that_died_is_named_however_young_its_last_beat(home: Path) -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    (home / "run" / "beat.pid").write_text(f"{process.pid}\n")
    code, told, _ = verify(home, "beat-alive")
    assert code == 1 and "beat does not run" in told["beat-alive"]


def test_without_supervisor_and_pid_the_scheduler_is_judged_by_what_it_does(
    filled: tuple[Path, str],
) -> None:
    home, url = filled
    _, told, _ = verify(home, "beat-alive", "beat", REDIS_URL=url)
    assert (
        told["beat-alive"].startswith("skipped") and "see the checks programs" in told["beat-alive"]
    )
    assert told["beat"].endswith("this did not pass: worker")  # and no longer: beat-alive


def test_a_backup_that_is_damaged_is_named_and_none_is_skipped_for_a_day(home: Path) -> None:
    assert verify(home, "backup")[1]["backup"].startswith("skipped there is none")
    (home / "releases" / "20250101T000000-abcdef0").mkdir(parents=True)
    assert verify(home, "backup")[1]["backup"].startswith("FAILED there is none")
    (home / "backups" / "20260101T000000Z").mkdir(parents=True)
    assert "cannot be used" in verify(home, "backup")[1]["backup"]


def test_redis_that_forgets_is_named(home: Path) -> None:
    import valkey

    with run_redis() as redis:
        assert verify(home, "redis-memory", REDIS_URL=redis.url)[0] == 0
        with valkey.Valkey.from_url(redis.url) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
        code, told, _ = verify(home, "redis-memory", REDIS_URL=redis.url)
    assert code == 1 and "is allkeys-lru" in told["redis-memory"]


def test_a_stale_index_is_named_with_its_row(filled: tuple[Path, str]) -> None:
    home, url = filled
    checks = ("index", "index-files", "vectors", "dangerous-plans")
    code, told, text = verify(home, *checks, REDIS_URL=url)
    assert code == 0, text
    assert "communities: 3 rows" in told["index"] and "3 vectors" in told["index-files"]
    with closing(sqlite3.connect(home / "db.sqlite3")) as connection:  # past all signals
        connection.execute("UPDATE communities_community SET name='X' WHERE code='1908801001'")
        connection.commit()
    code, told, _ = verify(home, *checks, REDIS_URL=url)
    assert code == 1 and "index communities is stale" in told["index"]
    assert "1908801001" in told["index"] and "--repair" in told["index"]
    with closing(sqlite3.connect(home / "db.sqlite3")) as connection:
        connection.execute("UPDATE communities_community SET name='Darugao' WHERE name='X'")
        connection.commit()


def test_users_that_verified_may_do_nothing_afterwards(filled: tuple[Path, str]) -> None:
    home, url = filled
    assert verify(home, "dangerous-plans", REDIS_URL=url)[0] == 0
    query = (
        "SELECT is_active, is_staff, is_superuser, password FROM auth_user"
        " WHERE username LIKE 'obc-verify%'"
    )
    with closing(sqlite3.connect(home / "db.sqlite3")) as connection:
        rows = connection.execute(query).fetchall()
    assert rows and all(row[:3] == (0, 0, 0) and row[3].startswith("!") for row in rows)


WRITING = """
import uuid
from communities.models import Region
from deploy.verify import checks, rows
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
rows._QUIET_SECONDS = 0
region, calls = Region.objects.get(), []
boss, _ = User.objects.get_or_create(username="boss")
def ask(times, *, is_logged=False, rights=None):
    def write():
        calls.append(1)
        if len(calls) <= times and rights is None:
            Region.objects.filter(pk=region.pk).update(name=str(uuid.uuid4()))
        elif len(calls) <= times:
            User.objects.create(username=f"new{len(User.objects.all())}", is_superuser=rights)
        if is_logged:
            LogEntry.objects.log_actions(boss.pk, [region], CHANGE, single_object=True)
        return "asked"
    calls.clear()
    try:
        return f"{rows.unwritten(write)} ({len(calls)})"
    except (checks.Failed, checks.Skipped) as error:
        return f"{type(error).__name__}: {error}"
for options in ({}, {"is_logged": True}, {"rights": False}, {"rights": True}):
    print(ask(0 if not options else 2, **options))
print(ask(1))
LogEntry.objects.all().delete()
print(ask(2))
Region.objects.update(name=region.name)
User.objects.filter(username__startswith="new").delete()
"""


def test_rows_that_others_change_meanwhile_are_no_fault_of_the_chat(
    filled: tuple[Path, str],
) -> None:
    home, url = filled
    variables = example(home, REDIS_URL=url)
    quiet, logged, joined, boss, once, twice = manage(
        "shell", "-v0", "-c", WRITING, variables=variables
    ).splitlines()
    assert quiet == "asked (1)"
    assert logged.startswith("Skipped: others are changing communities.Region")
    assert joined.startswith("Skipped: others are changing auth.User")
    assert boss.startswith("Failed: rows changed both times") and "auth.User" in boss
    assert "communities.Region changed the first time alone" in once and once.endswith("(2)")
    assert twice.startswith("Failed: rows changed both times") and "communities.Region" in twice
    assert "backup" not in twice


@contextmanager
def serving(home: Path, *, days: tuple[int, int], name: str = "localhost") -> Iterator[None]:
    """Speak TLS at the site's port, with a certificate valid between two days from today."""
    write_certificate(home / "tls", days=days, name=name)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(home / "tls" / "cert.pem", home / "tls" / "key.pem")
    port = int((home / "render.conf").read_text().split("https_port=")[1].split()[0])
    listener = socket.create_server(("127.0.0.1", port))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:  # it was closed
                return
            try:
                plain.settimeout(10)
                with tls.wrap_socket(plain, server_side=True) as secure:
                    secure.recv(1)
            except OSError:
                plain.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(20)


def write_certificate(folder: Path, *, days: tuple[int, int], name: str) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    first, last = (now + datetime.timedelta(days=each) for each in days)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 7, first, last)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    kind, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, kind, plain))


NAMES = {"ALLOWED_HOSTS": "localhost", "CSRF_TRUSTED_ORIGINS": "https://localhost"}


def test_a_throwaway_certificate_is_accepted_and_told(home: Path) -> None:
    pytest.importorskip("cryptography")
    with serving(home, days=(-1, 30)):
        code, told, text = verify(home, "certificate", **NAMES)
    assert code == 0, text
    assert "29 days left" in told["https"]
    assert told["certificate"].startswith("skipped it is a throwaway one")


def test_an_expired_certificate_is_named_with_its_day(home: Path) -> None:
    pytest.importorskip("cryptography")
    day = f"{datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1):%Y-%m-%d}"
    with serving(home, days=(-30, -1)):
        code, told, _ = verify(home, "certificate", **NAMES)
    assert code == 1 and f"it expired on {day}" in told["https"]
    assert told["certificate"].startswith("skipped not tried")


def test_a_certificate_of_another_name_or_not_reloaded_is_named(home: Path) -> None:
    pytest.importorskip("cryptography")
    with serving(home, days=(-1, 30), name="other.example"):
        code, told, _ = verify(home, "https", **NAMES)
        assert code == 1 and "not valid for 'localhost'" in told["https"]
        write_certificate(home / "tls", days=(-1, 30), name="localhost")
        told = verify(home, "https", **NAMES)[1]
    assert "nginx serves another than" in told["https"]


def test_the_script_finds_the_folder_and_passes_its_arguments_on(home: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    from tests.deploy.kit import Kit

    kit = Kit(home=home, env={"DJANGO_SETTINGS_MODULE": "deploy.settings"})
    given = ("--home", home, "--only", "configuration", "--json", "found.json")
    done = kit.run("verify_ai.sh", *given, scripts=SCRIPTS, before=f"cd '{home}'")
    assert (home / "found.json").is_file()  # where it was called from
    assert done.returncode == 1, done.stdout
    assert "SECRET_KEY: not set" in done.stdout
    assert done.stdout.splitlines()[-1] == "0 passed, 1 failed, 0 skipped"
    done = kit.run("verify_ai.sh", "--only", "nothing")
    assert done.returncode == 2 and "there is no check nothing" in done.stdout
    assert kit.run("verify_ai.sh", "--home", home / "none").returncode == 2
