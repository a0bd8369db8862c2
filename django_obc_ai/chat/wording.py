"""What chat says by itself, in English and in Filipino."""

from __future__ import annotations

from typing import Final, Literal, cast

from django_obc_ai.chat.messages import READ_ONLY
from django_obc_ai.exceptions import DangerousQuery
from django_obc_ai.types.chat import QueryResult

Phrase = Literal[
    "read_only", "refused", "not_understood", "found", "not_found", "budget", "busy", "blocked",
    "failed", "from_rows", "empty", "too_long", "too_slow", "no_answer", "no_source", "markup",
    "claim", "foreign_numbers", "cut", "no_search",
]  # fmt: skip
_PHRASES: Final[dict[str, dict[Phrase, str]]] = {
    "en": {
        "read_only": READ_ONLY,
        "refused": "I cannot answer that: it asks for something that I may not look up.",
        "not_understood": "I did not understand that. Ask for a count, a list, the highest or"
        " lowest, or a breakdown, in other words.",
        "found": "These fit best:",
        "not_found": "I found nothing that fits.",
        "budget": "The budget for answers is used up for now. Your question is kept; please try"
        " again later.",
        "busy": "The language model cannot be reached right now. Your question is kept; please try"
        " again in a moment.",
        "blocked": "The language model declined this question. Please put it in other words.",
        "failed": "The question could not be answered because of a technical fault. It is kept.",
        "from_rows": "This is what the data say:",
        "empty": "The message is empty.",
        "too_long": "The message has more than {amount} characters. Ask a shorter question.",
        "too_slow": "The question takes the database longer than {amount} seconds. Ask for less.",
        "no_answer": "The database cannot calculate that; its figures are too large.",
        "no_source": "The answer named sources that do not exist: {amount}. They were removed.",
        "markup": "The answer held links or markup, which are shown as plain text.",
        "claim": "The answer says that something was done. Nothing was: chat only reads.",
        "foreign_numbers": "The data do not hold these numbers of the answer: {amount}.",
        "cut": "The answer was cut at its token limit.",
        "no_search": "Texts could not be searched; the answer rests on rows alone.",
    },
    "tl": {
        "read_only": f"{READ_ONLY} Makapagbabasa lang ako ng datos; hindi ko ito mababago.",
        "refused": "Hindi ko ito masasagot: humihingi ito ng bagay na hindi ko maaaring tingnan.",
        "not_understood": "Hindi ko ito naunawaan. Magtanong po ng bilang, listahan, pinakamataas"
        " o pinakamababa, o paghahati-hati, sa ibang salita.",
        "found": "Ito ang mga pinakamalapit:",
        "not_found": "Wala akong nakitang tugma.",
        "budget": "Ubos na muna ang badyet para sa mga sagot. Nakatago ang tanong mo; subukan"
        " muli mamaya.",
        "busy": "Hindi maabot ang language model ngayon. Nakatago ang tanong mo; subukan muli"
        " maya-maya.",
        "blocked": "Tinanggihan ng language model ang tanong. Itanong po ito sa ibang salita.",
        "failed": "Hindi nasagot ang tanong dahil sa problemang teknikal. Nakatago ito.",
        "from_rows": "Ito ang sinasabi ng datos:",
        "empty": "Walang laman ang mensahe.",
        "too_long": "Mahigit {amount} karakter ang mensahe. Magtanong nang mas maikli.",
        "too_slow": "Lampas {amount} segundo ang kailangan ng database para rito. Bawasan po ang"
        " hinihingi.",
        "no_answer": "Hindi ito makalkula ng database; masyadong malaki ang mga bilang.",
        "no_source": "May binanggit na pinagkunan na wala naman: {amount}. Inalis ang mga ito.",
        "markup": "May link o markup ang sagot; ipinapakita ito bilang payak na teksto.",
        "claim": "Sinasabi ng sagot na may ginawa ito. Wala: nagbabasa lang ng datos ang chat.",
        "foreign_numbers": "Wala sa datos ang mga bilang na ito ng sagot: {amount}.",
        "cut": "Naputol ang sagot dahil sa limitasyon ng haba.",
        "no_search": "Hindi nahanap ang mga teksto; sa mga hanay lang nakabatay ang sagot.",
    },
}
_FAILURES: Final[dict[str, Phrase]] = {
    "budget_exceeded": "budget",
    "quota_exhausted": "busy",
    "rate_limited": "busy",
    "transient": "busy",
    "timeout": "busy",
    "stream_interrupted": "busy",
    "content_blocked": "blocked",
}


def say(phrase: Phrase, language: str, amount: str = "") -> str:
    """Return a phrase in a language, in English if there is no other; some hold an amount."""
    return _PHRASES.get(language, _PHRASES["en"])[phrase].replace("{amount}", amount)


def say_refusal(error: DangerousQuery, language: str) -> str:
    """Return what a person is told of a message or plan that was refused."""
    if not error.phrase:
        return str(error)
    return say(cast("Phrase", error.phrase), language, error.amount)


def say_count(result: QueryResult, language: str) -> str:
    """Return how many rows there are: "3 rows", "100 of 120 rows"."""
    noun, of = ("hanay", "sa") if language == "tl" else ("rows", "of")
    shown, total = len(result.rows), result.total
    return f"{shown} {noun}" if total in (None, shown) else f"{shown} {of} {total} {noun}"


def say_failure(code: str, language: str) -> str:
    """Return what a person is told about a failure of that category."""
    return say(_FAILURES.get(code, "failed"), language)
