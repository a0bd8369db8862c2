"""Every page of the package in the admin, asked for by everybody: nobody sees more than is due.

The pages are those that the admin has, so a page that nobody has decided about here fails.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import models
from django.test import Client
from django.urls import URLPattern, reverse

from django_obc_ai.models import (
    AIOperation,
    Budget,
    BudgetAlert,
    BudgetChange,
    Conversation,
    CostCorrection,
    IndexState,
    Job,
    PromptTemplate,
    ProviderPause,
    StoredContent,
    TaskState,
    Worker,
)

pytestmark = pytest.mark.django_db
APP = "django_obc_ai"
#: What can be done beside looking, by model. Whatever is not named here can only be looked at.
WRITABLE = {
    "budget": {"add", "change", "delete"},
    "conversation": {"delete"},
    "prompttemplate": {"add", "change"},
    "providerpause": {"add", "change", "delete"},
}
#: Stands for the key of the model's row.
ROW = "<row>"
#: Pages that only this package has: sets of permissions, each of which opens it, and what its
#: address takes.
OWN_PAGES: dict[str, tuple[list[set[str]], list[str]]] = {
    "dashboard": ([{"view_dashboard"}], []),
    "dashboard_repeated": ([{"view_dashboard"}], []),
    "dashboard_csv": ([{"view_dashboard"}], ["spend"]),
    "aioperation_csv": ([{"view_aioperation"}, {"change_aioperation"}], []),
    "indexstate_sweep": ([{"change_indexstate"}], ["places"]),  # who may change may look
    "indexstate_rebuild": (
        [{"rebuild_index", "view_indexstate"}, {"rebuild_index", "change_indexstate"}],
        ["places"],
    ),
    "indexstate_retry": (
        [{"rebuild_index", "view_indexstate"}, {"rebuild_index", "change_indexstate"}],
        ["places"],
    ),
    "providerpause_reopen": (
        [
            {"delete_providerpause", "view_providerpause"},
            {"delete_providerpause", "change_providerpause"},
        ],
        ["default"],
    ),
    "indexstate_withdraw": ([{"change_indexstate"}], ["places"]),
    "job_retry": ([{"manage_jobs", "view_job"}, {"manage_jobs", "change_job"}], [ROW]),
    "job_cancel": ([{"manage_jobs", "view_job"}, {"manage_jobs", "change_job"}], [ROW]),
}
#: Of these, the pages that only take what is posted.
POSTED = {"indexstate_retry"}
PAGES = ("changelist", "add", "history", "delete", "change")


def _operation() -> AIOperation:
    return AIOperation.objects.create(provider="p", success=True)


#: One row of each model, for the pages of a row.
ROWS = {
    AIOperation: _operation,
    Budget: lambda: Budget.objects.create(scope="global", period="day", limit_usd=1),
    BudgetAlert: lambda: BudgetAlert.objects.create(
        key="global:day:2027-01-01", percent=75, level="warning", unit="usd", limit=1, spent=1
    ),
    BudgetChange: lambda: BudgetChange.objects.create(budget_id=1, before={}, after={}),
    Conversation: lambda: Conversation.objects.create(title="t"),
    CostCorrection: lambda: CostCorrection.objects.create(
        operation=_operation(), kind="billed", old_cost_usd=0, new_cost_usd=0,
        was_cost_known=True, reason="r", made_by="m", run=uuid.uuid4(),
    ),
    IndexState: lambda: IndexState.objects.create(name="places"),
    Job: lambda: Job.objects.create(status="failed", request={"prompt": "p"}),
    ProviderPause: lambda: ProviderPause.objects.create(alias="default", reason="r"),
    PromptTemplate: lambda: PromptTemplate.objects.create(name="chat_plan", version=1, text="t"),
    StoredContent: lambda: StoredContent.objects.create(operation=_operation(), prompt="p"),
    TaskState: lambda: TaskState.objects.create(name="recover_jobs"),
    Worker: lambda: Worker.objects.create(name="host:1"),
}  # fmt: skip
REGISTERED = [each for each in admin.site._registry if each._meta.app_label == APP]


def _name(model: type[models.Model]) -> str:
    return model._meta.model_name or ""


def opened_by(model: type[models.Model], page: str) -> list[set[str]]:
    """Sets of permissions, each of which opens a page to staff."""
    name, can = _name(model), WRITABLE.get(_name(model), set())
    if page in ("add", "delete"):
        return [{f"{page}_{name}"}] if page in can else []
    return [{f"view_{name}"}, {f"change_{name}"}]  # Django's rule: who may change may look


def pages() -> Iterator[tuple[str, str, list[set[str]]]]:
    """Name, address and sets of permissions of every page of every model."""
    for model in REGISTERED:
        row = ROWS[model]()
        for pattern in admin.site._registry[model].get_urls():
            assert isinstance(pattern, URLPattern)
            name = (pattern.name or "").removeprefix(f"{APP}_")
            page = name.removeprefix(f"{_name(model)}_")
            if page in PAGES and page != name:
                wanted = [row.pk] if page in ("history", "delete", "change") else []
                yield name, reverse(f"admin:{APP}_{name}", args=wanted), opened_by(model, page)
            elif name in OWN_PAGES:
                sets, given = OWN_PAGES[name]
                arguments = [row.pk if each == ROW else each for each in given]
                yield name, reverse(f"admin:{APP}_{name}", args=arguments), sets
            else:
                # Django's own: an old address that leads to the page for changes.
                assert not name and "object_id" in str(pattern.pattern), f"who may see {name}?"


def holding(codenames: set[str]) -> Client:
    """Staff with these permissions of the package."""
    mine = Permission.objects.filter(content_type__app_label=APP, codename__in=codenames)
    assert {each.codename for each in mine} == codenames
    user = get_user_model().objects.create(username=str(uuid.uuid4()), is_staff=True)
    user.user_permissions.set(mine)
    return _logged_in(user)


def all_but(codenames: set[str]) -> set[str]:
    every = Permission.objects.filter(content_type__app_label=APP)
    return set(every.values_list("codename", flat=True)) - codenames


def _logged_in(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def _create(**values: Any) -> Client:
    return _logged_in(get_user_model().objects.create(username=str(values), **values))


def test_every_model_in_the_admin_is_looked_at() -> None:
    assert set(REGISTERED) == set(ROWS)
    assert set(WRITABLE) <= {_name(model) for model in REGISTERED}


def test_pages_open_to_their_permission_and_to_nobody_else() -> None:
    count = 0
    for name, address, sets in pages():
        count += 1
        for codenames in sets:
            status = holding(codenames).get(address).status_code
            assert status == (405 if name in POSTED else 200), (name, codenames)
            for codename in codenames if len(codenames) > 1 else ():
                # One of those that only open it together opens nothing.
                alone = holding({codename}).get(address)
                assert alone.status_code == 403, (name, codename)
        everything_else = holding(all_but(set().union(*sets)))
        assert everything_else.get(address).status_code == 403, name
    assert count > 5 * len(REGISTERED)


def test_pages_open_to_a_superuser_unless_nobody_may() -> None:
    superuser = _create(is_staff=True, is_superuser=True)
    for name, address, sets in pages():
        opened = 405 if name in POSTED else 200
        assert superuser.get(address).status_code == (opened if sets else 403), name


def test_pages_are_shut_to_all_who_have_no_permission() -> None:
    login = reverse("admin:login")
    plain, staff = _create(), _create(is_staff=True)
    for name, address, _ in pages():
        for stranger in (Client(), plain):
            answer = stranger.get(address)
            assert answer.status_code == 302 and answer["Location"].startswith(login), name
            assert stranger.post(address).status_code == 302
        assert staff.get(address).status_code == 403, name
        assert staff.post(address).status_code == 403, name


def test_nothing_is_written_without_the_permission_for_it() -> None:
    addresses = list(pages())
    before = {model: _dump(model) for model in REGISTERED}
    for name, address, _ in addresses:
        model, _, page = name.rpartition("_")
        if page in ("add", "change", "delete"):
            is_possible = page in WRITABLE.get(model, set())
            permission = {f"{page}_{model}"} if is_possible else set()
            answer = holding(all_but(permission)).post(address, {"post": "yes"})
            assert answer.status_code == 403, name
            if is_possible:  # an empty form is shown again, and deleting asks first
                assert holding(permission).post(address, {}).status_code == 200, name
    assert {model: _dump(model) for model in REGISTERED} == before


def _dump(model: type[models.Model]) -> list[Any]:
    return list(model._default_manager.order_by("pk").values())
