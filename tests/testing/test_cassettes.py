"""Cassettes: the real Google SDK is recorded at the loopback server, then replayed without it."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.test import TestCase, override_settings

from django_obc_ai.backends.providers import providers
from django_obc_ai.exceptions import (
    ObcAIError,
    RateLimitError,
    StreamInterruptedError,
)
from django_obc_ai.models import AIOperation
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import Cassette, CassetteError, Reply, ScriptedProvider, override_ai
from django_obc_ai.testing.cassettes import MODE_VARIABLE
from django_obc_ai.types import EmbeddingRequest, GenerationRequest, Usage
from tests.extras import requires
from tests.fakes import entry
from tests.servers.gemini import GeminiServer, replies
from tests.subprocesses import run_together

GENAI = "django_obc_ai.backends.providers.google_genai.GoogleGenAIProvider"
KEY = "AIza-loopback-key-of-the-settings-0123"
USAGE = Usage(input_tokens=7, output_tokens=3)
needs_genai = requires("google.genai")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassettes" / "one.json"


def google(server: GeminiServer | None = None, **options: Any) -> dict[str, Any]:
    """The provider's settings; without a server those of a machine with no key."""
    own = {"api_key": KEY, "base_url": server.url} if server else {"api_key": ""}
    return {
        "default": {"BACKEND": GENAI, "OPTIONS": {"model": "gemini-2.5-flash", **own, **options}}
    }


def ask(prompt: str = "Where?", **fields: Any) -> GenerationRequest:
    return GenerationRequest(prompt=prompt, **fields)


def caught(call: Any) -> dict[str, Any]:
    with pytest.raises(ObcAIError) as found:
        call()
    return {"class": type(found.value), "text": str(found.value)} | vars(found.value)


async def pieces_of(provider: Any, request: GenerationRequest) -> list[Any]:
    return [chunk async for chunk in provider.astream(request)]


def everything() -> Iterator[Any]:
    """Every kind of call that a provider takes, in both ways, and what it is answered."""
    provider = providers["default"]
    yield provider.generate(ask())
    yield provider.generate(ask())  # the same once more is another answer
    yield asyncio.run(provider.agenerate(ask("And async?", system="Be brief.", temperature=0.5)))
    yield list(provider.stream(ask("In pieces, please.")))
    yield asyncio.run(pieces_of(provider, ask("In async pieces.", max_output_tokens=64)))
    yield provider.count_tokens(ask("How many?"))
    yield caught(lambda: provider.generate(ask("Too often.")))
    yield caught(lambda: list(provider.stream(ask("Cut off."))))
    embedded = provider.embed(EmbeddingRequest(texts=("a", "b"), model="gemini-embedding-001"))
    yield embedded.usage, embedded.model, embedded.vectors.dtype, embedded.vectors.tolist()


@needs_genai
def test_what_the_real_sdk_was_answered_is_replayed_without_it(
    gemini_server: GeminiServer, path: Path
) -> None:
    gemini_server.script(
        replies.answer("First.", thoughts_tokens=9),
        replies.answer("Second."),
        replies.answer("Third."),
        replies.answer("Some pieces of a stream."),
        replies.answer("Other pieces of it."),
    )
    gemini_server.script(replies.rate_limited("7s"), marker="Too often")
    gemini_server.script(replies.cut("clean", 1), marker="Cut off")
    with override_ai(cassette=path, PROVIDERS=google(gemini_server)):
        recorded = list(everything())
    asked = len(gemini_server.journal)
    assert asked == len(recorded) == 9
    for mode in ("once", "none", "new_episodes"):
        with override_ai(cassette=Cassette(path, mode=mode), PROVIDERS=google()):
            assert list(everything()) == recorded, mode
    assert len(gemini_server.journal) == asked
    assert [each["class"] for each in recorded if isinstance(each, dict)] == [
        RateLimitError, StreamInterruptedError,
    ]  # fmt: skip
    assert KEY not in path.read_text()


# --- the rest records a scripted provider: a cassette knows nothing of SDKs


def scripted(*script: Any, **options: Any) -> dict[str, Any]:
    return {"default": entry(ScriptedProvider, script=list(script), **options)["default"]}


def record(path: Any, *script: Any, prompts: Sequence[str] = ("Where?",), **options: Any) -> Any:
    with override_ai(cassette=path, PROVIDERS=scripted(*script, **options)):
        return [providers["default"].generate(ask(each)).text for each in prompts]


@pytest.mark.django_db
def test_a_whole_call_costs_the_same_from_the_cassette(path: Path) -> None:
    """Prices, retries and rows are the gateway's: it does not notice."""
    settings = {
        "PRICES": {"scripted": {"input_usd": "1", "output_usd": "4"}},
        "RETRY": {"attempts": 2, "deadline_seconds": 30},
    }
    script = [
        RateLimitError(retry_after_seconds=0),
        Reply("Yes.", usage=USAGE),
    ]
    found = []
    for provider in (scripted(*script), scripted("never asked")):
        with override_ai(cassette=path, PROVIDERS=provider, **settings):
            result = TextService().generate_text("Is it?", use_cache=False)
            row = AIOperation.objects.get(pk=result.operation_id)
            found.append((result.text, result.usage, row.cost_usd, row.attempts))
    assert found[0] == found[1] == ("Yes.", USAGE, Decimal("0.000019"), 2)


def test_what_is_not_on_the_cassette_says_what_to_do_and_quotes_nothing(path: Path) -> None:
    record(path, "Here.", prompts=["Where is Amina?"])
    with override_ai(cassette=path, PROVIDERS=scripted("never asked")):
        with pytest.raises(CassetteError) as found:
            providers["default"].generate(ask("Where is Omar?", system="Be brief."))
    told = str(found.value)
    assert "differs in prompt, system." in told
    assert str(path) in told and f"{MODE_VARIABLE}=new_episodes" in told
    assert not {"Amina", "Omar", "brief"} & set(re.findall(r"\w+", told))


def test_a_request_is_answered_as_often_as_it_was_recorded(path: Path) -> None:
    assert record(path, "one", "two", prompts=["Q", "Q"]) == ["one", "two"]
    assert record(path, "never", prompts=["Q", "Q"]) == ["one", "two"]
    with pytest.raises(CassetteError, match="holds 2 of this request, and all were played"):
        record(path, "never", prompts=["Q", "Q", "Q"])


def test_another_model_or_kind_of_call_is_another_request(path: Path) -> None:
    record(path, "one", model="small")
    with pytest.raises(CassetteError, match=r"model 'large'.* differs in model\."):
        record(path, "never", model="large")
    with override_ai(cassette=path, PROVIDERS=scripted("never", model="small")):
        with pytest.raises(CassetteError, match="holds no such call"):
            list(providers["default"].stream(ask()))


def test_modes(path: Path) -> None:
    with pytest.raises(CassetteError, match="there is no such file"):
        record(Cassette(path, mode="none"), "never")
    assert record(path, "one") == ["one"]
    assert record(Cassette(path, mode="once"), "never") == ["one"]
    both = ["Where?", "When?"]
    assert record(Cassette(path, mode="new_episodes"), "new", prompts=both) == ["one", "new"]
    assert record(Cassette(path, mode="none"), "never", prompts=both) == ["one", "new"]
    assert record(Cassette(path, mode="all"), "other") == ["other"]
    assert record(path, "never", prompts=both) == ["other", "new"]
    assert len(json.loads(path.read_text())["calls"]) == 2


def test_the_environment_names_the_mode_and_a_wrong_one_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MODE_VARIABLE, "none")
    with pytest.raises(CassetteError):
        record(path, "never")
    monkeypatch.setenv(MODE_VARIABLE, "always")
    with pytest.raises(ValueError, match=r"no cassette mode 'always'\. There are 'once'"):
        Cassette(path)


def test_a_script_beside_a_cassette_and_nothing_to_record_are_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="a script or a cassette"):
        override_ai(["one"], cassette=path)
    with override_settings(OBC_AI={}), pytest.raises(CassetteError, match="no provider that"):
        override_ai(cassette=path).enable()


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"format": 99, "calls": []}', '{"format": 1, "calls": [{}]}']
)
def test_a_file_that_is_no_cassette_is_told(path: Path, content: str) -> None:
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(CassetteError, match="is no cassette of this version"):
        override_ai(cassette=path, PROVIDERS=scripted("never")).enable()


def test_an_edited_recording_is_told_unless_it_still_is_one(path: Path) -> None:
    record(path, "one")
    path.write_text(path.read_text().replace('"one"', '"an edited answer"'))
    assert record(path, "never") == ["an edited answer"]
    path.write_text(path.read_text().replace('"finish_reason"', '"finnish"'))
    with pytest.raises(CassetteError, match="holds a recording that cannot be read"):
        record(path, "never")


def test_a_stream_closed_early_is_kept_as_far_as_it_was_read(path: Path) -> None:
    for script in ([Reply(chunks=["a ", "b ", "c"])], ["never"]):
        with override_ai(cassette=path, PROVIDERS=scripted(*script)):
            stream = providers["default"].stream(ask())
            assert [next(stream).text, next(stream).text] == ["a ", "b "]
            stream.close()
    with override_ai(cassette=path, PROVIDERS=scripted("never")):
        with pytest.raises(CassetteError, match="closed by its reader"):
            list(providers["default"].stream(ask()))


def test_half_characters_survive(path: Path) -> None:
    assert record(path, "half \ud83d") == record(path, "never") == ["half \ud83d"]


@pytest.mark.django_db
class DecoratedTests(TestCase):
    @override_ai(
        cassette=Path(__file__).parent / "cassettes" / "committed.json",
        PROVIDERS=scripted("never asked"),
    )
    def test_a_committed_file_of_the_first_format_is_read_for_ever(self) -> None:
        result = TextService().generate_text("What is the capital?")
        self.assertEqual((result.text, result.usage.output_tokens), ("Manila.", 2))


def test_processes_that_record_into_one_file_lose_nothing(path: Path) -> None:
    given = {"path": str(path), "OBC_AI": {"PROVIDERS": scripted("A", "B")}}
    asked = run_together("tests.testing.record_in_process", given, count=6)
    assert len(asked) == 12 and len({*asked}) == 7
    held = Counter(each["request"]["prompt"] for each in json.loads(path.read_text())["calls"])
    assert held == Counter({*asked})
    assert [each.name for each in path.parent.iterdir()] == ["one.json"]  # nothing beside it
