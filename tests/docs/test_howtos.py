"""The how-to pages, followed in the quickstart's project, and the claims they make."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.execute import Page, run_script
from tests.docs.markdown import DOCS

#: Those that need a server for a provider, an optional package, a browser, others' apps, the
#: original's tables or an installed site have their own tests.
SERVED = {
    "accept-with-users",
    "add-the-chat",
    "add-to-an-existing-site",
    "approximate-search",
    "choose-a-deployment",
    "choose-an-embedder",
    "deploy-a-site",
    "deploy-by-hand",
    "deploy-for-high-traffic",
    "deploy-on-kubernetes",
    "deploy-with-docker",
    "first-four-weeks",
    "gemini",
    "leave-obcms",
    "openai-compatible",
    "operate-in-the-admin",
    "replay-real-answers",
    "run-in-production",
    "run-without-redis-and-celery",
    "search-in-postgresql",
    "stream-under-asgi",
    "trace-and-measure",
    "train-your-staff",
    "troubleshoot",
    "use-the-rest-api",
    "watch-the-dashboard",
}
HOWTOS = sorted({path.stem for path in (DOCS / "howto").glob("*.md")} - SERVED)
_PAID = """
from django.db import transaction
from django.test import override_settings
from django.conf import settings
from django_obc_ai.models import AIOperation
from django_obc_ai.services.text import TextService

scripted = {"BACKEND": "django_obc_ai.testing.ScriptedProvider",
            "OPTIONS": {"script": ["Yes."], "repeat_last": True, "model": "some-model"}}
paid = {**settings.OBC_AI, "PROVIDERS": {"default": scripted}}
"""
_ROLLBACK = """
paid.pop("BUDGETS") if without_budgets else None
before = AIOperation.objects.count()
with override_settings(OBC_AI=paid):
    with transaction.atomic():
        result = TextService().generate_text("Again?", use_cache=False)
        transaction.set_rollback(True)
print(result.error, AIOperation.objects.count() - before)
"""


@pytest.mark.parametrize("name", HOWTOS)
def test_howto_does_what_it_says(project: Path, name: str) -> None:
    assert Page(DOCS / "howto" / f"{name}.md", project, settings="mysite.settings").follow() >= 5


@pytest.fixture
def budget_project(project: Path) -> Path:
    """The quickstart's project after the page on budgets."""
    path = DOCS / "howto" / "budgets-and-prices.md"
    Page(path, project, settings="mysite.settings").follow()
    return project


def test_a_rollback_leaves_the_row_wherever_the_ledger_is(budget_project: Path) -> None:
    drained = "\nfrom django_obc_ai.services.ledger import drain_spool\nprint(drain_spool().stored)"
    script = f"{_PAID}\nwithout_budgets = True\n{_ROLLBACK}{drained}"
    assert run_script(budget_project, script) == "None 0\n1\n"  # SQLite: it waited on disk
    assert run_script(budget_project, script, settings="mysite.with_own_database") == "None 1\n0\n"


def test_a_transaction_refuses_a_reservation_in_its_own_database(budget_project: Path) -> None:
    script = f"{_PAID}\nwithout_budgets = False\n{_ROLLBACK}"
    found = run_script(budget_project, f"{script}\nassert 'transaction' in result.error_message")
    assert found.splitlines()[-1] == "transient 0"  # after the log of the failed call
    assert run_script(budget_project, script, settings="mysite.with_own_database") == "None 1\n"


def test_a_killed_process_leaves_its_hold_until_its_lease_ends(budget_project: Path) -> None:
    found = run_script(
        budget_project,
        f"""{_PAID}
import datetime, multiprocessing, os, signal
from django.utils import timezone
from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.models import AIOperation, CostReservation
from django_obc_ai.services.budgets import expire_holds

if os.fork() == 0:
    scripted["OPTIONS"]["script"] = [lambda request: os.kill(os.getpid(), signal.SIGKILL)]
    with override_settings(OBC_AI=paid):
        TextService().generate_text("Again?", use_cache=False)
os.wait()
keys = [key for row in CostReservation.objects.filter(is_open=True) for key in row.keys]
held = lambda: [each.held_nano > 0 for each in cost_stores["default"].totals(keys).values()]
print(len(keys), held())
print(expire_holds(), held())
CostReservation.objects.update(lease_until=timezone.now() - datetime.timedelta(hours=2))
print(expire_holds(), held())
print([each.spent_nano > 0 for each in cost_stores["default"].totals(keys).values()])
print(AIOperation.objects.filter(error_category="abandoned", cost_known=False).count())
""",
    )
    logged = ("A process died", "Reservation ")
    assert [line for line in found.splitlines() if not line.startswith(logged)] == [
        "2 [True, True]",
        "0 [True, True]",
        "1 [False, False]",
        "[True, True]",
        "1",
    ]


def test_what_operators_do_in_code_works(project: Path) -> None:
    page = Page(DOCS / "howto" / "operate-in-the-admin.md", project, settings="mysite.settings")
    assert page.follow() == 2
