"""The page on cassettes, followed with the loopback server in Google's place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from django_obc_ai.testing import Cassette, CassetteError
from tests.docs.execute import Page
from tests.docs.markdown import DOCS, blocks, names, section, table_rows
from tests.extras import requires
from tests.servers.gemini import GeminiServer

PAGE = DOCS / "howto" / "replay-real-answers.md"
_LOOPBACK = """
OBC_AI["PROVIDERS"]["default"]["OPTIONS"]["base_url"] = os.environ["LOOPBACK"]
"""
_REQUEST = {"prompt": "Where?", "model": "gemini-2.5-flash"}


@requires("google.genai")
def test_the_page_does_what_it_says(
    project: Path, gemini_server: GeminiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", gemini_server.key)
    monkeypatch.setenv("LOOPBACK", gemini_server.url)
    page = Page(PAGE, project, settings="mysite.settings")
    assert page.follow(["python"]) == 5
    with (project / "mysite" / "settings.py").open("a") as settings:
        settings.write(_LOOPBACK)
    assert page.follow(["console"]) == 5
    asked = [entry.operation for entry in gemini_server.journal]
    # Recorded once each, and replayed by the second run and by the one in the mode "none".
    assert sorted(asked) == ["generateContent"] * 3 + ["streamGenerateContent"]
    files = sorted((project / "clinics" / "cassettes").rglob("*.json"))
    assert [file.stem for file in files] == [
        "patients", "pieces", "test_describes_a_town", "triage",
    ]  # fmt: skip
    assert not any(gemini_server.key in file.read_text() for file in files)


@pytest.mark.parametrize("row", table_rows(section(PAGE, "What is recorded when")))
def test_the_table_of_modes(row: list[str], tmp_path: Path) -> None:
    (mode,) = names(row[0])
    missing, held, other = tmp_path / "missing.json", tmp_path / "held.json", {"prompt": "When?"}
    recorder = Cassette(held, mode="all")
    recorder.start()
    recorder.keep("default", "generate", _REQUEST, {"response": {"text": "Here."}})

    def outcome(path: Path, request: dict[str, str]) -> str:
        cassette = Cassette(path, mode=mode)  # type: ignore[arg-type] # of the page
        cassette.start()
        try:
            found = cassette.find("default", "generate", request)
        except CassetteError:
            return "fails the test"
        return "replays" if found else "records"

    told = [outcome(missing, _REQUEST), outcome(held, _REQUEST), outcome(held, other)]
    assert [cell.removesuffix(" anew") for cell in row[1:]] == told


def test_the_message_shown_is_the_real_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cassette = Cassette("clinics/cassettes/triage.json", mode="all")
    cassette.start()
    cassette.keep("default", "generate", _REQUEST, {"response": {"text": "Here."}})
    assert json.loads(cassette.path.read_text())["format"] == 1
    cassette = Cassette(cassette.path, mode="once")
    cassette.start()
    with pytest.raises(CassetteError) as found:
        cassette.find("default", "generate", {**_REQUEST, "prompt": "When?"})
    (shown,) = [block.text for block in blocks(PAGE) if block.language == "text"]
    assert str(found.value) == " ".join(shown.split())
