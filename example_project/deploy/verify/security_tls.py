"""TLS: HTTP leads to it, the certificate is good, old versions and ciphers are refused."""

from __future__ import annotations

import datetime
import socket
import ssl
from contextlib import suppress
from typing import Any

from deploy.verify.certificates import public_issuer, shake
from deploy.verify.checks import Failed, Skipped, Suite
from deploy.verify.context import Context
from deploy.verify.site import SECONDS, Address, Visitor, plain_http

#: What nobody should take any more, as OpenSSL calls it: no key, broken, or without secrecy of
#: what was recorded (RSA alone as the exchange of keys).
WEAK = "aNULL:eNULL:EXPORT:LOW:RC4:3DES:IDEA:SEED:MD5:PSK:SRP:kRSA"
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, for which Python has no name
_OLD = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)


def add(suite: Suite) -> None:
    """Add the checks."""
    add = suite.check
    add("certificate", "The certificate is accepted and not expired")(certificate)
    needs = ("certificate",)
    add("certificate-public", "Browsers know who signed it", needs=needs)(certificate_public)
    add("site", "The site answers over TLS", needs=needs)(site)
    add("https-redirect", "HTTP leads to HTTPS", needs=needs)(https_redirect)
    add("tls-versions", "Nothing below TLS 1.2 is spoken", needs=needs)(tls_versions)
    add("tls-ciphers", "No weak cipher is taken", needs=needs)(tls_ciphers)
    add("unknown-hosts", "Other names get nothing", needs=("site",))(unknown_hosts)


def certificate(context: Context) -> str:
    """Shake hands as a browser does, and read until when the certificate holds."""
    address = context.address
    facts = read_certificate(address)
    ends = _time(facts["notAfter"])
    left = ends - datetime.datetime.now(datetime.UTC)
    if left.total_seconds() < 0:
        raise Failed(
            f"the certificate of {address.host} has expired on {ends:%Y-%m-%d %H:%M} UTC"
            f" ({context.values['certificate']}): renew it, and send HUP to nginx"
        )
    try:
        shake(address, address.context())
    except ssl.SSLCertVerificationError as error:
        raise Failed(
            f"the certificate of {address.host} is not accepted: {error.verify_message}"
            f" ({context.values['certificate']})"
        ) from None
    return f"of {address.host}, until {ends:%Y-%m-%d %H:%M} UTC, {left.days} days"


def certificate_public(context: Context) -> str:
    """Shake hands with the certificates alone that the system trusts."""
    where = context.values["certificate"]
    return public_issuer(context.address, read_certificate(context.address), where)


def site(context: Context) -> str:
    """Ask gunicorn for a page that needs nothing, and uvicorn for one."""
    answer = Visitor(context.address).get("/health/live/")
    if answer.status != 200:
        raise Failed(
            f"{context.address.origin}/health/live/ answers {answer.status}: is gunicorn running?"
            " supervisorctl status, log/web.log"
        )
    streams = Visitor(context.address).get("/chat/").status
    if streams in (502, 503, 504):
        raise Failed(
            f"{context.address.origin}/chat/ answers {streams}: is uvicorn running?"
            " supervisorctl status, log/streams.log"
        )
    return f"{context.address.origin} answers"


def https_redirect(context: Context) -> str:
    """Ask over HTTP, also with what a redirection may be led astray by."""
    address = context.address
    for path in ("/", "/search/?q=verify%20%3Cb%3E", "/admin/login/?next=/admin/"):
        answer = plain_http(address, path)
        where = answer.header("location")
        if answer.status != 301 or where != f"{address.origin}{path}":
            raise Failed(
                f"http://{address.host}{path} answers {answer.status} to {where or 'nowhere'}, not"
                f" 301 to {address.origin}{path}: see 'return 301' of conf/nginx-site.conf"
            )
        if answer.all("set-cookie"):
            raise Failed(f"http://{address.host}{path} sets a cookie, which others can read")
    return f"301 to {address.origin}"


def tls_versions(context: Context) -> str:
    """Offer TLS 1.0 and 1.1 alone, and then what is good."""
    refused, missing = [], []
    for version in _OLD:
        offer = _offer()
        offer.minimum_version = offer.maximum_version = version
        if not _can_offer(offer):
            missing.append(version.name)
            continue
        if (spoken := _accepted(context.address, offer)) is not None:
            raise Failed(
                f"{spoken[0]} is spoken: allow TLSv1.2 and TLSv1.3 alone (ssl_protocols of"
                " conf/nginx-site.conf, SSLProtocol of Apache)"
            )
        refused.append(version.name)
    good = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    good.check_hostname, good.verify_mode = False, ssl.CERT_NONE
    spoken = _accepted(context.address, good)
    if not refused:
        raise Skipped(f"OpenSSL here cannot offer {', '.join(missing)}")
    also = f"; could not be offered: {', '.join(missing)}" if missing else ""
    return f"refused: {', '.join(refused)}; spoken: {spoken[0] if spoken else 'nothing'}{also}"


def tls_ciphers(context: Context) -> str:
    """Offer weak ciphers alone."""
    offer = _offer()
    offer.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        offer.set_ciphers(f"{WEAK}:@SECLEVEL=0")
    except ssl.SSLError:
        raise Skipped("OpenSSL here knows no weak cipher to offer") from None
    names = [each["name"] for each in offer.get_ciphers() if each["protocol"] != "TLSv1.3"]
    if not names or not _can_offer(offer):
        raise Skipped("OpenSSL here knows no weak cipher to offer")
    if (spoken := _accepted(context.address, offer)) is not None:
        raise Failed(
            f"the weak cipher {spoken[1]} is taken: see ssl_ciphers of conf/nginx-site.conf,"
            " SSLCipherSuite of Apache"
        )
    return f"all {len(names)} that OpenSSL here can offer are refused"


def unknown_hosts(context: Context) -> str:
    """Ask for a host that is not the site's: in the handshake, and in the header alone."""
    address = context.address
    unknown = "unknown-host.invalid"
    for what, name, header in (
        ("handshake and header", unknown, unknown),
        ("header alone", address.host, unknown),
        ("header with the site's name as a part", address.host, f"{address.host}.{unknown}"),
    ):
        answer = _raw(address, name, header)
        status = answer.split(b" ", 2)[1:2]
        if answer and (status not in ([b"400"], [b"403"], [b"404"], [b"421"]) or _is_ours(answer)):
            raise Failed(
                f"a host that is not the site's ({what}) is answered with status"
                f" {b''.join(status).decode()}: the first server of conf/nginx-site.conf has to"
                " close on it, and ALLOWED_HOSTS to hold the site's names alone"
            )
    over_http = _raw(address, None, unknown)
    if b"location:" in over_http.lower():
        raise Failed("over HTTP an unknown host is led on: see 'default_server' of nginx-site.conf")
    return "closed or refused, over HTTP and HTTPS"


def read_certificate(address: Address) -> dict[str, Any]:
    """Return what the served certificate says, whoever signed it and whenever.

    Raises:
        Failed: Nobody answers, or not with TLS.
    """
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    try:
        with _socket(address, blind) as secured:
            served = secured.getpeercert(binary_form=True)
        assert served is not None  # noqa: S101 - a server has one
        # Python tells what a certificate says if it was accepted: here it vouches for itself.
        reading = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        reading.check_hostname = False
        reading.load_verify_locations(cadata=served)
        reading.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        reading.verify_flags = ssl.VerifyFlags(reading.verify_flags | _NO_CHECK_TIME)
        with _socket(address, reading) as secured:
            return dict(secured.getpeercert() or {})
    except OSError as error:  # of TLS, too
        raise Failed(
            f"{address.origin} does not shake hands at {address.connect}:{address.port}"
            f" ({type(error).__name__}: {error}): is nginx running?"
        ) from None


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(ssl.cert_time_to_seconds(text), datetime.UTC)


def _socket(address: Address, how: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection((address.connect, address.port), timeout=SECONDS)
    try:
        return how.wrap_socket(plain, server_hostname=address.host)
    except BaseException:
        plain.close()
        raise


def _offer() -> ssl.SSLContext:
    """Return a client that trusts anybody and offers all that OpenSSL has."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is old is what is asked for
        offer = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        offer.check_hostname, offer.verify_mode = False, ssl.CERT_NONE
        offer.minimum_version = ssl.TLSVersion.TLSv1
        offer.set_ciphers("ALL:@SECLEVEL=0")
    return offer


def _can_offer(offer: ssl.SSLContext) -> bool:
    """Does OpenSSL begin a handshake with it? Some are built without what is old."""
    out = ssl.MemoryBIO()
    talking = offer.wrap_bio(ssl.MemoryBIO(), out)
    with suppress(ssl.SSLWantReadError):
        try:
            talking.do_handshake()
        except ssl.SSLWantReadError:
            raise
        except ssl.SSLError:
            return False
    return out.pending > 0


def _accepted(address: Address, offer: ssl.SSLContext) -> tuple[str, str] | None:
    """Return version and cipher that were agreed on; None if the offer was refused."""
    try:
        with _socket(address, offer) as secured:
            cipher = secured.cipher()
            return str(secured.version()), cipher[0] if cipher else "none"
    except (ssl.SSLError, ConnectionError):
        return None


def _raw(address: Address, name: str | None, header: str) -> bytes:
    """Ask for a page with these names; return the beginning of the answer, b"" for none."""
    port = address.http_port if name is None else address.port
    with suppress(OSError):
        connection = socket.create_connection((address.connect, port), timeout=SECONDS)
        with connection:
            if name is not None:
                blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
                connection = blind.wrap_socket(connection, server_hostname=name)
            with connection:
                connection.sendall(
                    f"GET / HTTP/1.1\r\nHost: {header}\r\nConnection: close\r\n\r\n".encode()
                )
                return connection.recv(65_536)
    return b""


def _is_ours(answer: bytes) -> bool:
    """Does it come from the site, and not from the proxy?"""
    head = answer.partition(b"\r\n\r\n")[0].lower()
    return b"content-security-policy" in head or b"set-cookie" in head
