"""What has to be so: criteria of success and checklists, and the checks that show each item.

docs/reference/success-criteria.md holds the same as tables; a test compares them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

AI, SECURITY = "ai", "security"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that has to be so.

    Attributes:
        what: It, in a few words.
        ai: Checks of verify_ai.sh that show it.
        security: Checks of verify_security.sh that show it.
        confirm: What of it no machine can see, for a person to confirm; "" for nothing.
    """

    what: str
    ai: tuple[str, ...] = ()
    security: tuple[str, ...] = ()
    confirm: str = ""

    def checks(self) -> Iterator[tuple[str, str]]:
        """Yield suite and id of each check."""
        yield from ((AI, each) for each in self.ai)
        yield from ((SECURITY, each) for each in self.security)

    @property
    def command(self) -> str:
        """What shows it alone, from the folder of the scripts."""
        parts = ((AI, self.ai), (SECURITY, self.security))
        return "; ".join(
            f"./verify_{suite}.sh --only {' '.join(ids)}" for suite, ids in parts if ids
        )


@dataclass(frozen=True, slots=True)
class Group:
    """Items that belong together.

    Attributes:
        name: Begins the id of each: ``before-1``.
        title: Its heading.
        items: In their order.
    """

    name: str
    title: str
    items: tuple[Item, ...]

    def numbered(self) -> Iterator[tuple[str, Item]]:
        """Yield id and item."""
        yield from ((f"{self.name}-{n}", item) for n, item in enumerate(self.items, start=1))


_HEADERS = (
    "header-hsts", "header-csp", "header-sniffing", "header-frames", "header-referrer",
    "header-opener", "header-server",
)  # fmt: skip
_KEYS = ("secrets-release", "secrets-pages", "secrets-logs")
_LIMITS = ("throttle-strangers", "throttle-users", "throttle-forwarded")

SUCCESS = Group("success", "Criteria of success", (
    Item("The health check passes: all parts work", ("health",)),
    Item("The chat answers test questions correctly", ("chat-answer", "chat-stream"),
         confirm="answers to questions of your own are right: the acceptance test of the users"),
    Item("Operations and their costs are in the admin", ("admin", "chat-operation", "chat-cost")),
    Item("All headers of security are there", (), _HEADERS),
    Item("Rate limits are active", ("throttle",), _LIMITS),
    Item("Scheduled tasks run", ("beat-alive", "beat")),
    Item("HTTPS works, with a certificate that all browsers accept", ("https", "certificate"),
         ("certificate", "certificate-public")),
    Item("All migrations are applied", ("migrations",)),
    Item("Static files load", ("static",)),
    Item("No error is logged", ("logs",), ("secrets-logs", "private-logs")),
))  # fmt: skip

BEFORE = Group("before", "Before the deployment", (
    Item("A `SECRET_KEY` of its own is generated", ("configuration",), ("settings", *_KEYS)),
    Item("The provider's key is there, and accepted", ("provider",),
         confirm="billing and quota of the key's project are those that you want"),
    Item("`ALLOWED_HOSTS` names the site and nothing else", ("configuration",),
         ("unknown-hosts",)),
    Item("`CSRF_TRUSTED_ORIGINS` has its address with https://", ("configuration",),
         ("csrf-form", "csrf-api")),
    Item("PostgreSQL is set up", ("database", "connections"), ("stores",)),
    Item("Redis is installed, and forgets nothing", ("redis", "redis-memory", "cache")),
    Item("Certificates are configured", ("https",),
         ("certificate", "certificate-public", "tls-versions", "tls-ciphers"),
         confirm="the certificate is renewed by itself: certbot's timer, and the hook"),
    Item("nginx or Apache is set up", ("nginx",), ("https-redirect", "paths")),
))  # fmt: skip

DURING = Group("during", "The deployment", (
    Item("The code is there, as a release", ("release",), ("secrets-release",)),
    Item("It has a virtual environment of its own", ("release",)),
    Item("Packages are installed as locked, none with a known fault", (),
         ("packages", "audit", "versions")),
    Item("`.env` is configured, and closed to others", ("configuration", "deployment"),
         ("file-modes",)),
    Item("Migrations are applied", ("migrations",)),
    Item("There is a superuser", ("superuser",),
         confirm="each superuser is a person who still needs it"),
    Item("Static files are collected", ("static",)),
    Item("The first data are indexed", ("index", "index-files", "search")),
))  # fmt: skip

AFTER = Group("after", "After the deployment", (
    Item("`ai_health_check` was run", ("health",)),
    Item("All services run",
         ("programs", "web", "streams", "worker", "beat-alive", "connections")),
    Item("AI operations work", ("chat-answer", "chat-stream", "job")),
    Item("Costs are tracked, within a budget", ("chat-cost", "budgets"),
         confirm="the budgets are sums that somebody answers for"),
    Item("Headers of security are verified", (), (*_HEADERS, "cookies")),
    Item("Rate limits are tested", ("throttle",), (*_LIMITS, "lockout-login", "lockout-tokens")),
    Item("Smoke tests pass", ("admin", "chat-answer", "chat-operation", "chat-cost")),
    Item("Backups are made", ("backup",),
         confirm="copies of the backups are on another machine, and one was restored"),
    Item("Alerts are set up", ("alerts",), ("access-metrics",),
         confirm="an alert reaches a person, who has the runbook"),
))  # fmt: skip

SERVICES = Group("services", "Services", (
    Item("Redis", ("redis", "redis-memory", "cache")),
    Item("Celery worker", ("worker", "job")),
    Item("Celery beat", ("beat-alive", "beat")),
    Item("gunicorn and uvicorn", ("web", "streams", "programs")),
    Item("nginx or Apache", ("nginx", "https")),
    Item("PostgreSQL", ("database", "migrations", "connections")),
))  # fmt: skip

CHECKLIST = Group("security", "The security checklist", (
    Item("DEBUG=0 in production", (), ("debug-refused", "debug-settings", "debug-pages")),
    Item("SECRET_KEY management", (),
         ("settings", "file-modes", "secrets-release", "secrets-history", "secrets-logs",
          "secrets-pages")),
    Item("GOOGLE_API_KEY security", (),
         ("secrets-release", "secrets-history", "secrets-logs", "secrets-pages")),
    Item("HTTPS configuration", (),
         ("certificate", "https-redirect", "tls-versions", "tls-ciphers", "header-hsts")),
    Item("ALLOWED_HOSTS setup", (), ("unknown-hosts", "settings")),
    Item("Rate limiting", (), ("throttle-strangers", "throttle-forwarded", "throttle-users")),
    Item("CSRF protection", (), ("csrf-form", "csrf-api", "cookies")),
    Item("SQL injection protection", (), ("queries-plans", "queries-asked")),
    Item("XSS protection", (), ("xss-pages", "xss-search", "xss-answers", "header-csp")),
    Item("Dangerous query blocking", (), ("queries-asked", "queries-plans", "queries-answers")),
))  # fmt: skip

OWASP = Group("owasp", "The OWASP Top 10 of 2021", (
    Item("A01 Broken access control", (),
         ("access-strangers", "access-others", "access-admin", "access-metrics", "csrf-form",
          "csrf-api", "paths")),
    Item("A02 Cryptographic failures", (),
         ("certificate", "https-redirect", "tls-versions", "tls-ciphers", "cookies",
          "header-hsts")),
    Item("A03 Injection", (),
         ("queries-plans", "queries-asked", "xss-pages", "xss-search", "xss-answers",
          "header-csp")),
    Item("A04 Insecure design", (),
         ("bodies", "throttle-strangers", "throttle-users", "queries-answers")),
    Item("A05 Security misconfiguration", (),
         ("debug-pages", "debug-settings", "system-checks", "file-modes", "unknown-hosts",
          "header-server", "header-frames", "header-sniffing", "header-opener")),
    Item("A06 Vulnerable and outdated components", (), ("audit", "versions", "packages")),
    Item("A07 Identification and authentication failures", (),
         ("lockout-login", "lockout-tokens", "lockout-time", "session-login", "session-logout",
          "access-tokens")),
    Item("A08 Software and data integrity failures", (), ("packages", "access-tokens")),
    Item("A09 Security logging and monitoring failures", ("logs", "health"),
         ("private-logs", "secrets-logs")),
    Item("A10 Server-side request forgery", (), ("queries-answers", "queries-asked")),
))  # fmt: skip

#: In the order in which they are told.
GROUPS = (BEFORE, DURING, AFTER, SUCCESS, SERVICES, CHECKLIST, OWASP)
#: What belongs to no item, and no machine can see.
PEOPLE = (
    "Those who use the chat and the search were trained (docs/howto/train-your-staff.md).",
    "The users' acceptance test is signed (docs/howto/accept-with-users.md).",
    "Somebody is on duty who has read the runbook (docs/howto/run-in-production.md).",
    "The name in the DNS leads here, and the site opens from outside of this network.",
)
