"""How each variable is read: what may stand in it, and what is said if something else does.

A fault names the variable and what to do. It never holds the value, which may be a secret or a
piece of one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from urllib.parse import SplitResult, urlsplit

KEY_LENGTH = 50
MAKE_KEY = 'python -c "import secrets; print(secrets.token_urlsafe(50))"'
_OFF = ("", "0", "false", "no", "off")
_ON = ("1", "true", "yes", "on")
_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_HOST = re.compile(rf"\.?{_LABEL}(?:\.{_LABEL})*", re.IGNORECASE)
_PLACEHOLDER = re.compile(
    r"<.*>|^django-insecure|change[-_ ]?me|place[-_ ]?holder|your[-_ ]|replace[-_ ](me|this|with)"
    r"|^(secret|example|test|dummy)[-_ ]?key",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Reader:
    """The environment, and the faults that were found in it."""

    environ: Mapping[str, str]
    faults: list[str]

    def fault(self, name: str, text: str) -> None:
        """Keep a fault; the first of each variable is enough."""
        if not any(each.startswith(f"{name}: ") for each in self.faults):
            self.faults.append(f"{name}: {text}")

    def text(self, name: str) -> str:
        """Return a value without the space around it; "" if there is none."""
        return self.environ.get(name, "").strip()

    def needed(self, name: str, what_to_do: str) -> str:
        """Return a value that has to be there and to be no placeholder; "" and a fault if not."""
        value = self.text(name)
        if not value:
            self.fault(name, f"not set. {what_to_do}")
        elif _PLACEHOLDER.search(value):
            self.fault(name, f"still holds a placeholder. {what_to_do}")
            return ""
        return value

    def listed(self, name: str, what_to_do: str) -> list[str]:
        """Return values that commas divide; there has to be one."""
        parts = [part.strip() for part in self.needed(name, what_to_do).split(",")]
        return [part for part in parts if part]

    def number(self, name: str, default: int) -> int:
        """Return a whole number, 0 or above."""
        value = self.text(name) or str(default)
        if not re.fullmatch(r"[0-9]{1,9}", value):
            self.fault(name, f"is no whole number. Write digits alone, or leave it out: {default}.")
            return default
        return int(value)

    def limit(self, name: str, default: int) -> int | None:
        """Return a whole number above 0, or None for "none"."""
        if self.text(name).lower() == "none":
            return None
        value = self.number(name, default)
        if not value:
            self.fault(name, 'is 0, which would let nothing through. For no limit write "none".')
        return value

    def dollars(self, name: str, default: str) -> Decimal:
        """Return US dollars above 0."""
        try:
            value = Decimal(self.text(name) or default)
        except InvalidOperation:
            value = Decimal("NaN")
        if not value.is_finite() or value <= 0:
            self.fault(name, f"is no amount above 0. Write US dollars such as {default}.")
            return Decimal(default)
        return value

    def decision(self, name: str) -> bool:
        """Return what was decided; yes, where nothing was."""
        value = self.text(name).lower() or "1"
        if value not in _ON + _OFF:
            self.fault(name, "is neither 1 nor 0.")
        return value in _ON

    def url(self, name: str, value: str, schemes: tuple[str, ...], example: str) -> SplitResult:
        """Return an address in its parts; an empty one and a fault if it is none."""
        try:
            parts = urlsplit(value)
            _ = parts.port  # raises where it is no number
            is_known = parts.scheme in schemes
        except ValueError:
            is_known = False
        if not is_known:
            known = ", ".join(f"{scheme}://" for scheme in schemes)
            self.fault(
                name,
                f"is no address that begins with {known}. It looks like {example}, with special"
                " characters of a password written as %40 and so on.",
            )
            return urlsplit("")
        return parts


def refuse_debug(reader: Reader) -> None:
    """Debugging is off, and nothing switches it on."""
    for name in ("DEBUG", "OBC_SITE_DEBUG"):
        if reader.text(name).lower() not in _OFF:
            reader.fault(
                name,
                "asks for debugging, which deploy.settings refuses: it shows settings, code and"
                f" queries to strangers. Write {name}=0 or leave it out. On your own machine use"
                " DJANGO_SETTINGS_MODULE=obc_site.settings.",
            )


def secret_key(reader: Reader) -> str:
    """The key that sessions, tokens and forms are signed with."""
    what_to_do = f"Make one: {MAKE_KEY}"
    value = reader.needed("SECRET_KEY", what_to_do)
    if value and len(value) < KEY_LENGTH:
        reader.fault("SECRET_KEY", f"has fewer than {KEY_LENGTH} characters. {what_to_do}")
    elif value and len(set(value)) < 10:
        reader.fault("SECRET_KEY", f"repeats a few characters. {what_to_do}")
    return value


def hosts(reader: Reader) -> list[str]:
    """The names that the site answers to."""
    name, what_to_do = "ALLOWED_HOSTS", "Write the site's names: atlas.example.org,www.example.org"
    found = reader.listed(name, what_to_do)
    for host in found:
        if "*" in host:
            reader.fault(name, f'holds "*", with which any name is believed. {what_to_do}')
        elif not _HOST.fullmatch(host) and not _is_address(host):
            reader.fault(name, f"holds what is no name of a host. {what_to_do}")
    return found


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def origins(reader: Reader) -> list[str]:
    """Where forms may come from."""
    name, what_to_do = "CSRF_TRUSTED_ORIGINS", "Write each as https://atlas.example.org"
    found = reader.listed(name, what_to_do)
    for origin in found:
        try:
            parts = urlsplit(origin)
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            host = ""
        if not origin.startswith("https://"):
            reader.fault(name, f"holds an origin that does not begin with https://. {what_to_do}")
        elif origin != f"https://{parts.netloc}" or not (
            _HOST.fullmatch(host.removeprefix("*")) or _is_address(host)
        ):
            reader.fault(name, f"holds an origin with more than https:// and a host. {what_to_do}")
    return found


def database_url(reader: Reader) -> str | None:
    """Where the database is; None: a file in the installation folder."""
    name, example = "DATABASE_URL", "postgres://user:password@localhost:5432/atlas"
    if not reader.text(name):
        return None
    schemes = ("postgres", "postgresql", "sqlite")
    if not (value := reader.needed(name, f"It looks like {example}")):
        return None
    parts = reader.url(name, value, schemes, example)
    if parts.scheme == "sqlite" and (parts.netloc or not parts.path.startswith("//")):
        reader.fault(name, "names no absolute path: sqlite:////srv/atlas/db.sqlite3")
    elif parts.scheme.startswith("postgres") and not parts.path.strip("/"):
        reader.fault(name, f"names no database. It looks like {example}")
    return value


def redis_urls(reader: Reader) -> tuple[str, str]:
    """Where Redis is, for what must be kept, and for the cache, which may be emptied.

    Emptying Django's cache empties the whole numbered database of Redis that it lies in, so it has
    the next one to itself unless a variable says otherwise.
    """
    name, example = "REDIS_URL", "redis://localhost:6379/0"
    what_to_do = f"All workers share costs, limits, cache and jobs there. It looks like {example}"
    value = reader.needed(name, what_to_do)
    schemes = ("redis", "rediss")
    if not value:
        return "", ""
    parts = reader.url(name, value, schemes, example)
    number = parts.path.strip("/") or "0"
    if not re.fullmatch(r"[0-9]{1,4}", number):
        reader.fault(name, f"ends with what is no number of a database. It looks like {example}")
        return value, value
    cache = reader.text("OBC_SITE_CACHE_URL")
    if cache:
        reader.url("OBC_SITE_CACHE_URL", cache, schemes, "redis://localhost:6379/1")
        return value, cache
    return value, parts._replace(path=f"/{int(number) + 1}").geturl()


def api_key(reader: Reader) -> str | None:
    """The key of Gemini; None: the offline provider answers."""
    name = "GOOGLE_API_KEY"
    if not reader.text(name):
        return None
    value = reader.needed(name, "Copy your key, or leave it out: the offline provider answers.")
    if re.search(r"[\s'\"]", value):
        reader.fault(name, "holds white space or a quotation mark. Copy the key alone.")
    return value


def emails(reader: Reader) -> list[str]:
    """Who is written to when a budget comes to its end."""
    name = "OBC_SITE_ALERT_EMAILS"
    found = [part.strip() for part in reader.text(name).split(",") if part.strip()]
    if not all(re.fullmatch(r"[^@\s]+@[^@\s]+", each) for each in found):
        reader.fault(name, "holds what is no address. Write it@example.org,head@example.org")
    return found


def metrics_token(reader: Reader) -> str | None:
    """What Prometheus sends; None: it is not let in."""
    name = "OBC_SITE_METRICS_TOKEN"
    if not reader.text(name):
        return None
    value = reader.needed(name, f"Make one: {MAKE_KEY}")
    if value and (len(value) < 16 or not value.isascii() or re.search(r"\s", value)):
        reader.fault(name, f"has fewer than 16 characters, or other than a header holds: {MAKE_KEY}")
    return value
