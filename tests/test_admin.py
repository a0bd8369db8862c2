"""The admin of the ledger: to look at, for those who may, and without prompts."""

from __future__ import annotations

import re
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client, override_settings
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from django_obc_ai.models import AIOperation, CostCorrection
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import override_ai

pytestmark = pytest.mark.django_db
LIST = "admin:django_obc_ai_aioperation_changelist"
DETAIL = "admin:django_obc_ai_aioperation_change"
DELETE = "admin:django_obc_ai_aioperation_delete"
ADD = "admin:django_obc_ai_aioperation_add"


def make(**values: Any) -> AIOperation:
    return AIOperation.objects.create(
        **{"provider": "default", "success": True, "prompt_hash": "f" * 64, **values}
    )


def _client(*permissions: str, **user: Any) -> Client:
    users = get_user_model().objects
    name = f"staff{users.count()}"
    made = users.create_user(name, is_staff=True, **user)
    made.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(made)
    return client


@pytest.fixture
def viewer() -> Client:
    return _client("view_aioperation")


@pytest.fixture
def superuser() -> Client:
    return _client(is_superuser=True)


def text_of(response: Any) -> str:
    assert response.status_code == 200
    return str(response.content.decode())


def listed(response: Any) -> list[str]:
    return re.findall(r'class="field-operation_type[^>]*>(\w*)<', text_of(response))


def test_the_list_shows_what_was_done_and_what_it_cost(viewer: Client) -> None:
    user = get_user_model().objects.create(username="amina")
    make(user=user, operation_type="chat", module="mana", model_used="fake-1", input_tokens=1_200,
         output_tokens=34, cost_usd=Decimal("0.001234567"))  # fmt: skip
    page = text_of(viewer.get(reverse(LIST)))
    for shown in ("chat", "mana", "amina", "fake-1", "1,234", "$0.001235"):
        assert shown in page


def test_estimates_are_marked(viewer: Client) -> None:
    make(tokens_exact=False, cost_known=False, output_tokens=7, cost_usd=1)
    page = text_of(viewer.get(reverse(LIST)))
    assert "7 ≈" in page
    assert "$1.000000 ?" in page


def test_the_latest_call_stands_first(viewer: Client) -> None:
    for name in ("first", "second", "third"):
        make(operation_type=name)
    assert listed(viewer.get(reverse(LIST))) == ["third", "second", "first"]


def test_the_detail_shows_every_field_and_no_input(viewer: Client) -> None:
    operation = make(
        error_message="The provider was busy.", success=False, error_category="timeout"
    )
    page = text_of(viewer.get(reverse(DETAIL, args=[operation.pk])))
    for shown in (str(operation.pk), "The provider was busy.", "timeout", "f" * 64):
        assert shown in page
    form = page[
        page.index('id="aioperation_form"') : page.index("</form>", page.index("aioperation_form"))
    ]
    assert set(re.findall(r'<input type="(\w+)"', form)) <= {"hidden"}
    assert "<textarea" not in form
    assert "_save" not in page


def test_no_prompt_and_no_answer_is_shown_anywhere(viewer: Client) -> None:
    with override_ai():
        result = TextService().generate_text("xylophone for Fatima", system_context="quokka")
    operation = AIOperation.objects.get(pk=result["operation_id"])
    for url in (reverse(LIST), reverse(DETAIL, args=[operation.pk])):
        page = text_of(viewer.get(url))
        for private in ("xylophone", "Fatima", "quokka", result["text"]):
            assert private not in page


@pytest.mark.parametrize("who", ["viewer", "superuser"])
def test_nobody_adds_changes_or_deletes(who: str, request: pytest.FixtureRequest) -> None:
    client: Client = request.getfixturevalue(who)
    operation = make()
    assert client.get(reverse(ADD)).status_code == 403
    assert client.post(reverse(ADD), {"provider": "x"}).status_code == 403
    detail = reverse(DETAIL, args=[operation.pk])
    assert client.post(detail, {"cost_usd": "0"}).status_code == 403
    delete = reverse(DELETE, args=[operation.pk])
    assert client.get(delete).status_code == 403
    assert client.post(delete, {"post": "yes"}).status_code == 403
    action = {"action": "delete_selected", "_selected_action": [str(operation.pk)], "post": "yes"}
    client.post(reverse(LIST), action)
    page = text_of(client.get(reverse(LIST)))
    assert "delete_selected" not in page
    assert reverse(ADD) not in page
    assert AIOperation.objects.get() == operation


@pytest.mark.parametrize("permission", ["add_aioperation", "delete_aioperation", "view_chunk"])
def test_other_permissions_show_nothing(permission: str) -> None:
    client, operation = _client(permission), make()
    for url in (reverse(LIST), reverse(DETAIL, args=[operation.pk])):
        assert client.get(url).status_code == 403


def test_visitors_are_sent_to_the_login() -> None:
    operation = make()
    for url in (reverse(LIST), reverse(DETAIL, args=[operation.pk])):
        response = Client().get(url)
        assert response.status_code == 302
        assert response["Location"].startswith(reverse("admin:login"))


def test_a_missing_operation_is_reported_not_raised(viewer: Client) -> None:
    for key in ("00000000-0000-0000-0000-000000000000", "no-uuid"):
        response = viewer.get(reverse(DETAIL, args=[key]))
        assert response.status_code == 302


def test_the_number_of_queries_does_not_grow_with_the_rows(
    viewer: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    def add(count: int) -> None:
        for _ in range(count):
            users = get_user_model().objects
            make(user=users.create(username=f"caller{users.count()}"))

    add(2)
    viewer.get(reverse(LIST))  # what is cached once
    with django_assert_num_queries(20, exact=False) as few:
        viewer.get(reverse(LIST))
    add(40)
    with django_assert_num_queries(len(few)):
        viewer.get(reverse(LIST))


@pytest.mark.parametrize("form", ["str", "hex"])
def test_an_operation_is_found_by_its_id(viewer: Client, form: str) -> None:
    operation = make(operation_type="sought")
    make(operation_type="other")
    term = str(operation.pk) if form == "str" else operation.pk.hex
    assert listed(viewer.get(reverse(LIST), {"q": term})) == ["sought"]


@pytest.mark.parametrize(
    "values",
    [
        {"scope": "tenant-1"},
        {"prompt_hash": "a" * 64},
        {"scope": "6a1fbd1c-0c6d-4b7e-9d1c-2f6d0f1f9b11"},  # a tenant's key may be a UUID, too
    ],
)
def test_operations_are_found_by_scope_and_hash(viewer: Client, values: dict[str, str]) -> None:
    make(operation_type="sought", **values)
    make(operation_type="other")
    (term,) = values.values()
    assert listed(viewer.get(reverse(LIST), {"q": term})) == ["sought"]


def test_operations_are_found_by_the_name_of_their_user(viewer: Client) -> None:
    user = get_user_model().objects.create(username="fatima")
    make(operation_type="sought", user=user)
    make(operation_type="other", user=get_user_model().objects.create(username="fatimah"))
    make(operation_type="scoped", scope="fatima")  # a tenant may be named like that, too
    assert set(listed(viewer.get(reverse(LIST), {"q": "fatima"}))) == {"sought", "scoped"}


def test_a_search_for_anything_else_finds_nothing(viewer: Client) -> None:
    make()
    for term in ("hello world", "' OR 1=1 --", "00000000-0000-0000-0000-000000000000", "ff"):
        assert listed(viewer.get(reverse(LIST), {"q": term})) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("success__exact", "0"),
        ("cached__exact", "1"),
        ("operation_type", "sought"),
        ("module", "mana"),
        ("model_used", "fake-1"),
        ("error_category", "timeout"),
    ],
)
def test_the_list_can_be_filtered(viewer: Client, name: str, value: str) -> None:
    make(operation_type="sought", success=False, cached=True, module="mana", model_used="fake-1",
         error_category="timeout")  # fmt: skip
    make(operation_type="other")
    assert listed(viewer.get(reverse(LIST), {name: value})) == ["sought"]


@pytest.mark.django_db(databases=["default", "postgres"])
def test_the_ledger_is_read_from_its_own_database(superuser: Client, postgres_alias: str) -> None:
    user = get_user_model().objects.create(username="amina", pk=4_711)
    with override_settings(OBC_AI={"DATABASE": postgres_alias}):
        operation = make(operation_type="elsewhere", user_id=user.pk)
        page = superuser.get(reverse(LIST))
        assert listed(page) == ["elsewhere"]
        assert "#4711" in text_of(page)
        detail = text_of(superuser.get(reverse(DETAIL, args=[operation.pk])))
        assert "#4711" in detail
        searched = superuser.get(reverse(LIST), {"q": str(operation.pk)})
        assert listed(searched) == ["elsewhere"]
    assert listed(superuser.get(reverse(LIST))) == []


def test_corrections_are_listed_and_stand_with_their_operation(superuser: Client) -> None:
    operation = make(cost_usd=Decimal("0.5"))
    correction = CostCorrection.objects.create(
        operation=operation,
        kind=CostCorrection.Kind.BILLED,
        old_cost_usd=Decimal("0.75"),
        new_cost_usd=Decimal("0.5"),
        was_cost_known=False,
        reason="the bill of November",
        made_by="amina",
        run=uuid.uuid4(),
    )
    url = reverse("admin:django_obc_ai_costcorrection_changelist")
    detail = reverse(DETAIL, args=[operation.pk])
    for term in ("", str(correction.run), str(operation.pk), "amina"):
        page = text_of(superuser.get(url, {"q": term}))
        assert "$0.750000 → $0.500000" in page
        assert f'href="{detail}"' in page
    assert "the bill of November" not in text_of(superuser.get(url, {"q": "November"}))
    assert "the bill of November" in text_of(superuser.get(detail))
    shown = reverse("admin:django_obc_ai_costcorrection_change", args=[correction.pk])
    assert "the bill of November" in text_of(superuser.get(shown))
    assert superuser.post(shown, {"reason": "another"}).status_code == 403


def test_corrections_need_their_own_permission(viewer: Client) -> None:
    operation = make()
    CostCorrection.objects.create(
        operation=operation,
        kind=CostCorrection.Kind.REPRICED,
        old_cost_usd=Decimal(1),
        new_cost_usd=Decimal(2),
        was_cost_known=True,
        reason="a wrong price",
        made_by="omar",
        run=uuid.uuid4(),
    )
    assert "a wrong price" not in text_of(viewer.get(reverse(DETAIL, args=[operation.pk])))
    url = reverse("admin:django_obc_ai_costcorrection_changelist")
    assert viewer.get(url).status_code == 403
