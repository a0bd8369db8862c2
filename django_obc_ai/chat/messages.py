"""Messages of people: made plain, and those that ask to write are told apart by rules."""

from __future__ import annotations

import re
import unicodedata

from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import DangerousQuery

READ_ONLY = "I can only read data, not modify it."
#: Letters of other scripts that look like Latin ones.
_LOOKALIKES = str.maketrans(
    "аеорсхуіјѕһԁԛԝвмтнкАЕОРСХУІЈЅВМТНКαεορνικτυχΑΕΟΡΝΙΚΤΥΧΒΜΗΖ",
    "aeopcxyijshdqwvmthkAEOPCXYIJSBMTHKaeopviktuxAEOPNIKTYXBMHZ",
)
_LETTER_LIKE = str.maketrans("013457@$", "oleastas")
_POLITE = (
    r"(?:please|kindly|pls|now|then|just|ok(?:ay)?|can you|could you|would you|will you|you must|"
    r"(?:i|we)(?:'d| would)? (?:want|like|need)(?: you)? to|go ahead and|help me(?: to)?|and|"
    r"first|also|you should|let's|pakiusap|(?:maaari|puwede|pwede) (?:mo|ba|mo bang|bang)|"
    r"(?:gusto|nais|kailangan) (?:kong|naming|mong)|at)"
)
_ALWAYS = (
    "delete|erase|truncate|destroy|wipe|purge|insert|overwrite|modify|edit|rename|remove|"
    "burahin|burahan|magbura|tanggalin|magtanggal|alisin|baguhin|palitan|ibahin|idagdag|"
    "magdagdag|dagdagan|bawasan|wasakin|sirain|likhain|itakda|"
    "paki-?(?:bura|tanggal|alis|bago|baguhin|palit|dagdag|delete|edit|update|drop|reset|remove)|"
    "(?:i|mag)-?(?:delete|edit|update|drop|insert|reset|remove|rename|overwrite|truncate)"
)
_MOSTLY = (
    "update|change|set|add|create|drop|move|replace|reset|alter|merge|grant|revoke|disable|make"
)
_OBJECT = (
    r"(?:all|every|each|any|the|this|that|these|those|my|our|your|his|her|their|its|a|an|new|"
    r"table|database|record|records|row|rows|user|users|data|everything|some|\d+|[\"'“])"
)
#: "Set Upi's population to 100": what stands between verb and value may be anything.
_VALUE = r"[^.!?;\n]{1,80}?(?:\bto|=)\s*(?:\d|[\"'“]|true\b|false\b|null\b|zero\b|none\b|empty\b)"
_START = rf"(?:^|[.!?;:,\n]\s*|\b{_POLITE}[\s,]+)"
_WRITES = re.compile(
    rf"{_START}(?:(?:{_ALWAYS})\s+\w|(?:{_MOSTLY})\s+(?:{_OBJECT}(?:\W|$)|{_VALUE}))",
    re.IGNORECASE,
)
_STATEMENTS = re.compile(
    r"\bdrop\s+table\b|\bdelete\s+from\b|\binsert\s+into\b|\bupdate\s+\S+\s+set\b|"
    r"\balter\s+table\b|\btruncate\s+table\b|\bcreate\s+table\s+\w+\s*\(|;\s*--|"
    r"\.(?:a?delete|a?update|a?save|a?create|a?bulk_create|a?bulk_update|a?update_or_create|"
    r"a?get_or_create|raw|execute|set_password)\(",
    re.IGNORECASE,
)
#: "Drop in population", "update me on", "create a list of": nouns, and favours that only read.
_READS = re.compile(
    r"\b(?:add up|update (?:me|us) (?:on|about)|set of|changes? (?:in|of|from|between)|"
    r"(?:create|make|add) (?:me |us )?(?:(?:a|an|the) )?(?:[a-z]+ )?(?:list|table|summary|report|"
    r"chart|breakdown|ranking|overview|comparison|count)\b)",
    re.IGNORECASE,
)
_SPELT_OUT = re.compile(r"\b\w(?:[ ._*-]\w){3,}\b")
_MIXED = re.compile(r"\b[a-z]+[013457@$][a-z013457@$]*", re.IGNORECASE)


def check_message(message: str) -> str:
    """Return a message in plain characters, without invisible ones.

    Raises:
        DangerousQuery: It is empty, too long, no text, or asks to change data; the text of the
            last is `READ_ONLY`. Such a message costs no call.
    """
    if type(message) is not str:
        raise DangerousQuery("The message is no text.")
    most = get_settings().chat.max_message_characters
    if len(message) > most:
        raise DangerousQuery(
            f"The message has more than {most} characters. Ask a shorter question.",
            phrase="too_long",
            amount=str(most),
        )
    if any("\ud800" <= each <= "\udfff" for each in message):
        raise DangerousQuery("The message holds a character that is none.")
    plain = "".join(
        each
        for each in unicodedata.normalize("NFKC", message)
        if each in "\n\t" or unicodedata.category(each) not in ("Cc", "Cf", "Co", "Cn")
    ).strip()
    if not plain:
        raise DangerousQuery("The message is empty.", phrase="empty")
    if asks_to_write(plain):
        raise DangerousQuery(READ_ONLY, phrase="read_only")
    return plain


def asks_to_write(message: str) -> bool:
    """Return whether a message, in plain characters, asks to change data."""
    folded = unicodedata.normalize("NFKD", message.translate(_LOOKALIKES))
    folded = "".join(each for each in folded if not unicodedata.combining(each))
    folded = re.sub(r"[\u2010-\u2015]", "-", folded).replace("\u2019", "'")
    if _STATEMENTS.search(folded):
        return True
    folded = _SPELT_OUT.sub(lambda found: re.sub(r"[ ._*-]", "", found[0]), folded)
    folded = _MIXED.sub(lambda found: found[0].translate(_LETTER_LIKE), folded)
    return _WRITES.search(_READS.sub(" ", folded)) is not None
