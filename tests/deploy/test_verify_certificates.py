"""Who signed the site's certificate: nobody else, somebody unknown, or a public authority."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.test_verify_security import parts  # noqa: F401 - a fixture
from tests.deploy.trial import make_certificate

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
HOST = "atlas.example.org"


def make_private_certificate(folder: Path) -> None:
    """Write cert.pem, signed by an authority of one's own and with its root, and key.pem."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    root, leaf = folder / "root.pem", folder / "leaf.pem"
    for command in (
        ["req", *key, "-x509", "-days", "2", "-subj", "/O=The Office/CN=Its Root",
         "-addext", "keyUsage=critical,keyCertSign",
         "-keyout", f"{folder}/root.key", "-out", str(root)],
        ["req", *key, "-x509", "-days", "2", "-subj", f"/CN={HOST}",
         "-addext", f"subjectAltName=DNS:{HOST}", "-addext", "basicConstraints=critical,CA:FALSE",
         "-CA", str(root), "-CAkey", f"{folder}/root.key",
         "-keyout", f"{folder}/key.pem", "-out", str(leaf)],
    ):  # fmt: skip
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    (folder / "cert.pem").write_text(leaf.read_text() + root.read_text())


@contextmanager
def served(folder: Path) -> Iterator[int]:
    """Shake hands with whoever comes; yield the port."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    plain, _ = server.accept()
                except OSError:
                    return
                with contextlib.suppress(OSError), tls.wrap_socket(plain, server_side=True) as each:
                    each.recv(1)

        threading.Thread(target=answer, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("is_private", [False, True])
def test_who_signed_it_is_told_apart(
    parts: Any,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_private: bool,
) -> None:
    from deploy.verify.certificates import public_issuer, shake
    from deploy.verify.site import Address

    if is_private:
        make_private_certificate(tmp_path)
    else:
        make_certificate(tmp_path, host=HOST)
    where = tmp_path / "cert.pem"
    with served(tmp_path) as port:
        address = Address(host=HOST, port=port, http_port=1, own_certificate=where)
        facts = shake(address, address.context())  # accepted, since it lies there
        with pytest.raises(parts.checks.Skipped) as caught:
            public_issuer(address, facts, str(where))
        told = str(caught.value)
        assert ("signed by The Office, whom this system does not know" in told) == is_private
        assert ("signed by its own key" in told) != is_private
        # A system that was told of it trusts it.
        monkeypatch.setenv("SSL_CERT_FILE", str(where))
        assert "whom this system trusts" in public_issuer(address, facts, str(where))
