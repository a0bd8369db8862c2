"""The words of the offline planner, in English and Filipino, and how texts become tokens."""

from __future__ import annotations

import re
import unicodedata

TOKEN = re.compile(r"\d[\d,]*(?:\.\d+)?|[^\W_]+(?:['\-.][^\W_]+)*")


def plain(text: str) -> str:
    """Return a text in lower case, without accents and with single spaces."""
    folded = unicodedata.normalize("NFKD", text.replace("\u2019", "'"))
    return " ".join("".join(c for c in folded if not unicodedata.combining(c)).casefold().split())


def tokens_of(text: str) -> tuple[str, ...]:
    """Return the words and numbers of a text; possessives and ends of sentences are cut off."""
    found = (each.removesuffix("'s") for each in TOKEN.findall(plain(text)))
    return tuple(each.replace(",", "") if each[0].isdigit() else each for each in found)


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


#: Words that carry nothing; a question may hold any of them.
EMPTY = _set(
    # English
    "a an the of in at on to is are was were be there here me us please show tell give what which"
    " who where whose does do did has have had with that these those this it its they them and"
    " for from i want would like can could you know see all every each any within inside located"
    " found lie lies live lives living belong belongs called named registered do their data system"
    # Filipino
    " ang ng nang sa mga na ay ba po ako mo ko ito iyon iyan yung iyong ano anong alin aling sino"
    " saan nasa nandito naroon may mayroon meron si ni kay at para lahat bigyan ipakita sabihin"
    " gusto pakita paki loob nakatira nakatala rito dito kasama isa-isahin natin lang"
)
COUNT = _set("how count number many ilan ilang bilang dami gaano karami")
LIST = _set("list name names enumerate ilista listahan pangalan itala isa-isahin")
TOP = _set("top largest biggest highest most greatest")
BOTTOM = _set("smallest lowest least fewest bottom")
TOP_TL = re.compile(r"pinaka(?:ma)?(?:laki|taas|dami|rami|marami)(?:ng)?")
BOTTOM_TL = re.compile(r"pinaka(?:ma)?(?:liit|baba|kaunti|kakaunti|unti)(?:ng)?")
PER = _set("per by bawat kada ayon")
SUM = _set("total sum combined overall altogether kabuuan kabuuang pinagsama pinagsamang")
AVERAGE = _set("average mean karaniwan karaniwang katamtaman katamtamang promedyo")
NOT = _set("not no except without excluding hindi wala walang maliban")
FOLLOW = _set("about how only ones one just lamang lang paano naman kumusta e eh ganoon din those")
FOLLOW_UP = re.compile(r"(?:and |at )?(?:what|how) about\b|paano naman\b|kumusta\b|e+h? ")
BY = _set("by ayon")
OR = _set("or o")
CALLED = _set("called named pinangalanang tinatawag tinatawag na")
SEARCH = _set(
    "search find look near similar like related hanapin maghanap hanap malapit katulad tungkol"
)
#: Comparisons, longest first, each with its lookup.
COMPARISONS: tuple[tuple[tuple[str, ...], str], ...] = tuple(
    sorted(
        (
            (tuple(words.split()), lookup)
            for words, lookup in (
                ("more than", "gt"), ("greater than", "gt"), ("over", "gt"), ("above", "gt"),
                ("exceeding", "gt"), ("at least", "gte"), ("no fewer than", "gte"),
                ("fewer than", "lt"), ("less than", "lt"), ("under", "lt"), ("below", "lt"),
                ("at most", "lte"), ("no more than", "lte"), ("up to", "lte"),
                ("higit sa", "gt"), ("mahigit sa", "gt"), ("mahigit", "gt"), ("lampas sa", "gt"),
                ("hindi bababa sa", "gte"), ("mas mababa sa", "lt"), ("wala pang", "lt"),
                ("kulang sa", "lt"), ("hindi hihigit sa", "lte"), ("hindi lalampas sa", "lte"),
            )
        ),
        key=lambda pair: -len(pair[0]),
    )
)  # fmt: skip
BETWEEN = _set("between pagitan")
NUMBERS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10, "isa": 1, "isang": 1, "dalawa": 2, "dalawang": 2, "tatlo": 3,
    "tatlong": 3, "apat": 4, "lima": 5, "limang": 5, "anim": 6, "pito": 7, "pitong": 7,
    "walo": 8, "walong": 8, "siyam": 9, "sampu": 10, "sampung": 10,
}  # fmt: skip
_FILIPINO = _set(
    "ang ng mga ilan ilang sa nasa ay ba po alin aling ano anong bawat kada paano naman yung iyong"
    " kabuuan kabuuang hanapin ilista hindi higit mahigit lang lamang may mayroon meron at kumusta"
    " pinakamalaki pinakamalaking bilang ipakita tao lahat"
)
_ENGLISH = _set(
    "the of in how many what which are is there list show top by per and with about only more than"
    " total average number where find largest smallest most have has"
)


def language_of(text: str) -> str:
    """Return "tl" for Filipino, else "en"."""
    words = tokens_of(text)
    filipino = sum(word in _FILIPINO or word.startswith("pinaka") for word in words)
    return "tl" if filipino > sum(word in _ENGLISH for word in words) else "en"


def number_of(token: str) -> float | int | None:
    """Return the number that a token is, in digits or as a word up to ten; else None."""
    if token in NUMBERS:
        return NUMBERS[token]
    try:
        return int(token) if token.isdigit() else float(token)
    except ValueError:
        return None


def plurals_of(words: tuple[str, ...]) -> set[tuple[str, ...]]:
    """Return a phrase with its English plural."""
    last = words[-1]
    if last.endswith("y") and last[-2:-1] not in "aeiou":
        plural = f"{last[:-1]}ies"
    else:
        plural = f"{last}es" if last.endswith(("s", "x", "ch", "sh")) else f"{last}s"
    return {words, (*words[:-1], plural)}
