"""Each fault: which script finds it, by which check, in which words. Part of deploy_kit.py."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import _kit_planting as planting
from _api_report import Report
from _kit_planting import Planting
from _kit_site import AI, SECURITY, Installation, Verdict

_NO_POLICY = (
    'MIDDLEWARE = [each for each in MIDDLEWARE if "csp" not in each.lower()'
    ' and "content_security_policy" not in each]'
)
_NO_THROTTLE = 'OBC_AI["WEB"]["throttles"] = dict.fromkeys(OBC_AI["WEB"]["throttles"])'
_NO_LIMIT = 'for each in OBC_AI["BUDGETS"]: each["enforce"] = False'


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong with a site.

    Attributes:
        what: Its name, for the page.
        script: The verification that has to find it.
        check: The check that has to fail.
        words: What its message has to hold, in upper or lower case.
        plant: Brings it, and takes it away.
        follows: Other checks that may fail because of it.
        is_small: Tried at reduced size, too.
        group: Those of one group are planted together; "" for one that is alone. All checks of
            verify_security.sh take a minute.
    """

    what: str
    script: str
    check: str
    words: tuple[str, ...]
    plant: Planting
    follows: tuple[str, ...] = ()
    is_small: bool = False
    group: str = ""


def faults(gemini_url: str) -> list[Fault]:
    """Return all, those for the first script first."""
    down = ("programs", "logs", "health")
    return [
        Fault(
            what="provider unreachable", script=AI, check="provider",
            words=("connection to the provider failed", "was not reached"),
            plant=planting.unreachable(gemini_url),
            follows=("chat-answer", "chat-stream", "chat-operation", "job", "logs"),
        ),
        Fault(
            # Words that the provider's answer to a bad key alone has.
            what="wrong key", script=AI, check="provider", words=("refused the API key",),
            plant=planting.wrong_key(gemini_url), is_small=True,
            follows=("chat-answer", "chat-stream", "chat-operation", "job", "logs"),
        ),
        Fault(
            what="guard off", script=AI, check="dangerous-messages",
            words=("dangerous message", "is not refused"), plant=planting.guard_off,
        ),
        Fault(
            what="Redis down", script=AI, check="redis", words=("REDIS_URL", "does not answer"),
            plant=planting.without("redis"), follows=down,
        ),
        Fault(
            what="worker dead", script=AI, check="worker", words=("no worker answers",),
            plant=planting.without("worker"), follows=down, is_small=True,
        ),
        Fault(
            what="beat dead", script=AI, check="beat-alive", words=("beat does not run",),
            plant=planting.without("beat"), follows=down,
        ),
        Fault(
            what="nginx down", script=AI, check="https", words=("nginx", "start it"),
            plant=planting.without("nginx"), follows=("nginx", *down),
        ),
        Fault(
            what="PostgreSQL down", script=AI, check="database",
            words=("DATABASE_URL", "does not answer"), plant=planting.without("postgres"),
            follows=("deployment", *down),
        ),
        Fault(
            what="migration missing", script=AI, check="migrations",
            words=("not applied", "communities.0099_by_hand"), plant=planting.missing_migration,
        ),
        Fault(
            what="stale index", script=AI, check="index", words=("index communities", "stale"),
            plant=planting.stale_index, is_small=True,
        ),
        Fault(
            what="unwritable vector path", script=AI, check="vectors",
            words=("VECTOR_STORES", "cannot be written", "/vectors"),
            plant=planting.closed_vectors, follows=("deployment", "health", "logs"), is_small=True,
        ),
        Fault(
            what="budget not enforced", script=AI, check="budgets",
            words=("BUDGETS", "enforces none"), plant=planting.settings(_NO_LIMIT),
        ),
        Fault(
            what="throttle off", script=AI, check="throttle", words=("throttles", "off"),
            plant=planting.settings(_NO_THROTTLE), follows=("deployment",),
        ),
        Fault(
            what="expired certificate", script=AI, check="https", words=("certificate", "expired"),
            plant=planting.expired_certificate,
        ),
        Fault(
            what="expired certificate", script=SECURITY, check="certificate",
            words=("certificate", "expired"), plant=planting.expired_certificate, is_small=True,
        ),
        Fault(
            what="DEBUG on, in .env", script=SECURITY, check="settings",
            words=("DEBUG", "asks for debugging"), plant=planting.variables(DEBUG="1"),
            follows=("site",),
        ),
        Fault(
            what="DEBUG on, in the release's settings", script=SECURITY, check="debug-pages",
            words=("DEBUG is on",), plant=planting.settings("DEBUG = True"),
            follows=("debug-settings", "system-checks", "secrets-pages", "header-csp"),
        ),
        Fault(
            what="CSP missing", script=SECURITY, group="pages", check="header-csp",
            words=("Content-Security-Policy is missing",), plant=planting.settings(_NO_POLICY),
            follows=("system-checks",), is_small=True,
        ),
        Fault(
            what="throttle off", script=SECURITY, group="pages", check="throttle-users",
            words=("throttle is off",), plant=planting.settings(_NO_THROTTLE),
            follows=("throttle-strangers", "system-checks"),
        ),
        Fault(
            what="lockout off", script=SECURITY, group="accounts", check="lockout-login",
            words=("guessing is not locked", "django-axes"),
            plant=planting.settings("AXES_ENABLED = False"),
            follows=("lockout-tokens", "lockout-time"),
        ),
        Fault(
            what="cookie not secure", script=SECURITY, group="accounts", check="cookies",
            words=("sessionid", "Secure", "SESSION_COOKIE_SECURE"),
            plant=planting.settings("SESSION_COOKIE_SECURE = False"), follows=("system-checks",),
        ),
        Fault(
            what="guard off", script=SECURITY, group="texts", check="queries-asked",
            words=("was not refused",), plant=planting.guard_off,
        ),
        Fault(
            what="secret in a log", script=SECURITY, group="texts", check="secrets-logs",
            words=("SECRET_KEY", "web.log"), plant=planting.secret_in_log,
        ),
    ]  # fmt: skip


#: Checks that wait for something, and are left out where another fault is looked for.
SLOW = ("beat", "audit", "queries-asked")


class Trial:
    """Plants faults, and says what came of each.

    Attributes:
        rows: Lines of the page's table.
    """

    def __init__(self, site: Installation, report: Report, *, is_small: bool) -> None:
        self.site, self.report, self.is_small = site, report, is_small
        self.rows: list[str] = []

    def run(self, *planted: Fault) -> None:
        """Plant faults of one script, verify, take them away, verify again."""
        script, checks = planted[0].script, [fault.check for fault in planted]
        # At reduced size: what has to fail, what it needs, and something that has to pass.
        only = [*checks, "disk" if script == AI else "debug-refused"]
        if not self.is_small:
            only = [each for each in self.site.ids(script) if each in checks or each not in SLOW]
        with ExitStack() as stack:
            for fault in planted:
                stack.enter_context(fault.plant(self.site))
            found = self.site.verify(script, *only)
        for fault in planted:
            self.judge(fault, found)
        name = ", ".join(fault.what for fault in planted)
        expect = self.report.expect
        expect(found.is_consistent, f"{name}: code {found.code}, {found.counts}, results differ")
        expect(found.code == 1, f"{name}: ends with {found.code}: {found.output[-500:]}")
        known = [*checks, *(each for fault in planted for each in fault.follows)]
        others = {each: found.text(each) for each in found.having("failed") if each not in known}
        expect(not others, f"{name}: others fail, too: {others}")
        expect(bool(found.having("passed")), f"{name}: nothing passes: {found.output[-500:]}")
        silent = [each for each in found.having("skipped") if not found.text(each)]
        expect(not silent, f"{name}: skipped without a reason: {silent}")
        # What had failed or was not tried must not fail now.
        again = [each for each, (status, _) in found.checks.items() if status != "passed"]
        after = self.site.verify(script, *(only if self.is_small else again))
        expect(
            after.code == 0 and not after.having("failed"),
            f"{name} ({script}), taken away: {after.failures()}",
        )
        left = {each: after.checks.get(each) for each in checks if not after.has_passed(each)}
        expect(not left, f"{name} ({script}), taken away, and not passed: {left}")
        expect(
            not after.unexpected_skips(),
            f"{name} ({script}), taken away, and not tried: {after.unexpected_skips()}",
        )
        print(f"{name}: {found.seconds:.0f} s, and {after.seconds:.0f} s after it", flush=True)

    def judge(self, fault: Fault, found: Verdict) -> None:
        """Expect the check of a fault to have failed, with the words that name it."""
        message, expect = found.text(fault.check), self.report.expect
        status = found.checks.get(fault.check, ("not made", ""))[0]
        self.rows.append(
            f"| {fault.what} | `{fault.script}` | `{fault.check}` | {self._short(message)} |"
            f" {found.counts} |"
        )
        print(self.rows[-1], flush=True)
        name = f"{fault.what} ({fault.script})"
        expect(status == "failed", f"{name}: {fault.check} is {status}: {found.failures()}")
        lacking = [word for word in fault.words if word.lower() not in message.lower()]
        expect(not lacking, f"{name}: {lacking} is not in the message: {message}")

    def _short(self, text: str) -> str:
        """Return a message as the page shows it, without this machine's folders."""
        text = text.replace(str(self.site.home), "~/atlas").replace("|", "\\|")
        text = text.replace("<", "&lt;")
        return text if len(text) < 240 else f"{text[:237]}..."
