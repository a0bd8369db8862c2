from __future__ import annotations

import asyncio
import json

import pytest
from django.test import SimpleTestCase

from django_obc_ai.backends.providers import _offline_text as reading
from django_obc_ai.backends.providers.base import BaseProvider
from django_obc_ai.backends.providers.offline import (
    HOW_TO_CONFIGURE,
    LABEL,
    OfflineProvider,
)
from django_obc_ai.exceptions import InvalidRequestError
from django_obc_ai.testing.provider_contract import ProviderContract
from django_obc_ai.types import GenerationRequest, Message, Source


class OfflineProviderContractTests(ProviderContract, SimpleTestCase):
    def make_provider(self) -> BaseProvider:
        return OfflineProvider()


def barangay(name: str, municipality: str, province: str, setting: str = "rural") -> Source:
    return Source(
        title=f"{name}, {municipality}",
        text=f"Barangay {name}, {municipality}, {province}, population 1,234, {setting}",
    )


BARANGAYS = (
    barangay("Poblacion", "Malabang", "Lanao del Sur"),
    barangay("Poblacion", "Pandag", "Maguindanao del Sur"),
    barangay("Poblacion", "Balabagan", "Lanao del Sur", "urban"),
    barangay("Poblacion I", "Upi", "Maguindanao del Norte"),
    barangay("Pob. Norte", "Lumba-Bayabao", "Lanao del Sur"),
    barangay("Poblacion", "Kapatagan", "Lanao del Sur"),
)
ESSAY = (
    Source(
        title="Maratabat",
        text="Maratabat is honour and standing. It is shared by kin.\nIt is not rido!",
    ),
    Source(
        text="Fishing families in Bongao sell seaweed.\n"
        "- The port of Bongao needs repair; the pier was damaged in 2021.\n"
        "• Clean water is scarce."
    ),
)


def answer(prompt: str, *sources: Source, **options: int) -> str:
    request = GenerationRequest(prompt=prompt, sources=sources)
    return OfflineProvider(**options).generate(request).text


# --- quoting ---------------------------------------------------------------------------------


def test_best_sentence_is_quoted_word_for_word_with_its_number() -> None:
    text = answer("What happened to the pier?", *ESSAY)
    assert "- The port of Bongao needs repair; the pier was damaged in 2021. [2]" in text


def test_answer_says_first_that_it_is_offline_and_that_no_model_was_used() -> None:
    assert answer("What about the pier?", *ESSAY).startswith(LABEL)
    assert "no language model was used" in LABEL


def test_quotes_stand_in_source_order_whatever_their_rank() -> None:
    sources = (
        Source(text="The pier stands by the port. It is old."),
        Source(text="A ferry waits. Port pier repairs began; the port pier reopened."),
    )
    assert reading.rank(["port", "pier"], reading.split_passages(sources))[0].passage.number == 2
    assert answer("Port pier?", *sources).splitlines()[2:] == [
        "- The pier stands by the port. [1]",
        "- Port pier repairs began; the port pier reopened. [2]",
    ]


def test_title_is_named_where_the_quote_does_not_hold_it() -> None:
    assert "- Maratabat: It is shared by kin. [1]" in answer("Who shares by kin?", *ESSAY)


def test_same_text_in_two_sources_is_quoted_once_with_both_numbers() -> None:
    text = answer("Where is the school?", Source(text="The school is new."), *ESSAY[:1])
    assert "- The school is new. [1]" in text
    double = [Source(text="The school is new.", title=name) for name in ("One", "Two")]
    assert "- The school is new. [1][2]" in answer("Where is the school?", *double)


@pytest.mark.parametrize("limit", [1, 2])
def test_max_sentences_bounds_the_quotes(limit: int) -> None:
    source = Source(text="Rice grows here. Rice grows there. Rice grows far away.")
    text = answer("Does rice grow?", source, max_sentences=limit)
    assert text.count("[1]") == limit


def test_case_accents_apostrophes_and_plurals_do_not_hide_a_match() -> None:
    source = Source(
        text="Ang Barangay Santo Niño ay malapit. May mga shari\u2019ah courts at cities."
    )
    assert "Niño" in answer("Saan ang SANTO NINO?", source)
    assert "courts" in answer("Is there a Shariah court?", source)
    assert "cities" in answer("Which city?", source)


def test_filipino_stop_words_do_not_match() -> None:
    text = answer(
        "Ano ang tungkol sa mga ito?", Source(text="Ang palay ay itinatanim sa mga bukid.")
    )
    assert "names nothing to look for" in text


def test_words_that_no_source_holds_are_named() -> None:
    assert "Not found in the sources: seaport." in answer("The pier at the seaport?", *ESSAY)
    assert "Not found" not in answer("The pier?", *ESSAY)


def test_long_instructions_do_not_list_missing_words() -> None:
    prompt = "pier " + " ".join(f"instruction{number}" for number in range(40))
    assert "Not found" not in answer(prompt, *ESSAY)


def test_numbers_match_with_and_without_separators() -> None:
    assert "1,234" in answer("Who has 1234?", *BARANGAYS[:1])


def test_arabic_and_emoji_are_quoted_unchanged() -> None:
    source = Source(text="مرحبا بكم في مراوي. 🌾 Rice day!")
    assert "مرحبا بكم في مراوي. [1]" in answer("مراوي؟", source)
    assert "🌾 Rice day! [1]" in answer("rice", source)


def test_history_and_system_do_not_change_what_is_quoted() -> None:
    plain = GenerationRequest(prompt="The pier?", sources=ESSAY)
    rich = GenerationRequest(
        prompt="The pier?",
        sources=ESSAY,
        system="Speak of honour.",
        history=(Message(role="user", text="Maratabat?"),),
        temperature=2.0,
    )
    provider = OfflineProvider()
    assert provider.generate(rich).text == provider.generate(plain).text
    assert provider.count_tokens(rich) > provider.count_tokens(plain)


# --- lists -----------------------------------------------------------------------------------


def test_question_for_a_list_quotes_every_source_that_fits_best() -> None:
    prompt = "Which coastal barangays named Poblacion are in Lanao del Sur?"
    assert answer(prompt, *BARANGAYS).splitlines() == [
        LABEL,
        "",
        "3 of the 6 given sources fit the question best:",
        "- Barangay Poblacion, Malabang, Lanao del Sur, population 1,234, rural [1]",
        "- Barangay Poblacion, Balabagan, Lanao del Sur, population 1,234, urban [3]",
        "- Barangay Poblacion, Kapatagan, Lanao del Sur, population 1,234, rural [6]",
        "Not found in the sources: coastal.",
    ]


def test_filipino_question_for_a_list_is_understood_as_one() -> None:
    text = answer("Aling mga barangay ang nasa Lanao del Sur?", *BARANGAYS)
    assert "4 of the 6 given sources fit" in text


def test_how_many_tells_how_many_sources_fit() -> None:
    text = answer("How many urban barangays are there?", *BARANGAYS)
    assert "1 of the 6 given sources fits the question best:" in text


def test_long_list_is_bounded_and_says_so() -> None:
    sources = [Source(text=f"School number {number} in Marawi") for number in range(20)]
    text = answer("List the schools in Marawi", *sources)
    assert "20 of the 20 given sources fit the question best; here are 12:" in text
    assert text.count("- School") == 12
    assert answer("List the schools in Marawi", *sources, max_sentences=15).count("- School") == 15


def test_list_counts_sources_with_the_same_text() -> None:
    text = answer("List schools", *[Source(text="A school")] * 3)
    assert "3 of the 3 given sources" in text
    assert text.endswith("- A school [1][2][3]")


def test_single_source_is_not_introduced_as_a_list() -> None:
    assert "given sources fit" not in answer("List the families", ESSAY[1])


def test_without_sources_it_says_so_and_how_to_get_a_model() -> None:
    for sources in ((), (Source(text=" \n "),)):
        text = answer("Hello", *sources)
        assert "no language model was used" in text
        assert "without sources" in text
        assert text.endswith(HOW_TO_CONFIGURE)


@pytest.mark.parametrize(
    ("sources", "said"), [(ESSAY, "any of the 2 given sources"), (ESSAY[:1], "the given source,")]
)
def test_without_a_match_it_says_so(sources: tuple[Source, ...], said: str) -> None:
    text = answer("Quantum chromodynamics?", *sources)
    assert said in text
    assert "no language model was used" in text
    assert "[1]" not in text


def test_prompt_that_names_nothing_gets_the_openings_of_the_sources() -> None:
    text = answer("Summarise the sources", *ESSAY, *BARANGAYS)
    assert "- Maratabat is honour and standing. [1]" in text
    assert "- Fishing families in Bongao sell seaweed. [2]" in text
    assert text.count("\n- ") == 3


def test_source_with_a_title_alone_is_quoted_by_its_title() -> None:
    assert "- Poblacion, Malabang [1]" in answer(
        "Malabang?", Source(title="Poblacion, Malabang", text="")
    )


# --- tokens, bounds, streams -----------------------------------------------------------------


def test_tokens_are_runs_of_word_characters_and_single_other_characters() -> None:
    assert reading.count_tokens("Barangay Niño, 1,234!") == 7
    assert reading.count_tokens(" \n") == 0
    assert OfflineProvider().count_tokens(GenerationRequest(prompt="Hello, world")) == 3
    assert OfflineProvider().count_tokens(GenerationRequest(prompt=" ")) == 1


def test_usage_is_the_providers_own_exact_count() -> None:
    request = GenerationRequest(prompt="The pier?", sources=ESSAY)
    response = OfflineProvider().generate(request)
    assert response.usage.is_exact
    assert response.usage.input_tokens == OfflineProvider().count_tokens(request)
    assert response.usage.output_tokens == reading.count_tokens(response.text)
    assert response.finish_reason == "stop"


def test_answer_is_cut_at_the_bound_of_the_request_or_else_of_the_provider() -> None:
    request = GenerationRequest(prompt="The pier?", sources=ESSAY, max_output_tokens=4)
    for response in (
        OfflineProvider().generate(request),
        OfflineProvider(max_output_tokens=4).generate(
            GenerationRequest(prompt="The pier?", sources=ESSAY)
        ),
    ):
        assert response.text == "Offline answer: quoted"
        assert response.finish_reason == "length"
        assert response.usage.output_tokens == 4


def test_model_is_the_one_asked_for_or_the_providers_own() -> None:
    request = GenerationRequest(prompt="The pier?", model="other")
    assert OfflineProvider().generate(request).model == "other"
    assert OfflineProvider().generate(GenerationRequest(prompt="?")).model == "offline-extractive"
    named = OfflineProvider(model="quotes")
    assert named.generate(GenerationRequest(prompt="?")).model == "quotes"


def test_stream_gives_one_word_at_a_time() -> None:
    request = GenerationRequest(prompt="The pier?", sources=ESSAY)
    chunks = list(OfflineProvider().stream(request))
    assert len(chunks) > 10
    assert all(len(chunk.text.split()) == 1 for chunk in chunks)
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)


def test_async_stream_is_the_stream() -> None:
    request = GenerationRequest(prompt="The pier?", sources=ESSAY)

    async def collect() -> list[object]:
        return [chunk async for chunk in OfflineProvider().astream(request)]

    assert asyncio.run(collect()) == list(OfflineProvider().stream(request))


def test_capabilities_are_declared() -> None:
    provider = OfflineProvider()
    assert provider.is_free
    assert provider.is_offline
    assert not provider.requires_api_key
    assert provider.check("OBC_AI['PROVIDERS']['default']") == []


@pytest.mark.parametrize("name", ["max_output_tokens", "max_sentences"])
def test_numbers_below_one_are_refused_at_construction(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1"):
        OfflineProvider(**{name: 0})


@pytest.mark.parametrize(
    "request_",
    [GenerationRequest(prompt=" \n"), GenerationRequest(prompt="?", max_output_tokens=0)],
)
def test_unusable_requests_are_refused(request_: GenerationRequest) -> None:
    with pytest.raises(InvalidRequestError):
        OfflineProvider().generate(request_)
    with pytest.raises(InvalidRequestError):
        next(OfflineProvider().stream(request_))


def test_schema_is_answered_with_json_of_the_sources() -> None:
    schema = {"type": "object", "properties": {"population": {"type": "integer"}}}
    request = GenerationRequest(prompt="Malabang?", sources=BARANGAYS, response_schema=schema)
    response = OfflineProvider().generate(request)
    assert json.loads(response.text) == {"population": 1234}
    assert response.finish_reason == "stop"


def test_json_is_made_smaller_to_fit_the_bound_and_never_cut() -> None:
    schema = {
        "type": "object",
        "properties": {"summary": {"type": "string"}, "note": {"type": "string"}},
        "required": ["summary"],
    }
    request = GenerationRequest(
        prompt="Pier?", sources=ESSAY, response_schema=schema, max_output_tokens=9
    )
    response = OfflineProvider().generate(request)
    assert json.loads(response.text) == {"summary": ""}
    assert response.usage.output_tokens <= 9


def test_json_that_cannot_fit_the_bound_is_refused() -> None:
    request = GenerationRequest(
        prompt="Pier?", response_schema={"type": "string"}, max_output_tokens=1
    )
    with pytest.raises(InvalidRequestError, match="takes 2 tokens and max_output_tokens allows 1"):
        OfflineProvider().generate(request)


def test_schema_that_cannot_be_filled_is_refused_with_the_reason() -> None:
    request = GenerationRequest(prompt="Pier?", response_schema={"type": "string", "pattern": "x"})
    with pytest.raises(InvalidRequestError, match="'pattern' is not supported"):
        OfflineProvider().generate(request)


def test_same_request_gets_the_same_answer_from_many_providers() -> None:
    request = GenerationRequest(prompt="List schools in Lanao", sources=BARANGAYS)
    assert len({OfflineProvider().generate(request).text for _ in range(5)}) == 1
