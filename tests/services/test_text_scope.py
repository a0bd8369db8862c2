"""The tenant scope: from the call, from ``OBC_AI["SCOPE"]``, and when that is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model

from django_obc_ai.models import AIOperation
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import override_ai

pytestmark = pytest.mark.django_db

NO_FUNCTION = "a text"


def scope_of(user: Any) -> str:
    return f"tenant of {user.username}" if user else ""


def wrong_scope_of(user: Any) -> Any:
    return 7


def test_the_scope_comes_from_the_project_unless_the_call_names_one() -> None:
    user = get_user_model().objects.create_user("amina")
    with override_ai(SCOPE=f"{__name__}.scope_of"):
        TextService().generate_text("Q", user=user)
        TextService().generate_text("Q", user=user, scope="named")
        TextService().generate_text("Q")
    with override_ai(SCOPE=scope_of):
        TextService().generate_text("Q", user=user)
    scopes = AIOperation.objects.order_by("created_at").values_list("scope", flat=True)
    assert list(scopes) == ["tenant of amina", "named", "", "tenant of amina"]


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        ("no.such.function", r"OBC_AI\['SCOPE'\] cannot be imported"),
        (f"{__name__}.NO_FUNCTION", r"OBC_AI\['SCOPE'\] names str, which cannot be"),
        (f"{__name__}.wrong_scope_of", r"OBC_AI\['SCOPE'\] returned int, not text"),
    ],
)
def test_a_wrong_scope_is_a_configuration_result(scope: str, message: str) -> None:
    with override_ai(SCOPE=scope):
        result = TextService().generate_text("Q")
    assert result.error == "configuration"
    with pytest.raises(Exception, match=message):
        result.raise_for_error()


def test_an_unknown_option_names_the_nearest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with override_ai(["A"]) as kit:
        monkeypatch.setattr(kit.provider, "generation_options", frozenset({"top_k"}))
        assert TextService().generate_text("Q", top_k=3).success
        assert kit.provider.requests[0].options == {"top_k": 3}
        with pytest.raises(TypeError, match="Did you mean 'top_k'"):
            TextService().generate_text("Q", topk=3)
