"""The tag in any page: what it shows to whom, and what it says where something is missing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import django
import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.template import Context, RequestContext, Template
from django.test import RequestFactory, override_settings

from django_obc_ai.testing import override_ai

AMINA, OMAR = (SimpleNamespace(pk=pk, is_authenticated=True) for pk in (1, 2))


def shown(
    user: Any = AMINA,
    arguments: str = "",
    *,
    request: Any = None,
    resolver_match: Any = None,
    request_nonce: str = "",
    **context: Any,
) -> str:
    request = request or RequestFactory().get("/clinics/", {"page": "2"})
    request.user = user
    request.resolver_match = resolver_match
    if request_nonce:
        request.csp_nonce = request_nonce
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


def test_whom_the_project_refuses_is_shown_nothing() -> None:
    with override_ai(WEB={"may_ask": lambda user: user is AMINA}):
        assert "<form" in shown() and shown(OMAR).strip() == ""
        assert shown(OMAR, "inline=True").strip() == ""
        assert "/accounts/login/" in shown(AnonymousUser())


def test_it_can_stand_in_the_page() -> None:
    arguments = 'inline=True title=title examples="One?|Two?" conversation="abc"'
    html = shown(arguments=arguments, title="Ask <us>")
    assert "<details class=" not in html.partition("obc-ai-panel")[0]
    assert "Ask &lt;us&gt;" in html and "One?" in html and "Two?" in html and "abc" in html
    assert "Three?" in shown(arguments="examples=some", some=["Three?"])


@pytest.mark.parametrize("app_names", [["django_obc_ai_chat"], ["site", "django_obc_ai_chat"]])
def test_the_chat_page_has_no_second_chat_in_its_corner(app_names: list[str]) -> None:
    match = SimpleNamespace(app_names=app_names)
    assert not shown(resolver_match=match).strip()
    assert "<section" in shown(arguments="inline=True", resolver_match=match)
    assert "<details" in shown(resolver_match=SimpleNamespace(app_names=["clinics"]))


def test_a_nonce_of_the_page_is_printed_on_style_and_scripts() -> None:
    assert "nonce" not in shown()
    for html in (shown(csp_nonce="n1"), shown(request_nonce="n1")):
        assert html.count('nonce="n1"') == 1 + html.count("<script") == 4


@pytest.mark.skipif(django.VERSION < (6, 0), reason="Django 5.2 has no policy of its own")
@override_settings(
    SECURE_CSP={"script-src": ["<CSP_NONCE_SENTINEL>"], "style-src": ["<CSP_NONCE_SENTINEL>"]}
)
@pytest.mark.parametrize("is_named", [True, False])
def test_the_nonce_of_djangos_own_policy_is_printed(is_named: bool) -> None:
    from django.middleware.csp import ContentSecurityPolicyMiddleware, get_nonce

    def answers(request: Any) -> HttpResponse:
        more = {"csp_nonce": get_nonce(request)} if is_named else {}  # as its context processor
        return HttpResponse(shown(request=request, **more))

    response = ContentSecurityPolicyMiddleware(answers)(RequestFactory().get("/clinics/"))
    nonce = response["Content-Security-Policy"].partition("'nonce-")[2].partition("'")[0]
    assert nonce and response.content.decode().count(f'nonce="{nonce}"') == 4


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
