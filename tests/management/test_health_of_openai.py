"""What ``ai_health_check`` says of an OpenAI-compatible service, asked at the loopback server."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command

from django_obc_ai.backends.providers.openai_compatible import OpenAICompatibleProvider
from django_obc_ai.testing import index_now, override_ai
from tests.extras import requires
from tests.fakes import entry
from tests.servers.chat_completions import ChatCompletionsServer


@requires("openai")
@pytest.mark.django_db
def test_a_list_of_models_proves_no_key(chat_completions_server: ChatCompletionsServer) -> None:
    server = chat_completions_server
    options = {"api_key": server.key, "base_url": server.url, "model": "small"}
    out = StringIO()
    with override_ai():
        index_now()
    with override_ai(
        PROVIDERS=entry(OpenAICompatibleProvider, **options),
        PRICES={"small": {"input_usd": "1", "output_usd": "1"}},
    ):
        call_command("ai_health_check", stdout=out, no_color=True)
    assert "The service lists the model" in out.getvalue()
    assert "accepts" not in out.getvalue()
    assert [each.path for each in server.journal] == ["/v1/models"]
