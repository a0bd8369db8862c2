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
_POLITE = (
    r"(?:please|kindly|pls|now|then|just|ok(?:ay)?|can you|could you|would you|will you|you must|"
    r"i want you to|i need you to|i'd like you to|go ahead and|help me(?: to)?|and|first|also|"
    r"you should|let's|paki|pakiusap|maaari mo bang|puwede mo bang|pwede mo bang)"
)
_ALWAYS = (
    "delete|erase|truncate|destroy|wipe|purge|insert|overwrite|modify|edit|rename|remove|"
    "burahin|tanggalin|alisin|baguhin|palitan|i-delete|i-edit|i-update|idagdag|magdagdag|"
    "wasakin|sirain|likhain|burahan|idelete|iupdate"
)
_MOSTLY = "update|change|set|add|create|drop|move|replace|reset|alter|merge|grant|revoke|disable"
_OBJECT = (
    r"(?:all|every|each|any|the|this|that|these|those|my|our|your|his|her|their|its|a|an|new|"
    r"table|database|record|records|row|rows|user|users|data|everything|some|\d+|[\"'“])"
)
_START = rf"(?:^|[.!?;:,\n]\s*|\b{_POLITE}[\s,]+)"
_WRITES = re.compile(
    rf"{_START}(?:(?:{_ALWAYS})\s+\w|(?:{_MOSTLY})\s+{_OBJECT}(?:\W|$))"
    r"|\bdrop\s+table\b|\bdelete\s+from\b|\binsert\s+into\b|\bupdate\s+\w+\s+set\b"
    r"|\balter\s+table\b|\btruncate\s+table\b|;\s*--",
    re.IGNORECASE,
)
#: "Drop in population", "change of", "update me on": nouns, and favours that only read.
_READS = re.compile(
    r"\b(?:add up|update (?:me|us) (?:on|about)|set of|change[sd]? (?:in|of))\b", re.IGNORECASE
)


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
            f"The message has more than {most} characters. Ask a shorter question."
        )
    if any("\ud800" <= each <= "\udfff" for each in message):
        raise DangerousQuery("The message holds a character that is none.")
    plain = "".join(
        each
        for each in unicodedata.normalize("NFKC", message)
        if each in "\n\t" or unicodedata.category(each) not in ("Cc", "Cf", "Co", "Cn")
    ).strip()
    if not plain:
        raise DangerousQuery("The message is empty.")
    if asks_to_write(plain):
        raise DangerousQuery(READ_ONLY)
    return plain


def asks_to_write(message: str) -> bool:
    """Return whether a message, in plain characters, asks to change data."""
    folded = unicodedata.normalize("NFKD", message.translate(_LOOKALIKES))
    folded = "".join(each for each in folded if not unicodedata.combining(each))
    return _WRITES.search(_READS.sub(" ", folded)) is not None
