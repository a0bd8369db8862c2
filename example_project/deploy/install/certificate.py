"""A throwaway certificate for a site without one: self-signed, labelled, never another's."""

from __future__ import annotations

import ipaddress
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from deploy.backups.problems import Problem

#: What a throwaway one says of itself; others are nobody's business here.
LABEL = "Throwaway certificate of deploy_ai.sh"
DAYS = 90
#: One that ends sooner is made anew.
RENEW_DAYS = 14


def _openssl(openssl: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [openssl, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def is_throwaway(openssl: str, path: Path) -> bool:
    """Was this certificate made here?"""
    done = _openssl(openssl, "x509", "-in", path, "-noout", "-subject", "-issuer")
    lines = done.stdout.splitlines()
    return len(lines) == 2 and all(LABEL in line for line in lines)


def is_ending(openssl: str, path: Path, days: int) -> bool:
    """Has it ended, or will it within so many days?"""
    done = _openssl(openssl, "x509", "-in", path, "-noout", "-checkend", days * 86_400)
    return done.returncode != 0


def names(openssl: str, path: Path) -> set[str]:
    """Return the names and addresses that it is for."""
    done = _openssl(openssl, "x509", "-in", path, "-noout", "-ext", "subjectAltName")
    return set(re.findall(r"(?:DNS|IP Address):([^,\s]+)", done.stdout))


def fits(openssl: str, certificate: Path, key: Path) -> bool:
    """Do a certificate and a key belong together?"""
    one = _openssl(openssl, "x509", "-in", certificate, "-noout", "-pubkey")
    other = _openssl(openssl, "pkey", "-in", key, "-pubout")
    return one.returncode == other.returncode == 0 and one.stdout == other.stdout


def see_readable(home: Path, *paths: Path) -> None:
    """See that certificate and key can be read; in the installation folder there may be none yet.

    Raises:
        Problem: One cannot; folders such as /etc/letsencrypt/live are closed to the site's user.
    """
    for path in paths:
        try:
            path.open("rb").close()
        except OSError as error:
            if isinstance(error, FileNotFoundError) and path.is_relative_to(home):
                continue
            tls = home / "tls"
            raise Problem(
                f"{path} cannot be read: {error.strerror}. Let a deploy hook of whoever renews"
                f" it copy certificate and key to {tls}/cert.pem and {tls}/key.pem, where this user"
                f" can read them, and name these: --set"
                f" certificate={tls}/cert.pem --set certificate_key={tls}/key.pem"
            ) from None


def provide(openssl: str, certificate: Path, key: Path, hosts: Sequence[str]) -> str:
    """See that there is a certificate; make a throwaway one if there is none, or renew it.

    Returns:
        What was done, or found.

    Raises:
        Problem: Somebody else's is not whole, or there is none outside of the installation folder.
    """
    if not certificate.exists() and not key.exists():
        return make(openssl, certificate, key, hosts)
    if not certificate.exists() or not is_throwaway(openssl, certificate):
        return _look_at(openssl, certificate, key, hosts)
    lacking = [host for host in hosts if host not in names(openssl, certificate)]
    if not key.exists() or not fits(openssl, certificate, key):
        why = "its key was another's"
    elif is_ending(openssl, certificate, RENEW_DAYS):
        why = f"it ended, or would have within {RENEW_DAYS} days"
    elif lacking:
        why = f"it did not name {', '.join(lacking)}"
    else:
        key.chmod(0o600)
        return f"already there: THROWAWAY, which no browser trusts ({certificate})"
    return f"{make(openssl, certificate, key, hosts)}; {why}"


def _look_at(openssl: str, certificate: Path, key: Path, hosts: Sequence[str]) -> str:
    for path in (certificate, key):
        if not os.access(path, os.R_OK):
            raise Problem(f"{path} cannot be read, and the other half is there: bring both.")
    if not fits(openssl, certificate, key):
        raise Problem(f"{certificate} and {key} do not belong together: bring both of one kind.")
    told = f"already there: {certificate}, not of this script"
    if is_ending(openssl, certificate, 0):
        raise Problem(f"{certificate} has ended: whoever made it has to renew it.")
    if is_ending(openssl, certificate, RENEW_DAYS):
        told += f"; it ends within {RENEW_DAYS} days"
    if lacking := [each for each in hosts if not _covers(names(openssl, certificate), each)]:
        told += f"; it does not name {', '.join(lacking)}"
    return told


def _covers(found: set[str], host: str) -> bool:
    return host in found or f"*.{host.partition('.')[2]}" in found


def make(openssl: str, certificate: Path, key: Path, hosts: Sequence[str]) -> str:
    """Make a throwaway certificate and its key."""
    certificate.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    alternatives = ",".join(f"IP:{each}" if _is_address(each) else f"DNS:{each}" for each in hosts)
    new_key, new = (
        key.with_name(f".{key.name}.new"),
        certificate.with_name(f".{certificate.name}.new"),
    )
    new_key.unlink(missing_ok=True)
    os.close(os.open(new_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    done = _openssl(
        openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-sha256", "-days", DAYS, "-subj", f"/O={LABEL}/CN={hosts[0][:64]}", "-addext",
        f"subjectAltName={alternatives}", "-addext", "extendedKeyUsage=serverAuth",
        "-keyout", new_key, "-out", new,
    )  # fmt: skip
    if done.returncode:
        new_key.unlink(missing_ok=True)
        raise Problem(f"openssl made no certificate: {done.stderr.strip()[-300:]}")
    new_key.chmod(0o600)
    new_key.replace(key)  # killed between these, the next run sees that they do not fit
    new.replace(certificate)
    told = f"made a THROWAWAY one, self-signed, for {DAYS} days, which no browser trusts"
    return f"{told}: {certificate}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
