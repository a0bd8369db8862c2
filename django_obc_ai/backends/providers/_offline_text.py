"""How the offline provider reads text: tokens, words, passages and their word overlap.

Nothing here understands language. Words are compared after folding case, accents,
apostrophes and English plurals; rare words weigh more than common ones (idf over the
passages at hand). Everything is deterministic.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from django_obc_ai.types import GenerationRequest, Source

#: The offline provider's rule for a token: a run of letters, digits and underscores is
#: one, and so is every other character that is not white space. A token has at least
#: one byte, so `BaseProvider.bound_tokens` stays above the count.
TOKEN = re.compile(r"\w+|[^\w\s]")
#: Longest passage that is quoted, in characters; longer sentences are quoted in parts.
MAX_PASSAGE_CHARACTERS = 400

_WORD = re.compile(r"\d+(?:[.,]\d+)+|\w+")
_APOSTROPHE = re.compile(r"(?<=\w)['’‘ʼ`](?=\w)")  # noqa: RUF001 - as people type them
_SENTENCE_END = re.compile(r"[.!?…؟۔।]+[\"'”’»)\]]*(?=\s)|[。！？]+[」』”’）]*")  # noqa: RUF001 - all scripts
_BULLET = re.compile(r"^[-*•–]\s+")  # noqa: RUF001 - people type an en dash as a bullet
_LAST_WORD = re.compile(r"(\w+)\.[\"'”’»)\]]*$")  # noqa: RUF001 - a closing curly quote
_ABBREVIATIONS = frozenset(
    """
    atty bgy brgy capt col corp dr dra eg engr fr gen gov hon ie inc jr lt mr mrs ms mt mts pob
    prof prov rev sen sgt sr st sta sto vs
    """.split()  # noqa: SIM905 - a list of words is read as prose
)
_NUMBERED = frozenset({"art", "no", "nos", "p", "par", "pp", "sec", "secs", "vol"})
_TITLE_WEIGHT = 0.4
_NEIGHBOUR_WEIGHT = 0.5

#: Words that say nothing about the subject: English, Filipino, the glue of Spanish place
#: names, and the words people use to instruct an assistant.
STOP_WORDS = frozenset(
    """
    a about above after again all also am an and any are as at be because been before being
    below between both but by can could did do does doing down during each few for from
    further had has have having he her here hers him his how i if in into is it its itself
    just kindly me more most my no nor not of off on once only or other our out over own
    please same she should so some such than that the their them then there these they this
    those through to too under until up us very was we were what when where which while who
    whom whose why will with would you your
    answer answers call called count describe explain find following give information list
    many mention mentioned much name named names number overview provide question say show
    source sources state summarise summarize summary tell text
    aking alin aling amin aming ang ano anong anu at atin ating ay ba bakit bang bawat bilang
    dahil daw din dito diyan doon gaano hanggang hindi huwag iba ikaw ilan ilang inyo inyong
    isa isang ito iyan iyon ka kami kanila kanilang kanya kanyang kapag kasi kay kaya kayo
    kina ko kung lahat lamang lang magkano may mayroon meron mga mo mula na namin nang nasa
    nasaan natin ng nga ni nila nina ninyo nito niya niyon nya o opo pa paano para pero po
    raw rin sa saan saang si sila sina sino sinong siya subalit tayo tungkol ukol wala yan
    yun
    buod ibigay ibuod ilarawan ilista ipaliwanag pangalan sabihin sagutin
    de del el la las los y
    """.split()  # noqa: SIM905 - as above
)
_LISTING = re.compile(
    r"(?:^|[\s.?!:;,])(?:which|list|name all|show all|how many|count|all the|every|"
    r"alin|alin-alin|aling|anu-ano|sinu-sino|ilan|ilang|ilista|lahat)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One sentence or line of a source, word for word, with what it is compared by."""

    number: int
    position: int
    title: str
    text: str
    terms: frozenset[str]
    title_terms: frozenset[str]
    neighbours: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPassage:
    """A passage that shares words with a question; a higher score is better."""

    passage: Passage
    score: float


def count_tokens(text: str) -> int:
    """Return the number of tokens by the rule of `TOKEN`."""
    return sum(1 for _ in TOKEN.finditer(text))


def count_request_tokens(request: GenerationRequest) -> int:
    """Return the tokens of everything a request sends, at least 1."""
    texts = [request.system, request.render_prompt(), *(m.text for m in request.history)]
    if request.response_schema is not None:
        texts.append(str(request.response_schema))
    return max(1, sum(count_tokens(text) for text in texts))


def cut_tokens(text: str, limit: int) -> tuple[str, bool]:
    """Return at most ``limit`` tokens of the text and whether anything was cut."""
    end = 0
    for number, match in enumerate(TOKEN.finditer(text)):
        if number == limit:
            return text[:end], True
        end = match.end()
    return text, False


def split_words(text: str) -> list[str]:
    """Return the words with the white space that follows them; joined, they are the text."""
    return re.findall(r"\s*\S+\s*", text) or ([text] if text else [])


def fold(text: str) -> str:
    """Return the text without case, accents and inner apostrophes (Niño = nino)."""
    bare = _APOSTROPHE.sub("", unicodedata.normalize("NFKD", text))
    return "".join(c for c in bare.casefold() if unicodedata.category(c) != "Mn")


def read_words(text: str) -> list[str]:
    """Return the folded words in order; numbers lose their thousands separators."""
    return [each.replace(",", "") for each in _WORD.findall(fold(text))]


def stem(word: str) -> str:
    """Return the English singular of a folded word, roughly; other words unchanged."""
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1]


def read_terms(text: str) -> list[str]:
    """Return the stems of the words that carry meaning, in order, with repeats."""
    return [
        stem(word)
        for word in read_words(text)
        if word not in STOP_WORDS and (len(word) > 1 or not word.isascii() or word.isdigit())
    ]


def is_listing(question: str) -> bool:
    """Return whether the question asks for several things rather than for one."""
    return _LISTING.search(question) is not None


def split_sentences(text: str) -> Iterator[str]:
    """Yield sentences or lines word for word, none longer than a passage may be."""
    for line in text.splitlines():
        rest = _BULLET.sub("", line.strip())
        start = 0
        for match in _SENTENCE_END.finditer(rest):
            if _is_abbreviation(rest[start : match.end()], rest[match.end() :].lstrip()):
                continue
            yield from _parts(rest[start : match.end()].strip())
            start = match.end()
        yield from _parts(rest[start:].strip())


def _is_abbreviation(before: str, after: str) -> bool:
    """Return whether a full stop belongs to "Sto. Niño", "J. Rizal" or "No. 5"."""
    last = _LAST_WORD.search(before)
    if last is None:
        return False
    word = last[1].casefold()
    if word in _NUMBERED:
        return after[:1].isdigit()
    is_initial = len(word) == 1 and last[1].isupper()
    return word in _ABBREVIATIONS or is_initial or after[:1].islower()


def _parts(sentence: str) -> Iterator[str]:
    while len(sentence) > MAX_PASSAGE_CHARACTERS:
        window = sentence[:MAX_PASSAGE_CHARACTERS]
        found = (window.rfind(mark) + 1 for mark in ("; ", ", ", " "))
        cut = next((at for at in found if at > 0), MAX_PASSAGE_CHARACTERS)
        yield sentence[:cut].strip()
        sentence = sentence[cut:].strip()
    if sentence:
        yield sentence


def split_passages(sources: Iterable[Source]) -> list[Passage]:
    """Return the passages of all sources in order, numbered by source from 1.

    A source that has a title and no text is one passage, its title.
    """
    found: list[Passage] = []
    for number, source in enumerate(sources, start=1):
        title = " ".join(source.title.split())
        title_terms = frozenset(read_terms(title))
        for text in [*split_sentences(source.text)] or [title]:
            if not text:
                continue
            ordered = read_terms(text)
            found.append(
                Passage(
                    number=number,
                    position=len(found),
                    title=title,
                    text=text,
                    terms=frozenset(ordered),
                    title_terms=title_terms,
                    neighbours=frozenset(pairwise(ordered)),
                )
            )
    return found


def rank(wanted: Sequence[str], passages: Sequence[Passage]) -> list[ScoredPassage]:
    """Return the passages that share a term with ``wanted``, best first.

    A term in the passage counts its idf, one in the source's title alone less than half,
    and two terms that stand side by side in both count extra. Equal scores keep the order
    of the passages.
    """
    unique = list(dict.fromkeys(wanted))
    pairs = list(dict.fromkeys(pairwise(wanted)))
    frequency = Counter(
        term
        for passage in passages
        for term in unique
        if term in passage.terms or term in passage.title_terms
    )
    idf = {term: math.log(1 + len(passages) / count) for term, count in frequency.items()}
    scored = []
    for position, passage in enumerate(passages):
        score = 0.0
        for term in unique:
            if term in passage.terms:
                score += idf[term]
            elif term in passage.title_terms:
                score += _TITLE_WEIGHT * idf[term]
        for pair in pairs:
            if pair in passage.neighbours:
                score += _NEIGHBOUR_WEIGHT * min(idf[pair[0]], idf[pair[1]])
        if score > 0:
            scored.append((-score, position))
    return [
        ScoredPassage(passage=passages[position], score=-negative)
        for negative, position in sorted(scored)
    ]
