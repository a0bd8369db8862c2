"""Words to avoid about Bangsamoro and Indigenous communities; see `contexts.bangsamoro`."""

from __future__ import annotations

from django_obc_ai.contexts.terms import TermRule

_PEOPLE = (
    "people|peoples|community|communities|culture|cultures|custom|customs|tradition|traditions"
    "|practice|practices|ritual|rituals|dress|costume|costumes|race|races|group|groups|tribe|tribes"
    "|native|natives|villager|villagers|warrior|warriors|moro|moros|muslim|muslims|lumad"
)

#: In this order: phrases before the single words they contain.
RULES = (
    TermRule(
        pattern="non christian tribes?",
        reason="A label of the colonial administration that defines peoples by what they are not.",
        suggestion="Name the people, or write Indigenous Peoples (IPs) or Bangsamoro.",
    ),
    TermRule(
        pattern=(
            "(?:muslim|moro|bangsamoro|islamic)"
            " (?:rebel|terrorist|bandit|outlaw|extremist|pirate)s?"
        ),
        reason="Ties a people or a faith to violence.",
        suggestion="Name the armed group or describe the act.",
    ),
    TermRule(
        pattern="(?:muslim|moro) problem",
        reason="A colonial phrase that makes a people itself the problem.",
        suggestion="Write Bangsamoro question, the conflict in Mindanao, or the peace process.",
        is_also_name=True,
    ),
    TermRule(
        pattern="moro moros?",
        reason="A stage form that shows Moros as villains, and in daily speech a word for a sham.",
        suggestion="Write sham or pretence; for the stage form, komedya.",
        unless_after="plays?|performances?|theatre|theater|komedya|comedia",
        is_also_name=True,
    ),
    TermRule(
        pattern="sea gyps(?:y|ies)",
        reason="An outsiders' label for a people with its own name.",
        suggestion="Write Sama Dilaut, or Badjao where the community uses it.",
    ),
    TermRule(
        pattern="cultural minorit(?:y|ies)",
        reason="Replaced in law: RA 8371 speaks of peoples with rights, not of minorities.",
        suggestion="Write Indigenous Cultural Communities/Indigenous Peoples (ICCs/IPs).",
    ),
    TermRule(
        pattern="trib(?:es?|als?|es(?:man|men|woman|women|people))",
        reason="Heard as belittling, and inexact for peoples with their own names and states.",
        suggestion="Write community, people or ethnolinguistic group, or name it.",
        unless_before="indigenous(?: and| or|/)",
    ),
    TermRule(
        pattern="trib[ou](?:ng)?",
        reason="The Filipino words for tribe, heard as belittling in the same way.",
        suggestion="Write katutubo, katutubong pamayanan or pangkat etniko, or name the people.",
        is_also_name=True,
    ),
    TermRule(
        pattern="backward(?:s|ness)?",
        reason="Ranks peoples on a scale of progress.",
        suggestion="Name the lack that is meant, for example underserved or without road access.",
        unless_before=(
            "steps?|stepp(?:ed|ing)|mov(?:e|es|ed|ing)|go|goes|going|went|look(?:s|ed|ing)?"
            "|walk(?:s|ed|ing)?|fall(?:s|ing)?|fell|lean(?:s|ed|ing)?|ben(?:d|t|ding)(?: over)?"
            "|count(?:s|ed|ing)?|work(?:s|ed|ing)?|roll(?:s|ed|ing)?|forwards? (?:and|or)"
        ),
        unless_after=(
            "compatib(?:le|ility)|linkages?|integration|integrated|induction|pass|propagation"
            "|chaining|looking|slash(?:es)?|curve|(?:and|or) forwards?"
        ),
    ),
    TermRule(
        pattern="primitives?",
        reason="Ranks peoples on a scale of progress.",
        suggestion="Write traditional or long-established, or describe the practice.",
        unless_before="cryptographic|geometric|drawing|graphics?|synchroni[sz]ation|language",
        unless_after="types?|data|values?|cells?|roots?|recursive|equipment|tools?|operations?",
    ),
    TermRule(
        pattern=(
            "uncivili[sz]ed|savages|barbarians?"
            f"|(?:savage|barbaric|barbarous|warlike|bloodthirsty|fanatical)(?= (?:{_PEOPLE})\\b)"
        ),
        reason="A colonial stereotype.",
        suggestion="Leave it out, or describe what happened and who did it.",
    ),
    TermRule(
        pattern=f"exotic(?= (?:{_PEOPLE})\\b)",
        reason="Makes a living culture a curiosity.",
        suggestion="Name the people and the practice.",
    ),
    TermRule(
        pattern="heathens?|pagans?|paganism",
        reason="Judges indigenous religions from outside.",
        suggestion="Write indigenous religion or indigenous belief, or name it.",
        is_also_name=True,
    ),
    TermRule(
        pattern="moslems?|m[ou]hamm?[ae]dan(?:s|ism)?",
        reason="Outdated; the second also suggests that Muslims worship Muhammad.",
        suggestion="Write Muslim or Muslims, and Islam for the religion.",
    ),
    TermRule(
        pattern="infidels?",
        reason="An insult to people of another faith.",
        suggestion="Write non-Muslims, or name the faith.",
    ),
    TermRule(
        pattern="juramentados?",
        reason="A Spanish colonial label for Moro attackers.",
        suggestion="Describe the event; keep the word to quotations from the period.",
    ),
    TermRule(
        pattern="natives",
        reason="Colonial usage for the colonised.",
        suggestion="Write residents, original inhabitants, or name the people.",
        unless_after="of|or original inhabitants|and immigrants",
    ),
)
