"""The site as its visitors have it: over TLS, by its name, with cookies."""

from __future__ import annotations

import http.client
import json
import random
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookies import Morsel, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from deploy.verify.checks import Failed

SECONDS = 60
#: For how long the limit of the proxy is waited for, and what the site's own refusals hold.
_PROXY_SECONDS = 30
_OWN_HEADERS = ("x-request-id", "retry-after")
#: The keys of all sessions that visitors were given: they are deleted at the end.
SESSIONS: set[str] = set()
_TOKEN = re.compile(rb'name="csrfmiddlewaretoken" value="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        headers: In order, names in lower case; a header that was sent twice stands twice.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Return each header of that name."""
        return [value for key, value in self.headers if key == name.lower()]

    def header(self, name: str) -> str:
        """Return a header, "" if it was not sent."""
        return ", ".join(self.all(name))

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """Return the body, read as JSON.

        Raises:
            Failed: It is none.
        """
        try:
            return json.loads(self.body)
        except ValueError:
            kind = self.header("content-type") or "no type"
            raise Failed(f"an answer with status {self.status} is no JSON but {kind}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the site is.

    Attributes:
        host: Its name: in the URL, the certificate and the Host header.
        port: Of HTTPS.
        http_port: Of HTTP, which leads to HTTPS.
        connect: The address that is connected to: 127.0.0.1 on the server itself.
        own_certificate: A certificate to trust besides those that the system does, if it is
            signed by its own key.
    """

    host: str
    port: int
    http_port: int
    connect: str = "127.0.0.1"
    own_certificate: Path | None = None

    @property
    def origin(self) -> str:
        """What browsers call it."""
        return f"https://{self.host}" + ("" if self.port == 443 else f":{self.port}")

    def context(self) -> ssl.SSLContext:
        """Return how TLS is spoken: names and dates are checked."""
        context = ssl.create_default_context()
        # From Python 3.13 on any certificate in the store would do, without its chain.
        context.verify_flags &= ~ssl.VERIFY_X509_PARTIAL_CHAIN
        if self.own_certificate and self.own_certificate.is_file():
            context.load_verify_locations(cafile=str(self.own_certificate))
        return context


class _Connection(http.client.HTTPSConnection):
    """HTTPS to one address under the name of another."""

    def __init__(self, address: Address, source: str | None) -> None:
        super().__init__(
            address.connect,
            address.port,
            timeout=SECONDS,
            context=address.context(),
            source_address=(source, 0) if source else None,
        )
        self._name = address.host

    def connect(self) -> None:
        """Open it."""
        http.client.HTTPConnection.connect(self)
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self._name)


def other_loopback_address() -> str:
    """Return one of 127.0.0.0/8, so that counting and locking it harms nobody."""
    parts = (str(random.randint(1, 254)) for _ in range(3))  # noqa: S311 - no secret
    return "127." + ".".join(parts)


@dataclass(slots=True)
class Visitor:
    """Somebody with a browser of his own: cookies are kept and sent.

    Attributes:
        source: The address to come from; None for the system's choice.
        headers: Sent with every request.
    """

    address: Address
    source: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, Morsel[str]] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Make a request; a redirection is not followed. Underscores in names are hyphens.

        Where the proxy itself refuses, since it limits each address, it is asked again: how the
        site answers is what is asked for.

        Raises:
            Failed: The site is not reached; the message says which part of that went wrong.
        """
        end = time.monotonic() + _PROXY_SECONDS
        while (answer := self._ask(method, path, body, headers)).status == 429:
            if any(answer.header(name) for name in _OWN_HEADERS):
                break
            if time.monotonic() > end:
                raise Failed(
                    f"what is before the site refuses {path[:60]} with 429 for {_PROXY_SECONDS}"
                    " seconds on end: its limit for an address (requests_per_second and burst of"
                    " render.conf) is too low, or a program asks without end from this one"
                )
            time.sleep(0.2)
        return answer

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        connection = _Connection(self.address, self.source)
        try:
            with self._telling():
                connection.request(method, path, body, self._headers(headers))
                response = connection.getresponse()
                answer = Answer(response.status, _listed(response), response.read())
        finally:
            connection.close()
        for line in answer.all("set-cookie"):
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0" or not morsel.value:
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel
                    if name == "sessionid":
                        SESSIONS.add(morsel.value)
        return answer

    def stream(self, path: str, value: Any) -> Iterator[tuple[float, bytes]]:
        """Post JSON; yield each piece of the answer as it comes, and after how many seconds.

        Raises:
            Failed: The site is not reached, or does not answer with 200.
        """
        connection = _Connection(self.address, self.source)
        given = {"Content-Type": "application/json", "Origin": self.address.origin}
        try:
            with self._telling():
                headers = self._headers({**given, **self._csrf()})
                began = time.monotonic()
                connection.request("POST", path, json.dumps(value).encode(), headers)
                response = connection.getresponse()
                if response.status != 200:
                    told = response.read(300).decode(errors="replace")
                    raise Failed(f"{path} answers {response.status}: {told}")
                while piece := response.read1(65_536):
                    yield time.monotonic() - began, piece
        finally:
            connection.close()

    def _headers(self, more: Mapping[str, str]) -> dict[str, str]:
        origin = self.address.origin
        given = {"Host": origin.removeprefix("https://"), "Referer": f"{origin}/"}
        if self.cookies:
            given["Cookie"] = "; ".join(f"{k}={m.value}" for k, m in self.cookies.items())
        return given | self.headers | {name.replace("_", "-"): v for name, v in more.items()}

    def _csrf(self) -> dict[str, str]:
        found = self.cookies.get("csrftoken")
        return {"X_CSRFToken": found.value} if found else {}

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Say which part of reaching the site went wrong."""
        address = self.address
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            raise Failed(
                f"the certificate of {address.host} is not accepted: {error.verify_message}"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise Failed(
                f"{address.origin} does not answer at {address.connect}:{address.port}"
                f" ({type(error).__name__}: {error}): is nginx running?"
            ) from None

    def get(self, path: str, **headers: str) -> Answer:
        """Ask for a page."""
        return self.ask("GET", path, **headers)

    def post(self, path: str, **fields: str) -> Answer:
        """Send a form, with the token of the page at `path`."""
        page = self.get(path)
        found = _TOKEN.search(page.body)
        if found is None:
            raise Failed(f"the page {path} has no form with a token (status {page.status})")
        body = urlencode({"csrfmiddlewaretoken": found[1].decode(), **fields}).encode()
        return self.ask(
            "POST", path, body,
            Content_Type="application/x-www-form-urlencoded", Origin=self.address.origin,
        )  # fmt: skip

    def send(self, path: str, value: Any, **headers: str) -> Answer:
        """Post JSON, with the token of the cookie if there is a session."""
        given = {"Content_Type": "application/json", "Origin": self.address.origin, **headers}
        given |= self._csrf()
        return self.ask("POST", path, json.dumps(value).encode(), **given)


def _listed(response: http.client.HTTPResponse) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in response.getheaders()]


def plain_http(address: Address, path: str = "/") -> Answer:
    """Ask without TLS."""
    connection = http.client.HTTPConnection(address.connect, address.http_port, timeout=SECONDS)
    try:
        connection.request("GET", path, headers={"Host": address.host})
        response = connection.getresponse()
        return Answer(response.status, _listed(response), response.read())
    except (OSError, http.client.HTTPException) as error:
        raise Failed(
            f"http://{address.host}:{address.http_port} does not answer"
            f" ({type(error).__name__}: {error}): is nginx running?"
        ) from None
    finally:
        connection.close()


def is_open(host: str, port: int) -> bool:
    """Does anybody listen there?"""
    with socket.socket() as probe:
        probe.settimeout(3)
        return probe.connect_ex((host, port)) == 0
