"""The page on OpenAI-compatible services, followed with the loopback server in their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.execute import Page, run_script
from tests.docs.markdown import DOCS
from tests.extras import requires
from tests.servers.chat_completions import ChatCompletionsServer

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
