"""The tag in any page: what it shows to whom, and what it says where something is missing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.template import Context, RequestContext, Template
from django.test import RequestFactory, override_settings

from django_obc_ai.testing import override_ai

AMINA, OMAR = (SimpleNamespace(pk=pk, is_authenticated=True) for pk in (1, 2))


def shown(user: Any = AMINA, arguments: str = "", **context: Any) -> str:
    request = RequestFactory().get("/clinics/", {"page": "2"})
    request.user = user
    template = Template(f"{{% load obc_ai_chat %}}{{% obc_ai_chat {arguments} %}}")
    return template.render(RequestContext(request, context))


def test_who_may_ask_gets_a_form_in_the_corner() -> None:
    html = shown()
    assert "<details" in html and 'action="/chat/"' in html and "csrfmiddlewaretoken" in html
    assert "<script src=" in html and "style=" not in html and "onclick" not in html


def test_others_get_a_link_to_the_login_and_back() -> None:
    html = shown(AnonymousUser())
    assert "/accounts/login/?next=%2Fclinics%2F%3Fpage%3D2" in html and "<form" not in html
    with override_ai(WEB={"anonymous_scope": "public"}):
        assert "<form" in shown(AnonymousUser())


def test_it_can_stand_in_the_page() -> None:
    arguments = 'inline=True title=title examples="One?|Two?" conversation="abc"'
    html = shown(arguments=arguments, title="Ask <us>")
    assert "<details class=" not in html.partition("obc-ai-panel")[0]
    assert "Ask &lt;us&gt;" in html and "One?" in html and "Two?" in html and "abc" in html
    assert "Three?" in shown(arguments="examples=some", some=["Three?"])


def test_what_a_tab_keeps_is_of_one_person() -> None:
    keys = [shown(user).partition('data-storage="')[2][:23] for user in (AMINA, OMAR, AMINA)]
    assert keys[0] == keys[2] != keys[1]


def test_without_the_request_it_says_what_to_do() -> None:
    template = Template("{% load obc_ai_chat %}{% obc_ai_chat %}")
    with pytest.raises(ImproperlyConfigured, match="Render the template with the request"):
        template.render(Context())


@override_settings(ROOT_URLCONF="tests.widget.no_urls")
def test_without_the_page_it_says_what_to_add() -> None:
    with pytest.raises(ImproperlyConfigured, match=r'include\("django_obc_ai.widget.urls"\)'):
        shown()
