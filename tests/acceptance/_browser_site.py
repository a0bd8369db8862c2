"""The site that the browser looks at: the test project behind a strict content security policy."""

from __future__ import annotations

import datetime
import hashlib
import io
import random
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from typing import Any

from tests.servers.new_database import use_database

#: Nothing inline, nothing from elsewhere; the admin's own style sheets hold small data: images.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
LONG = "integrated_municipal_development_and_coordination_office_of_the_province_of_maguindanao"


class Site:
    """A server of this process, on a database of its own."""

    def __init__(self, url: str, session: str) -> None:
        self.url = url
        self.session = session

    @staticmethod
    def apart(work: Callable[[], Any]) -> Any:
        """Do something with the database while Playwright's loop runs in this thread."""
        found: list[Any] = []

        def run() -> None:
            from django.db import connections

            try:
                found.append(work())
            finally:
                connections.close_all()

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if not found:
            raise SystemExit("The site could not be prepared; see above.")
        return found[0]


@contextmanager
def serve(folder: str) -> Iterator[Site]:
    """Run the site on a free port of the loopback interface, with a superuser logged in."""
    with ExitStack() as stack:
        use_database("sqlite", folder, stack)
        import django

        django.setup()
        from django.contrib.staticfiles.handlers import StaticFilesHandler
        from django.core.management import call_command
        from django.core.servers.basehttp import ThreadedWSGIServer
        from django.core.wsgi import get_wsgi_application
        from django.db import connections

        stack.callback(connections.close_all)
        call_command("migrate", "--run-syncdb", verbosity=0)
        session = _logged_in()
        server = ThreadedWSGIServer(("127.0.0.1", 0), _handler())
        server.set_app(_strict(StaticFilesHandler(get_wsgi_application())))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        yield Site(f"http://127.0.0.1:{server.server_port}", session)


def _logged_in() -> str:
    from django.contrib.auth import get_user_model
    from django.test import Client

    client = Client()
    client.force_login(get_user_model().objects.create_superuser("root"))
    return client.cookies["sessionid"].value


def _handler() -> Any:
    from django.core.servers.basehttp import WSGIRequestHandler

    class Quiet(WSGIRequestHandler):
        def log_message(self, *args: Any) -> None:
            """Nothing: the browser tells what failed."""

    return Quiet


def _strict(app: Any) -> Any:
    def wrapped(environ: Any, start_response: Any) -> Any:
        def start(status: str, headers: Any, *more: Any) -> Any:
            return start_response(status, [*headers, ("Content-Security-Policy", POLICY)], *more)

        if environ["PATH_INFO"] == "/favicon.ico":  # Chromium asks every site for one
            start("204 No Content", [])
            return []
        return app(environ, start)

    return wrapped


def fill(count: int) -> str:
    """Crowd the ledger; return the key of a call whose price is explained in full."""
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.utils import timezone

    from django_obc_ai.models import AIOperation, RollupMark

    chance, now = random.Random(20261128), timezone.now()
    users = get_user_model().objects.bulk_create(
        [
            get_user_model()(username=f"staff{n}{'.of_the_' + LONG[:60] if n % 5 == 0 else ''}")
            for n in range(40)
        ]
    )
    keys = [user.pk for user in get_user_model().objects.all()]
    modules = ["general", "mana", LONG, *(f"module_{n:02}" for n in range(30))]
    errors = ("timeout", "rate_limited", "authentication", "content_blocked", "transient")
    rows = []
    for number in range(count):
        began = now - datetime.timedelta(days=60) * (1 - number / count)
        success, cached = chance.random() < 0.9, chance.random() < 0.5
        cached = cached and success
        coalesced = not cached and chance.random() < 0.1
        is_free = cached or coalesced
        rows.append(
            AIOperation(
                created_at=began,
                recorded_at=began,
                module=chance.choice(modules),
                operation_type=chance.choice(["chat", "analysis", "search"]),
                model_used=chance.choice(["gemini-2.5-flash", "gemini-3.5-flash-lite"]),
                scope=chance.choice(["", "north", "south"]),
                user_id=chance.choice([*keys, None]),
                provider="default",
                success=success,
                error_category="" if success else chance.choice(errors),
                cached=cached,
                coalesced=coalesced,
                waited_ms=chance.choice([0, 0, chance.randrange(9_000)]) if not cached else 0,
                fallback_from="dear" if not is_free and chance.random() < 0.01 else "",
                cost_usd=0 if is_free else Decimal(chance.randrange(3 * 10**10)).scaleb(-9),
                cost_known=chance.random() < 0.99,
                saved_usd=Decimal(chance.randrange(10**9)).scaleb(-9) if is_free and success else 0,
                input_tokens=9_000 + chance.randrange(300_000),
                output_tokens=chance.randrange(9_000),
                thinking_tokens=chance.randrange(9_000),
                cached_tokens=chance.randrange(9_000),
                response_time_ms=int(chance.lognormvariate(7, 0.7)),
                first_chunk_ms=chance.choice([None, 300 + chance.randrange(900)]),
                prompt_hash=hashlib.sha256(b"%d" % chance.randrange(count // 3)).hexdigest(),
            )
        )
    AIOperation.objects.bulk_create(rows, batch_size=1_000)
    RollupMark.objects.all().delete()  # rows of the past are new to the dashboard
    call_command("ai_rollup", stdout=io.StringIO())
    users[7].delete()  # the rollup still names this one
    _set_budgets()
    # Purged since, while the figures of its day stand.
    lately = AIOperation.objects.filter(created_at__gte=now - datetime.timedelta(days=20))
    dearest = lately.order_by("-cost_usd").first()
    assert dearest is not None
    AIOperation.objects.filter(pk=dearest.pk).delete()
    shown = AIOperation.objects.filter(cost_usd__gt=0, success=True).order_by("-created_at").first()
    assert shown is not None
    return str(shown.pk)


def _set_budgets() -> None:
    from django_obc_ai.models import Budget

    wanted = [
        ("global", "", "day", 100, 112, 0),
        ("global", "", "month", 3_000, 2_350, 120),
        ("module", "mana", "day", 20, 4, 1),
        ("module", LONG, "week", 50, 38, 2),
        ("user", "1", "total", 10, 1, 0),
    ]
    for scope, key, period, limit, *_ in wanted:
        Budget.objects.create(scope=scope, key=key, period=period, limit_usd=limit)
    Budget.objects.create(
        scope="tenant", key="north", period="day", limit_requests=500, enforce=False
    )
    spend({each[:3]: each[3:] for each in wanted})


def spend(wanted: dict[tuple[str, str, str], tuple[float, float, float]]) -> None:
    """Let budgets, by scope, key and period, have spent and hold so many dollars.

    Args:
        wanted: (limit, spent, held) of each.
    """
    from django.utils import timezone

    from django_obc_ai.backends.cost_stores import cost_stores
    from django_obc_ai.gateway import policy
    from django_obc_ai.models import BudgetAlert
    from django_obc_ai.types import Amount, BudgetHold

    store, now = cost_stores["default"], timezone.now()
    for budget in policy.in_force():
        if (facts := (budget.scope, budget.key, budget.period)) not in wanted:
            continue
        limit, spent, held = (round(each * 10**9) for each in wanted[facts])
        total = policy.key_of(budget, budget.key, policy.period(budget, now)[0])
        for amount in (spent, held):
            number = uuid.uuid4()
            store.reserve(number, [BudgetHold(key=total)], Amount(nano=amount))
            if amount == spent:
                store.settle(number, Amount(nano=amount))
        if spent >= limit * 0.75:
            BudgetAlert.objects.create(
                key=total, percent=75, level="warning", unit="usd", spent=spent, limit=limit
            )


def fill_background() -> None:
    """Let jobs wait, run and have ended, while nobody works and the schedule stands still."""
    from django.conf import settings
    from django.contrib.auth import get_user_model
    from django.test import override_settings
    from django.utils import timezone

    from django_obc_ai.models import Job, TaskState, Worker

    runner = {"default": {"BACKEND": "tests.background.ScriptedRunner"}}
    override_settings(OBC_AI={**settings.OBC_AI, "TASK_RUNNERS": runner}).enable()  # from now on
    now, user = timezone.now(), get_user_model().objects.first()
    ago = [now - datetime.timedelta(minutes=3 * n) for n in range(60)]
    statuses = ["queued", "succeeded", "failed", "succeeded", "cancelled", "running"]
    for number, at in enumerate(ago):
        status = statuses[number % len(statuses)]
        ended = at if status in ("succeeded", "failed", "cancelled") else None
        Job.objects.create(
            status=status, created_at=at, due_at=at, started_at=at, finished_at=ended, user=user,
            module=LONG if number % 7 == 0 else "mana", provider=("default", LONG[:50])[number % 2],
            error_category="timeout" if status == "failed" else "", attempts=1, scope="north",
            error_message="The provider did not answer in time. " * 3 if status == "failed" else "",
            request={"prompt": f"Whose land is it? {LONG} " * 9, "options": {"top_k": 4}},
            result={"text": "Nobody's.\n\nIt is leased."} if status == "succeeded" else None,
        )  # fmt: skip
    for name, is_ok in (("recover_jobs", True), ("check_budgets", False)):
        TaskState.objects.create(
            name=name, started_at=ago[9], finished_at=ago[8], is_ok=is_ok, runs=12,
            error_category="" if is_ok else "configuration", worker=f"worker@{LONG}"[:150],
        )  # fmt: skip
    Worker.objects.create(name="celery@host:4711", seen_at=ago[3])
