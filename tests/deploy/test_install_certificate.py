"""The throwaway certificate: made, renewed, and never anybody else's."""

from __future__ import annotations

import shutil
import ssl
import stat
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

HOSTS = ["ai.example.org", "127.0.0.1"]
OPENSSL = shutil.which("openssl") or ""
pytestmark = pytest.mark.skipif(not OPENSSL, reason="needs openssl")


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "tls/cert.pem", tmp_path / "tls/key.pem"


def foreign(certificate: Path, key: Path, days: int = 100) -> None:
    """Make a certificate of somebody else."""
    certificate.parent.mkdir(exist_ok=True)
    subprocess.run(
        [
            OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-days", str(days), "-subj", "/O=Somebody/CN=ai.example.org", "-addext",
            "subjectAltName=DNS:*.example.org", "-keyout", key, "-out", certificate,
        ],
        check=True, capture_output=True,
    )  # fmt: skip


def test_one_is_made_where_there_is_none(install: SimpleNamespace, pair: tuple[Path, Path]) -> None:
    told = install.certificate.provide(OPENSSL, *pair, HOSTS)
    assert "THROWAWAY" in told
    assert stat.S_IMODE(pair[1].stat().st_mode) == 0o600
    assert stat.S_IMODE(pair[0].parent.stat().st_mode) == 0o700
    assert install.certificate.names(OPENSSL, pair[0]) == set(HOSTS)
    assert install.certificate.is_throwaway(OPENSSL, pair[0])
    assert not install.certificate.is_ending(OPENSSL, pair[0], 80)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    text = subprocess.run(
        [OPENSSL, "x509", "-in", pair[0], "-noout", "-text"], capture_output=True, text=True
    ).stdout
    assert "id-ecPublicKey" in text
    assert sorted(each.name for each in pair[0].parent.iterdir()) == ["cert.pem", "key.pem"]


def test_a_second_run_leaves_it(install: SimpleNamespace, pair: tuple[Path, Path]) -> None:
    install.certificate.provide(OPENSSL, *pair, HOSTS)
    before = [path.read_bytes() for path in pair]
    assert "already there: THROWAWAY" in install.certificate.provide(OPENSSL, *pair, HOSTS)
    assert [path.read_bytes() for path in pair] == before


def test_it_is_renewed_for_other_names_and_before_it_ends(
    install: SimpleNamespace, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install.certificate, "DAYS", 10)
    install.certificate.make(OPENSSL, *pair, HOSTS)
    monkeypatch.undo()
    told = install.certificate.provide(OPENSSL, *pair, HOSTS)
    assert "would have within 14 days" in told
    assert not install.certificate.is_ending(OPENSSL, pair[0], 80)
    told = install.certificate.provide(OPENSSL, *pair, [*HOSTS, "www.example.org"])
    assert "it did not name www.example.org" in told
    assert "www.example.org" in install.certificate.names(OPENSSL, pair[0])


@pytest.mark.parametrize("left", ["cert.pem", "another's key"])
def test_a_pair_that_was_made_by_half_is_made_anew(
    install: SimpleNamespace, pair: tuple[Path, Path], left: str
) -> None:
    install.certificate.make(OPENSSL, *pair, HOSTS)
    if left == "cert.pem":
        pair[1].unlink()
    else:  # killed between the two
        install.certificate.make(OPENSSL, pair[0].with_name("other.pem"), pair[1], HOSTS)
    assert "its key was another's" in install.certificate.provide(OPENSSL, *pair, HOSTS)
    assert install.certificate.fits(OPENSSL, *pair)


def test_somebody_elses_is_left_whatever_it_is(
    install: SimpleNamespace, pair: tuple[Path, Path]
) -> None:
    foreign(*pair)
    before = [path.read_bytes() for path in pair]
    told = install.certificate.provide(OPENSSL, *pair, ["ai.example.org", "www.elsewhere.org"])
    assert "not of this script; it does not name www.elsewhere.org" in told
    foreign(*pair, days=5)
    assert "ends within 14 days" in install.certificate.provide(OPENSSL, *pair, HOSTS[:1])
    assert [path.read_bytes() for path in pair] != before
    before = [path.read_bytes() for path in pair]
    pair[1].rename(pair[1].with_name("hidden"))
    with pytest.raises(install.problems.Problem, match="cannot be read"):
        install.certificate.provide(OPENSSL, *pair, HOSTS)
    assert not pair[1].exists()
    assert pair[0].read_bytes() == before[0]


def test_one_that_was_named_and_cannot_be_read_is_told_before_it_is_kept(
    install: SimpleNamespace, tmp_path: Path
) -> None:
    home, live = tmp_path / "site", tmp_path / "live"
    home.mkdir()
    named = {"certificate": f"{live}/cert.pem", "certificate_key": f"{live}/key.pem"}
    options = install.decisions.Options(home=home, source=tmp_path, changed=named)
    told = rf"{live}/cert.pem cannot be read: .*--set\s+certificate={home}/tls/cert.pem"
    with pytest.raises(install.problems.Problem, match=told):
        install.decisions.decide(options, {})
    foreign(live / "cert.pem", live / "key.pem")
    assert install.decisions.decide(options, {}).values["certificate"] == named["certificate"]

    (home / "tls").symlink_to(live / "cert.pem")  # any fault but that it is not there yet
    with pytest.raises(install.problems.Problem, match="cannot be read: Not a directory"):
        install.decisions.decide(install.decisions.Options(home=home, source=tmp_path), {})


def test_a_folder_that_is_made_later_is_no_fault(install: SimpleNamespace, tmp_path: Path) -> None:
    options = install.decisions.Options(home=tmp_path / "site", source=tmp_path)
    assert install.decisions.decide(options, {}).values["certificate"].endswith("tls/cert.pem")
