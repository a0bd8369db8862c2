"""The page on OpenAI-compatible services, followed with the loopback server in their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.execute import Page, run_script
from tests.docs.markdown import DOCS, blocks
from tests.extras import requires
from tests.servers.chat_completions import ChatCompletionsServer, Reply
from tests.servers.gemini import GeminiServer

PAGE = DOCS / "howto" / "openai-compatible.md"


@requires("openai")
def test_the_page_does_what_it_says(
    project: Path, chat_completions_server: ChatCompletionsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", chat_completions_server.key)
    monkeypatch.setenv("OPENAI_BASE_URL", chat_completions_server.url)
    monkeypatch.setenv("OLLAMA_URL", chat_completions_server.url)
    assert Page(PAGE, project, settings="mysite.settings").follow() >= 3
    (paid,) = chat_completions_server.journal
    assert paid.key == chat_completions_server.key

    found = run_script(
        project,
        "from django_obc_ai.models import AIOperation\n"
        "from django_obc_ai.services.text import TextService\n"
        "result = TextService('local').generate_text('And now?')\n"
        "row = AIOperation.objects.get(pk=str(result.operation_id))\n"
        "print(result.success, result.cost, row.cost_known, row.provider)",
        settings="mysite.with_ollama",
    )
    assert found == "True 0 True local\n"
    local = chat_completions_server.journal[-1]
    assert (local.key, local.body["model"]) == ("none", "llama3.2")
    assert "max_tokens" in local.body


@requires("openai")
@requires("google.genai")
def test_the_pair_of_the_page_on_fallbacks_falls_back_and_is_priced(
    project: Path,
    chat_completions_server: ChatCompletionsServer,
    gemini_server: GeminiServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", chat_completions_server.key)
    monkeypatch.setenv("GOOGLE_API_KEY", gemini_server.key)
    head = "# mysite/pair.py\n"
    found = [each.text for each in blocks(DOCS / "howto/limits-and-fallbacks.md")]
    (pair,) = [text for text in found if text.startswith(head)]
    (project / "mysite" / "pair.py").write_text(pair)
    (project / "mysite" / "loopback.py").write_text(
        "from mysite.pair import *\n"
        f"OBC_AI['PROVIDERS']['default']['OPTIONS']['base_url'] = {chat_completions_server.url!r}\n"
        f"OBC_AI['PROVIDERS']['gemini']['OPTIONS']['base_url'] = {gemini_server.url!r}\n"
    )
    chat_completions_server.script(Reply(status=503), Reply(status=503))
    told = run_script(
        project,
        "from django_obc_ai.models import AIOperation\n"
        "from django_obc_ai.services.text import TextService\n"
        "for question in ('Who vaccinates?', 'And here?'):\n"
        "    result = TextService().generate_text(question)\n"
        "    row = AIOperation.objects.get(pk=str(result.operation_id))\n"
        "    print('told', result.model, row.fallback_from, row.attempts, result.cost > 0)",
        settings="mysite.loopback",
    )
    assert [line for line in told.splitlines() if line.startswith("told")] == [
        "told gemini-2.5-flash-lite default 3 True",
        "told small  1 True",
    ]
