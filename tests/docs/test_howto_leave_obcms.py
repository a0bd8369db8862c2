"""The page on leaving the original, followed in a project that has the original's tables, too."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db import connections
from pytest_django import DjangoDbBlocker

from tests import obcms
from tests.docs.execute import Page, run_script
from tests.docs.markdown import DOCS
from tests.obcms import put
from tests.servers.databases import sqlite_settings


@pytest.fixture
def old_project(
    project: Path, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[Path]:
    """The quickstart's project, in whose database the original has left its rows."""
    entries = {"default": {}, "site": sqlite_settings(project / "db.sqlite3")}
    connections.databases["site"] = connections.configure_settings(entries)["site"]
    with django_db_blocker.unblock():
        obcms.make_tables("site")
        amina = get_user_model().objects.using("site").get(username="amina").pk
        clinic = ContentType.objects.using("site").get(app_label="clinics", model="clinic").pk
        put(
            obcms.operation(user_id=amina),
            obcms.operation(user_id=99, cost=Decimal("0.5"), module="mana"),
            obcms.operation(cost=Decimal("0.25"), success=False, error_category="timeout"),
            obcms.operation(cost=Decimal("0.25"), cached=True),
            alias="site",
        )
        put(
            obcms.conversation(
                "Where is the nearest clinic?",
                "In Marawi.",
                {"role": "system", "content": "Be brief."},
                user_id=amina,
                updated_at=obcms.BEGAN,
            ),
            obcms.conversation("Hello", user_id=99),
            alias="site",
        )
        rows = (
            obcms.Embedding(
                content_type_id=clinic, object_id=n, embedding_hash="", index_name="clinics"
            )
            for n in range(6)
        )
        put(*rows, alias="site")
        connections["site"].close()
    yield project
    del connections["site"]
    del connections.databases["site"]


def test_the_page_does_what_it_says(old_project: Path) -> None:
    page = Page(DOCS / "howto" / "leave-obcms.md", old_project, settings="mysite.settings")
    own = "from django_obc_ai.models import Conversation as C; print(C.objects.count())"
    before = run_script(old_project, own).strip()
    assert page.follow() >= 9
    left = """
        from django_obc_ai.models import AIOperation, Conversation
        from django_obc_ai.services.metrics import read_total
        print(AIOperation.objects.total_cost(), Conversation.objects.count())
        print(read_total().cost_usd)
    """
    # What was imported is gone, and the project's own conversations are still there.
    assert run_script(old_project, left) == f"0E-9 {before}\n0E-9\n"
