"""What ``ai_health_check`` finds out about Gemini, asked at the loopback server."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_obc_ai.models import AIOperation
from django_obc_ai.testing import index_now, override_ai
from tests.extras import is_installed
from tests.servers.gemini import BAD_KEY, GeminiServer, closed_port, replies

pytestmark = pytest.mark.django_db
CLASSES = {
    "google.genai": "google_genai.GoogleGenAIProvider",
    "google.generativeai": "google_generativeai.GoogleGenerativeAIProvider",
}
Check = Callable[..., tuple[int, str]]


@pytest.fixture(params=CLASSES)
def check(request: pytest.FixtureRequest, gemini_server: GeminiServer) -> Check:
    """Run the command with options of the provider; returns exit code and output."""
    if not is_installed(request.param):
        pytest.skip(f"{request.param} is not installed")
    backend = f"django_obc_ai.backends.providers.{CLASSES[request.param]}"
    with override_ai():
        index_now()

    def run(*arguments: str, **options: Any) -> tuple[int, str]:
        defaults = {
            "api_key": gemini_server.key,
            "model": "gemini-2.5-flash",
            "base_url": gemini_server.url,
        }
        entry = {"BACKEND": backend, "OPTIONS": {**defaults, **options}}
        out = StringIO()
        with ExitStack() as stack:
            stack.enter_context(override_ai(PROVIDERS={"default": entry}))
            try:
                call_command("ai_health_check", *arguments, stdout=out, no_color=True)
            except CommandError as error:
                return error.returncode, out.getvalue()
        return 0, out.getvalue()

    return run


def test_a_good_key_is_accepted_and_nothing_is_spent(
    check: Check, gemini_server: GeminiServer
) -> None:
    code, output = check("--verbose")
    assert code == 0
    assert "It was asked, free of charge, and accepts." in output or "unsupported" in output
    assert "ok      price default: gemini-2.5-flash: $0.30 in and $2.50 out per million" in output
    assert "genai-prices" in output
    (entry,) = gemini_server.journal
    assert (entry.operation, bool(entry.billed)) == ("models.get", False)
    assert not AIOperation.objects.exists()


def test_nobody_is_asked_where_that_is_not_wanted(
    check: Check, gemini_server: GeminiServer
) -> None:
    assert check("--no-ping")[0] == 0
    assert gemini_server.journal == []


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ({"api_key": BAD_KEY}, 1, "ERROR   provider default: Gemini refused the API key"),
        ({"api_key": ""}, 1, "ERROR   provider default: OBC_AI['PROVIDERS']['default'] has no API"),
        ({"model": "gemini-9-flash"}, 1, "does not know the model"),
        (
            {"model": "gemini-9-flash"},
            1,
            "warning price default: The model 'gemini-9-flash' has no",
        ),
        (
            {"model": "gemini-flash-latest"},
            0,
            "warning price default: The model 'gemini-flash-late",
        ),
    ],
)
def test_what_is_wrong_is_named(
    check: Check, options: dict[str, str], code: int, text: str
) -> None:
    found, output = check(**options)
    assert (found, text in output) == (code, True), output
    assert BAD_KEY not in output


def test_a_service_that_cannot_be_asked_leaves_it_open(
    check: Check, gemini_server: GeminiServer
) -> None:
    with closed_port() as url:
        code, output = check(base_url=url)
    assert code == 2
    assert "unknown provider default: The connection to the provider failed" in output
    gemini_server.script(replies.error(503), operation="models")
    code, output = check()
    assert (code, "unknown provider default: Gemini failed (503" in output) == (2, True)


@pytest.mark.parametrize("thoughts", [0, 16])
def test_live_says_what_the_call_cost(
    check: Check, gemini_server: GeminiServer, thoughts: int
) -> None:
    gemini_server.script(replies.answer("OK", thoughts_tokens=thoughts))
    code, output = check("--live", "--no-ping")
    assert code == 0
    (entry,) = gemini_server.journal
    used = entry.billed
    cost = (
        Decimal("0.30") * used.prompt + Decimal("2.50") * (used.candidates + used.thoughts)
    ) / 10**6
    assert AIOperation.objects.get().cost_usd == cost > 0
    counts = f"{used.prompt} tokens in, {used.candidates} out, {used.thoughts} thinking"
    assert f"{counts}, ${cost.normalize():f}." in output
    assert used.candidates + used.thoughts <= 16


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("reply", "code"),
    [(replies.error(503), 1), (replies.finished("STOP", text="", thoughts_tokens=16), 0)],
)
def test_live_makes_one_request_however_it_ends(
    check: Check, gemini_server: GeminiServer, reply: Any, code: int
) -> None:
    gemini_server.script(*[reply] * 3)
    assert check("--live", "--no-ping")[0] == code
    assert len(gemini_server.journal) == 1
    assert AIOperation.objects.get().attempts == 1
