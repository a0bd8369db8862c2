"""No secret reaches a cassette, wherever it was planted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from django_obc_ai.backends.providers import providers
from django_obc_ai.exceptions import AuthenticationError, ObcAIError, StreamInterruptedError
from django_obc_ai.testing import Cassette, CutStream, Reply, ScriptedProvider, override_ai
from django_obc_ai.testing._scrubbing import Scrubber
from django_obc_ai.types import GenerationRequest, Message, Source
from tests.extras import requires
from tests.servers.gemini import GeminiServer, replies

#: None looks like a key; they are known from where they stand in the settings.
OWN = "horse-battery/staple+7"
DATABASE = 'pass of the "database"'
IN_URL = "hidden-in-a-location"
FALLBACK = "an older secret of signing"
#: In pieces, so that no file of the project holds what looks like a key.
LOOKS_LIKE_ONE = "sk-" + "abcdefghijklmnop1234567890"
DECLARED = "PATIENT-00417"
SETTINGS = {
    "SECRET_KEY_FALLBACKS": [FALLBACK],
    "EXTRA_DATABASES": {"other": {"PASSWORD": DATABASE}},
    "EXTRA_LOCATION": f"redis://:{IN_URL}@cache.internal:6379/0",
}
PLANTED = {
    "own": OWN,
    "percent-encoded": "horse-battery%2Fstaple%2B7",
    "database": DATABASE,
    "in-url": IN_URL,
    "fallback": FALLBACK,
    "looks-like-one": LOOKS_LIKE_ONE,
    "declared": DECLARED,
}
#: What must not be in the file, in any form; JSON writes the quotation marks differently.
TRACES = [*PLANTED.values(), "horse-battery", "staple", 'the \\"database', "00417"]


class Keyed(ScriptedProvider):
    """Takes a key, as a paid provider does."""

    def __init__(self, *, api_key: str, script: Any = ()) -> None:
        super().__init__(script=script, generation_options=["extra_headers", "note"])


def keyed(*script: Any, api_key: str = OWN) -> dict[str, Any]:
    options = {"api_key": api_key, "script": list(script)}
    return {"default": {"BACKEND": f"{__name__}.Keyed", "OPTIONS": options}}


def assert_clean(path: Path) -> str:
    text = path.read_text()
    assert [each for each in TRACES if each in text] == []
    return text


def a_request(secret: str) -> GenerationRequest:
    return GenerationRequest(
        prompt=f"prompt {secret} end",
        system=f"system {secret} end",
        history=(Message(role="user", text=f"history {secret} end"),),
        sources=(Source(title=f"title {secret} end", text=f"source {secret} end"),),
        response_schema={"type": "object", "description": f"schema {secret} end", secret: 1},
        options={
            "extra_headers": {"Authorization": "Basic opaque", "x-goog-api-key": "opaque"},
            "note": json.dumps({"password": "opaque", "said": secret}),
        },
    )


@pytest.mark.parametrize("secret", PLANTED.values(), ids=PLANTED)
def test_a_secret_planted_anywhere_never_lands_in_the_file(secret: str, tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    script = [
        Reply(f"answer {secret} end", model=f"model {secret} end"),
        Reply(chunks=[*secret, " end"]),  # letter by letter
        CutStream([f"cut {secret[:9]}", secret[9:], " end"]),
        AuthenticationError(f"message {secret} end"),
    ]
    request = a_request(secret)
    cassette = Cassette(path, scrub=[r"PATIENT-\d+"])
    for providers_setting in (keyed(*script), keyed(api_key=OWN)):
        with (
            override_settings(**SETTINGS),
            override_ai(cassette=cassette, PROVIDERS=providers_setting),
        ):
            provider = providers["default"]
            answer = provider.generate(request)
            streamed = "".join(each.text for each in provider.stream(request))
            with pytest.raises(StreamInterruptedError):
                list(provider.stream(request))
            with pytest.raises(ObcAIError) as found:
                provider.generate(request)
        text = assert_clean(path)
        assert "opaque" not in text
    # The replay: the same request, which holds the secret, was found by what it was scrubbed to.
    mark = "[scrubbed]" if secret == DECLARED else "[key]"
    assert (answer.text, streamed) == (f"answer {mark} end", f"{mark} end")
    assert str(found.value) == f"message {mark} end"


def test_another_key_finds_the_same_recording(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    for key in ("the key of one machine", "the key of another machine"):
        request = GenerationRequest(prompt=f"Is {key} good?")
        with override_ai(cassette=path, PROVIDERS=keyed("Yes.", api_key=key)):
            assert providers["default"].generate(request).text == "Yes."


def test_the_patterns_of_the_log_are_the_cassette_s_too(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    with override_ai(
        cassette=path, PROVIDERS=keyed("ok"), LOG={"redact_patterns": [r"PATIENT-\d+"]}
    ):
        providers["default"].generate(GenerationRequest(prompt=f"about {DECLARED}"))
    assert "about [scrubbed]" in assert_clean(path)


@requires("google.genai")
def test_what_the_real_sdk_sends_with_a_call_is_not_there(
    gemini_server: GeminiServer, tmp_path: Path
) -> None:
    path, key = tmp_path / "one.json", "AI" + "za" + "loopback-key-of-the-settings-0123"
    gemini_server.script(replies.answer(f"Your key is {key}, is it not?"))
    backend = "django_obc_ai.backends.providers.google_genai.GoogleGenAIProvider"
    options = {"api_key": key, "base_url": gemini_server.url, "model": "gemini-2.5-flash"}
    with override_ai(
        cassette=path, PROVIDERS={"default": {"BACKEND": backend, "OPTIONS": options}}
    ):
        list(providers["default"].stream(GenerationRequest(prompt=f"My key is {key}, is it not?")))
    text = path.read_text()
    assert key not in text and "loopback-key" not in text
    assert gemini_server.url not in text and "127.0.0.1" not in text
    assert text.count("[key]") == 2


def test_pieces_without_a_secret_stay_as_they_were_and_those_around_one_too() -> None:
    scrubber = Scrubber([re.compile("secret-word")])
    assert scrubber.pieces(["a ", "b ", ""]) == ["a ", "b ", ""]
    pieces = ["Say ", "sec", "ret-", "word", " or ", "not"]
    assert scrubber.pieces(pieces) == ["Say ", "[scrubbed]", " or ", "not"]


def test_an_answer_in_json_still_is_json() -> None:
    text = json.dumps({"password": "abc-123-def", "place": "Upi"})
    assert json.loads(Scrubber().value(text)) == {"password": "[key]", "place": "Upi"}
    assert Scrubber().value('{"place":  "Upi"}') == '{"place":  "Upi"}'


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: [key]"),
        ("'Authorization': 'Bearer abc.def'", "'Authorization': '[key]'"),
        ("x-goog-api-key: abcdef", "x-goog-api-key: [key]"),
        ("the author is at the station", "the author is at the station"),
    ],
)
def test_headers_in_texts(text: str, clean: str) -> None:
    assert Scrubber().text(text) == clean
