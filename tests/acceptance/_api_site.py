"""A site with the chat: a page of its own, in the corner of a loud page, and twice on one page."""

from __future__ import annotations

import datetime
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.acceptance._browser_site import POLICY, Site
from tests.servers.gemini import GeminiServer, replies, run_gemini
from tests.servers.new_database import use_database

STRICT = f"{POLICY}; require-trusted-types-for 'script'; trusted-types obc-ai"
MODEL = "gemini-3.5-flash-lite"
LONG = "Integrated Municipal Development and Coordination Office"
PROVINCES = {
    "Basilan": 7,
    "Lanao del Sur": 19,
    "Maguindanao del Norte": 13,
    "Sulu": 9,
    "Tawi-Tawi": 4,
}
PASSWORD = "only for this proof"

#: Style of a page that says much about bare elements, as many do.
LOUD = """
:root { color-scheme: light dark; font-size: 62.5%; }
body { margin: 0; font: 1.7rem/1.9 Georgia, serif; text-align: justify; letter-spacing: .02em;
  background: light-dark(#f6f1e7, #14110d); color: light-dark(#2b2118, #efe6d8); }
main { max-width: 44rem; margin: auto; padding: 2rem 1.25rem; }
button, input, textarea, select { border: 3px solid crimson; background: gold; padding: 2rem;
  border-radius: 0; width: 100%; text-transform: uppercase; }
summary, details { border: 2px dashed crimson; background: gold; padding: 1rem; display: block; }
details { width: 40%; min-width: 50rem; max-width: 90%; margin: 5rem; overflow: hidden;
  opacity: 0.8; box-shadow: 0 0 9px crimson; }
summary::before, summary::after, p::before { content: "+"; }
form { padding: 3rem; background: pink; } p { margin: 2rem 0; text-indent: 2em; }
a { color: crimson; font-weight: 700; text-transform: uppercase; }
ul, ol { margin: 2rem; list-style: square; } li { padding: 1rem; }
table, td, th { border: 3px double crimson; width: 50%; } svg { width: 100%; fill: crimson; }
section, figure { margin: 4rem; }
"""
_TEXT = """<p>Barangay records are kept by the municipal office, and updated each quarter by the
people who live there. What stands here is only there to be something around the chat.</p>"""
_PAGES = {
    "corner": "<h1>A page of somebody's</h1>" + _TEXT * 6 + "{% obc_ai_chat examples=examples %}",
    "inline": "<h1>A page of somebody's</h1>" + _TEXT + "{% obc_ai_chat inline=True %}" + _TEXT
    + "{% obc_ai_chat title='Ask once more' %}",
}  # fmt: skip
_HOST = """{% load i18n obc_ai_chat %}{% get_current_language_bidi as is_rtl %}<!DOCTYPE html>
<html lang="en" dir="{{ is_rtl|yesno:'rtl,ltr' }}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>A page</title>
<link rel="stylesheet" href="/loud.css"></head><body><main>BODY</main></body></html>"""


def _settings(gemini: GeminiServer) -> dict[str, Any]:
    provider = "django_obc_ai.backends.providers.google_genai.GoogleGenAIProvider"
    options = {"api_key": gemini.key, "model": MODEL, "base_url": gemini.url}
    own = {"needs_permission": False, "visible_to": lambda rows, user: rows}
    return {
        "ROOT_URLCONF": "tests.acceptance._api_site",
        "LOGIN_URL": "/admin/login/",
        "LANGUAGES": [("en", "English"), ("fil", "Filipino"), ("ar", "Arabic")],
        "MIDDLEWARE": _middleware(),
        "OBC_AI": {
            "PROVIDERS": {"default": {"BACKEND": provider, "OPTIONS": options}},
            "RETRY": {"attempts": 1},
            "RATE_LIMITS": {"default": {"per_minute": 10_000, "per_day": None}},
            "WEB": {"throttles": {"user": None, "burst": None}},
            "CHAT": {
                "models": {
                    "testapp.Place": {"fields": ["name", "province"], **own},
                    "testapp.Survey": {
                        "fields": ["title", "date", "year", "count", "budget", "status"],
                        "relations": ["place"],
                        **own,
                    },
                }
            },
        },
    }


def _middleware() -> list[str]:
    from django.conf import settings

    return [
        "tests.acceptance._api_site.strict",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.locale.LocaleMiddleware",
        *(each for each in settings.MIDDLEWARE if "Session" not in each),
    ]


def strict(get_response: Callable[..., Any]) -> Callable[..., Any]:
    """A middleware that sets the policy, of either kind."""
    from asgiref.sync import iscoroutinefunction, markcoroutinefunction

    def marked(response: Any) -> Any:
        response["Content-Security-Policy"] = STRICT
        return response

    if not iscoroutinefunction(get_response):
        return lambda request: marked(get_response(request))

    async def amiddleware(request: Any) -> Any:
        return marked(await get_response(request))

    return markcoroutinefunction(amiddleware)


strict.async_capable = strict.sync_capable = True  # type: ignore[attr-defined]


def host(request: Any, name: str) -> Any:
    """A page of the project's own."""
    from django.http import HttpResponse
    from django.template import engines

    template = engines["django"].from_string(_HOST.replace("BODY", _PAGES[name]))
    examples = ["How many places are there in each province?", "How many surveys a year?"]
    return HttpResponse(template.render({"examples": examples}, request))


def __getattr__(name: str) -> Any:
    # As addresses of a site these are wanted only once the settings are there.
    if name != "urlpatterns":
        raise AttributeError(name)
    from django.contrib import admin
    from django.http import HttpResponse
    from django.urls import include, path

    return [
        path("admin/", admin.site.urls),
        path("ai/", include("django_obc_ai.widget.urls")),
        path("loud.css", lambda request: HttpResponse(LOUD, content_type="text/css")),
        path("favicon.ico", lambda request: HttpResponse(status=204)),
        path("<slug:name>/", host),
    ]


class ChatSite(Site):
    """The site, and the model's part in it."""

    def __init__(self, url: str, session: str, gemini: GeminiServer) -> None:
        super().__init__(url, session)
        self.gemini = gemini

    def will(self, plan: dict[str, Any], text: str = "", **reply: Any) -> None:
        """Let every question from now on be planned and answered so."""
        from django.core.cache import cache

        cache.clear()  # an answer that is known already would not come in pieces
        self.gemini.reset()
        planned, told = json.dumps(plan), replies.Reply(text=text, **reply)
        # An answer that does not come in pieces is asked for as a plan is: the prompt differs.
        self.gemini.script(replies.answer(planned), marker="into a plan, as JSON", is_repeated=True)
        self.gemini.script(told, is_repeated=True)


@contextmanager
def serve_chat(folder: str, *, is_async: bool) -> Iterator[ChatSite]:
    """Run the site under uvicorn, or under WSGI in threads; somebody of the staff is logged in."""
    with ExitStack() as stack:
        os.environ["OBC_AI_TEST_BASE_DIR"] = folder
        use_database("sqlite", folder, stack)
        gemini = stack.enter_context(run_gemini())
        import django

        django.setup()
        from django.core.management import call_command
        from django.db import connections
        from django.test import override_settings

        stack.enter_context(override_settings(**_settings(gemini)))
        stack.callback(connections.close_all)
        call_command("migrate", "--run-syncdb", verbosity=0)
        session = _filled()
        url = stack.enter_context(_uvicorn() if is_async else _wsgi())
        yield ChatSite(url, session, gemini)


@contextmanager
def _uvicorn() -> Iterator[str]:
    import socket
    import time

    import uvicorn
    from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
    from django.core.asgi import get_asgi_application

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    app = ASGIStaticFilesHandler(get_asgi_application())
    config = uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    listening.close()


@contextmanager
def _wsgi() -> Iterator[str]:
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.core.servers.basehttp import ThreadedWSGIServer
    from django.core.wsgi import get_wsgi_application

    from tests.acceptance._browser_site import _handler

    server = ThreadedWSGIServer(("127.0.0.1", 0), _handler())
    server.set_app(StaticFilesHandler(get_wsgi_application()))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def _filled() -> str:
    from django.contrib.auth import get_user_model
    from django.test import Client

    from django_obc_ai.testing import index_now
    from tests.testapp.models import Place, Survey

    places = [
        Place(name=f"{kind} of {province} {number}", province=province)
        for province, count in PROVINCES.items()
        for number, kind in enumerate(["House by the sea", "Market", "School"] * count, start=1)
        if number <= count
    ]
    Place.objects.bulk_create(places)
    Survey.objects.bulk_create(
        Survey(
            title=f"{LONG}: survey {number} of households with water", year=2015 + number % 11,
            date=datetime.date(2015 + number % 11, 1 + number % 12, 3), count=number * 7919 % 4001,
            budget=number * 1250, status="ods"[number % 3], place=places[number % len(places)],
        )
        for number in range(1, 61)
    )  # fmt: skip
    index_now("places")
    users = get_user_model().objects
    users.create_user("other", password=PASSWORD)
    client = Client()
    client.force_login(users.create_superuser("root", password=PASSWORD))
    return client.cookies["sessionid"].value
