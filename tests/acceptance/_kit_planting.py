"""How faults come into a running site, and how they are taken away. Part of deploy_kit.py."""

from __future__ import annotations

import secrets
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from _kit_site import AI, Installation, wait_until

from tests.servers.gemini import BAD_KEY, closed_port

#: What reads .env.
READERS = ("web", "streams", "worker", "beat")
Planting = Callable[[Installation], AbstractContextManager[None]]


def without(*programs: str) -> Planting:
    """Programs are killed, and whoever should start them again does not."""

    @contextmanager
    def plant(site: Installation) -> Iterator[None]:
        site.control("stop", *programs)
        yield
        site.start(*programs)
        # Whoever lost a connection comes back by itself, in its own time.
        wait_until(lambda: site.verify(AI, "worker").code == 0, "the worker answers again")

    return plant


@contextmanager
def written(path: Path, text: str) -> Iterator[None]:
    """A file says something else for a while. Its owner stays."""
    before = path.read_bytes()
    path.write_text(text, encoding="utf-8")
    try:
        yield
    finally:
        path.write_bytes(before)


def settings(lines: str) -> Planting:
    """Somebody has edited the release's settings, and reloaded the servers."""

    @contextmanager
    def plant(site: Installation) -> Iterator[None]:
        path = site.file("current/example_project/deploy/settings.py")
        with written(path, f"{path.read_text()}\n{lines}\n"):
            site.reload()
            yield
        site.reload()

    return plant


def variables(**changed: str) -> Planting:
    """Somebody has edited .env, and restarted what reads it."""

    @contextmanager
    def plant(site: Installation) -> Iterator[None]:
        path = site.file(".env")
        with written(path, edited(path.read_text(), **changed)):
            site.control("restart", *READERS)
            yield
        site.control("restart", *READERS)
        site.start(*READERS)

    return plant


def edited(text: str, **changed: str) -> str:
    """Return a .env with other values; an empty one takes the variable out."""
    lines = [line for line in text.splitlines() if line.split("=")[0].strip() not in changed]
    return "\n".join([*lines, *(f"{name}={value}" for name, value in changed.items() if value), ""])


def use_key(site: Installation, key: str, url: str) -> None:
    """Write a key into .env, and let all processes take it up."""
    path = site.file(".env")
    path.write_text(edited(path.read_text(), GOOGLE_API_KEY=key, OBC_SITE_GEMINI_URL=url))
    site.control("restart", "worker")
    site.reload()


def wrong_key(url: str) -> Planting:
    """A key that the loopback Gemini refuses; afterwards one that it takes."""

    @contextmanager
    def plant(site: Installation) -> Iterator[None]:
        use_key(site, f"{BAD_KEY}-{secrets.token_hex(16)}", url)
        yield
        use_key(site, f"loopback-{secrets.token_hex(16)}", url)

    return plant


def unreachable(url: str) -> Planting:
    """A key that would be good, and nobody where the provider should be."""

    @contextmanager
    def plant(site: Installation) -> Iterator[None]:
        key = f"loopback-{secrets.token_hex(16)}"
        with closed_port() as nobody:
            use_key(site, key, nobody)
            yield
        use_key(site, key, url)

    return plant


@contextmanager
def guard_off(site: Installation) -> Iterator[None]:
    """Somebody has let every message through, to try something, and left it so."""
    path = site.file("current/django_obc_ai/chat/messages.py")
    line = "check_message = str"
    with written(path, f"{path.read_text()}\n{line}\n"):
        site.reload()
        yield
    site.reload()


@contextmanager
def stale_index(site: Installation) -> Iterator[None]:
    """Rows are edited past the signals, as SQL or a bulk update does it."""
    change = (
        "from communities.models import Community as C;"
        " pk = C.objects.order_by('pk').values_list('pk', flat=True)[7];"
        " print(C.objects.filter(pk=pk).update(name='A place that was renamed'))"
    )
    site.manage("shell", "-v0", "-c", change)
    yield
    site.manage("load_places")
    site.manage("ai_index", "communities")


@contextmanager
def closed_vectors(site: Installation) -> Iterator[None]:
    """The folder of the index files cannot be written."""
    folder = site.home / "vectors"
    site.machine.run("chmod", "-R", "a-w", folder)
    yield
    site.machine.run("chmod", "-R", "u+w", folder)


@contextmanager
def expired_certificate(site: Installation) -> Iterator[None]:
    """The certificate is of last year, for the same names, and signed by the same key."""
    path = site.file("tls/cert.pem")
    with written(path, _expired(path, site.file("tls/key.pem"))):
        site.control("signal", "HUP", "nginx")
        _wait_for_certificate(site)
        yield
    site.control("signal", "HUP", "nginx")
    _wait_for_certificate(site)


@contextmanager
def missing_migration(site: Installation) -> Iterator[None]:
    """Somebody has copied new code over the release, and its migration was not run."""
    folder = "current/example_project/communities/migrations"
    last = max(path.stem for path in site.file(folder).glob("0*.py"))
    path = site.file(f"{folder}/0099_by_hand.py")
    path.write_text(migration(last))
    path.chmod(0o644)
    yield
    path.unlink()


def migration(after: str) -> str:
    """Return a migration of the example's app that adds a table."""
    return (
        "from django.db import migrations, models\n\n\n"
        "class Migration(migrations.Migration):\n"
        f'    dependencies = [("communities", "{after}")]\n'
        "    operations = [\n"
        '        migrations.CreateModel("Visit", [("id", models.AutoField(primary_key=True))]),\n'
        "    ]\n"
    )


@contextmanager
def secret_in_log(site: Installation) -> Iterator[None]:
    """Somebody prints the key while the settings are loaded, to see it."""
    with settings("print('starting with', SECRET_KEY, flush=True)")(site):
        yield
    secret = next(
        line.partition("=")[2].strip()
        for line in site.file(".env").read_text().splitlines()
        if line.startswith("SECRET_KEY=")
    )
    for path in site.file("log").glob("*.log"):
        if secret in (text := path.read_text(errors="replace")):
            path.write_text(text.replace(secret, "(removed)"))


def _expired(certificate: Path, private_key: Path) -> str:
    """Return a certificate like another one, whose time is over."""
    names = subprocess.run(
        ["openssl", "x509", "-in", str(certificate), "-noout", "-ext", "subjectAltName"],
        capture_output=True, text=True, check=True,
    ).stdout.strip().splitlines()[-1].strip().replace("IP Address:", "IP:")  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "ca").mkdir()
        (folder / "index").touch()
        (folder / "serial").write_text("20240101\n")
        (folder / "conf").write_text(_CA.format(folder=folder, names=names))
        subject = ["-subj", "/CN=localhost"]
        request = ["req", "-new", "-key", str(private_key), *subject, "-out", f"{folder}/request"]
        sign = [
            "ca", "-config", f"{folder}/conf", "-selfsign", "-batch", "-notext",
            "-keyfile", str(private_key), "-in", f"{folder}/request", "-out", f"{folder}/cert",
            "-startdate", "20240101000000Z", "-enddate", "20240301000000Z",
        ]  # fmt: skip
        for command in (request, sign):
            subprocess.run(["openssl", *command], check=True, capture_output=True)
        return (folder / "cert").read_text()


_CA = """
[ca]
default_ca = own
[own]
database = {folder}/index
serial = {folder}/serial
new_certs_dir = {folder}/ca
default_md = sha256
policy = any
x509_extensions = names
[any]
commonName = supplied
[names]
basicConstraints = critical, CA:TRUE
subjectAltName = {names}
"""


def _wait_for_certificate(site: Installation) -> None:
    port = int(site.values()["https_port"])
    wanted = ssl.PEM_cert_to_DER_cert(site.file("tls/cert.pem").read_text())

    def is_served() -> bool:
        served = ssl.get_server_certificate(("127.0.0.1", port))
        return ssl.PEM_cert_to_DER_cert(served) == wanted

    wait_until(is_served, "nginx serves the other certificate")
