"""The page on Gemini, followed with the loopback server in Google's place."""

from __future__ import annotations

from pathlib import Path

import pytest

from django_obc_ai import exceptions
from django_obc_ai.exceptions import ObcAIError
from tests.docs.execute import Page
from tests.docs.markdown import DOCS, names, section, table_rows
from tests.extras import requires
from tests.servers.gemini import GeminiServer

PAGE = DOCS / "howto" / "gemini.md"
_LOOPBACK = """
import os

from mysite.settings import *

OBC_AI["PROVIDERS"]["default"]["OPTIONS"]["base_url"] = os.environ["LOOPBACK"]
"""


@requires("google.genai")
def test_the_page_does_what_it_says(
    project: Path, gemini_server: GeminiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", gemini_server.key)
    monkeypatch.setenv("LOOPBACK", gemini_server.url)
    (project / "mysite" / "with_loopback.py").write_text(_LOOPBACK)
    assert Page(PAGE, project, settings="mysite.with_loopback").follow() >= 8
    asked = [entry.operation for entry in gemini_server.journal]
    assert asked[0] == "models.get"
    assert asked[1:] == ["generateContent"] * 3 + ["streamGenerateContent"]


def test_the_table_of_failures_names_every_error_of_a_provider() -> None:
    rows = table_rows(section(PAGE, "When it fails"))
    told = {(names(row[0])[0], row[2].startswith(("yes", "if"))) for row in rows}
    kinds = [
        kind
        for kind in vars(exceptions).values()
        if isinstance(kind, type)
        and issubclass(kind, exceptions.ProviderError)
        and kind is not exceptions.ProviderError
    ]
    assert told == {(kind.code, kind("Test.").retryable) for kind in kinds}
    assert all(issubclass(kind, ObcAIError) for kind in kinds)
