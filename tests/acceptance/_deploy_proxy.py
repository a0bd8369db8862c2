"""What nginx and Apache must do alike, in front of the kit's gunicorn and uvicorn."""

from __future__ import annotations

import gzip
import http.client
import json
import ssl
import threading

from tests.acceptance._api_report import Report
from tests.acceptance._deploy_clients import Client, events, is_whole
from tests.acceptance._deploy_site import CHUNKS, SECONDS, KitSite

SECRET = "what-nobody-may-read-in-a-log"
#: Each is sent by the site, and by nobody a second time.
ONCE = (
    "strict-transport-security", "content-security-policy", "x-content-type-options",
    "x-frame-options", "referrer-policy", "cross-origin-opener-policy",
)  # fmt: skip
FORGED = {
    "X_Forwarded_For": "203.0.113.9, 203.0.113.8", "X_Real_IP": "203.0.113.9",
    "X_Forwarded_Proto": "http", "X_Forwarded_Host": "evil.example", "X_Forwarded_Port": "1",
    "Forwarded": "for=203.0.113.9;host=evil.example", "Proxy": "http://evil.example",
}  # fmt: skip
OTHER_ADDRESS = "127.0.0.42"


class Proxy:
    """One proxy, and the proof of it.

    Attributes:
        name: Of the product.
        log: Name of its access log.
    """

    def __init__(self, name: str, site: KitSite, report: Report) -> None:
        self.name, self.site, self.report = name, site, report
        self.log = f"{name.lower()}-access.log"
        self.client = Client(site.https, site.home / "tls" / "cert.pem")
        self.plain = Client(site.http, None)

    def expect(self, claim: object, why: str) -> None:
        self.report.expect(bool(claim), f"{self.name}: {why}")

    def prove(self) -> None:
        """Ask for everything."""
        self.headers()
        self.redirect()
        self.address()
        self.static()
        self.limits()
        self.tls()
        self.stream()
        text = self.site.log(self.log)
        self.expect("/trial/seen/" in text, f"{self.log} holds no request")
        self.expect(SECRET not in text, f"{self.log} holds a query string")
        for name in ("web.log", "streams.log"):
            self.expect(SECRET not in self.site.log(name), f"{name} holds a query string")
        # Not a request, which ends in its status: what the site's processes themselves wrote.

    def headers(self) -> None:
        for path in ("/", "/chat/", "/admin/login/"):
            answer = self.client.ask(path, Accept_Encoding="gzip, br")
            self.expect(answer.status == 200, f"{path} answers {answer.status}")
            for name in ONCE:
                count = len(answer.all(name))
                self.expect(count == 1, f"{path} has {name} {count} times")
            self.expect(not answer.all("content-encoding"), f"{path} is compressed")
            server = answer.all("server")
            self.expect(server == [self.name], f"{server} answers")
            self.expect(not any("/" in each for each in server), f"its version is told: {server}")
        self.report.line(
            f"- {self.name}: pages of gunicorn and uvicorn have each of {len(ONCE)} headers of"
            " safety once; no version is told."
        )

    def redirect(self) -> None:
        answer = self.plain.ask("/search/?q=a%20b")
        expected = f"https://127.0.0.1:{self.site.https}/search/?q=a%20b"
        found = answer.all("location")
        self.expect(answer.status == 301 and found == [expected], f"{answer.status} to {found}")
        for client in (self.plain, self.client):
            try:
                status = client.ask("/", Host="evil.example").status
            except (http.client.HTTPException, OSError):
                status = 0  # told nothing at all
            self.expect(status in (0, 421), f"an unknown host is answered with {status}")
        self.report.line(f"- {self.name}: HTTP leads to HTTPS; a host of somebody else, nowhere.")

    def address(self) -> None:
        for path in ("/trial/seen/", "/chat/trial/seen/"):
            for source in ("127.0.0.1", OTHER_ADDRESS):
                connection = self.client.connect()
                connection.source_address = (source, 0)
                answer = self.client.ask(f"{path}?q={SECRET}", connection=connection, **FORGED)
                connection.close()
                self.expect(answer.status == 200, f"{path} answers {answer.status}")
                seen = answer.json()
                headers = {name.lower() for name in seen["headers"]}
                self.expect(seen["address"] == source, f"{source} is seen as {seen['address']}")
                self.expect(seen["is_secure"], f"{path} does not see HTTPS")
                self.expect("evil" not in json.dumps(seen), f"what was forged arrives: {seen}")
                self.expect("203.0.113" not in json.dumps(seen), f"what was forged arrives: {seen}")
                gone = headers & {"forwarded", "proxy", "x-forwarded-host", "x-forwarded-port"}
                self.expect(not gone, f"{gone} arrive")
            expected = "ASGIRequest" if path.startswith("/chat/") else "WSGIRequest"
            self.expect(seen["server"] == expected, f"{path} is served as {seen['server']}")
        self.report.line(
            f"- {self.name}: the site sees the client's own address and HTTPS, under gunicorn and"
            " uvicorn, whatever the client says of itself in seven headers."
        )

    def static(self) -> None:
        manifest = json.loads((self.site.home / "static/staticfiles-one.json").read_text("utf-8"))
        plain, hashed = "django_obc_ai/chat.css", manifest["paths"]["django_obc_ai/chat.css"]
        for name, expected in ((plain, "max-age=3600"), (hashed, "immutable")):
            answer = self.client.ask(f"/static/{name}", Accept_Encoding="gzip")
            cache = answer.all("cache-control")
            self.expect(answer.status == 200, f"/static/{name} answers {answer.status}")
            self.expect(len(cache) == 1 and expected in cache[0], f"/static/{name} has {cache}")
            self.expect(answer.all("x-content-type-options") == ["nosniff"], "static: no nosniff")
            kind = answer.all("content-type")[0]
            self.expect(kind.startswith("text/css"), f"/static/{name} is {kind}")
            self.expect(answer.all("content-encoding") == ["gzip"], "styles are not compressed")
            body = gzip.decompress(answer.body)
            self.expect(body == (self.site.home / "static" / name).read_bytes(), "other bytes")
        for path in ("/static/", "/static/../.env", "/static/%2e%2e/.env", "/static/none.css"):
            status = self.client.ask(path).status
            self.expect(status in (400, 403, 404), f"{path} answers {status}")
        self.report.line(
            f"- {self.name}: static files come compressed, with their types; those with a hash in"
            " their names may be kept for ever, others for an hour; nothing else of the folder."
        )

    def limits(self) -> None:
        for size, expected in ((1_000_000, 200), (1_100_000, 413)):
            status = self.client.ask("/trial/slow/", b"x" * size).status
            self.expect(status == expected, f"{size} bytes are answered with {status}")
        answer = self.client.ask("/trial/slow/?seconds=5")
        self.expect(answer.status == 200, f"a slow answer is {answer.status}")
        self.report.line(f"- {self.name}: 1.1 MB are refused with 413, 1 MB arrive.")

    def tls(self) -> None:
        assert self.client.context is not None
        for version, fits in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(str(self.site.home / "tls" / "cert.pem"))
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, version
            connection = http.client.HTTPSConnection(
                "127.0.0.1", self.site.https, timeout=30, context=context
            )
            try:
                connection.connect()
                done, why = True, ""
            except OSError as error:
                done, why = False, str(error)
            connection.close()
            self.expect(done == fits, f"{version.name}: {why or 'accepted'}")
            self.expect(fits or "ALERT" in why.upper(), f"{version.name}: not the server: {why}")
        self.report.line(f"- {self.name}: TLS 1.1 is refused, TLS 1.2 and 1.3 are spoken.")

    def stream(self) -> None:
        """Ask in a stream; and again while the answer of gunicorn is slow."""
        slow = threading.Thread(target=self.client.ask, args=("/trial/slow/?seconds=3",))
        slow.start()
        answer = self.client.stream(f"How many provinces are there? {self.name} asks.")
        slow.join()
        self.expect(is_whole(answer), f"the stream is not whole: {answer.body[-300:]!r}")
        texts = events(answer).count("text")
        first, last = answer.pieces[1], answer.pieces[-1]
        self.expect(texts == CHUNKS, f"{texts} pieces of text, {CHUNKS} were sent")
        self.expect(
            len(answer.pieces) > CHUNKS // 2 and last - first > SECONDS / 2,
            f"the stream came at once: from {first:.2f} to {last:.2f} s",
        )
        self.report.line(
            f"- {self.name}: a stream that the provider tells in {CHUNKS} pieces over"
            f" {SECONDS:g} s arrives in {len(answer.pieces)}, the first text after {first:.2f} s"
            f" and the last after {last:.2f} s."
        )
