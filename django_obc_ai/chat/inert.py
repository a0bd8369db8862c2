"""What a model wrote, as plain text that links to nothing, and cites what is there."""

from __future__ import annotations

import re
from collections.abc import Collection

from django_obc_ai.types.quoting import drop_unseen

#: ``[1]`` or ``[1, 3]``, and whether a word ends there, so that nothing grows together.
_CITATION = re.compile(
    r"[ \t]{0,3}\[(\d{1,3}(?:\s{0,2}[,;]\s{0,2}\d{1,3}){0,9})\]"
    r"(?P<end>(?=[.,;)]{0,5}(?:\s|\Z)))?"
)
_LONGEST_CITATION = 80
_SPACE = re.compile(r"\s+")
#: What HTML and Markdown take for a tag, an image, a link or its definition.
_MARKUP = (
    (re.compile(r"<(?=[^\s\d=])"), "\u2039"),
    (re.compile(r"!\["), "! ["),
    (re.compile(r"\](?=[(\[:])"), "] "),
)
#: Anything with a scheme, and those schemes that need no slashes.
_SCHEME = re.compile(
    r"([a-z][a-z0-9+.-]{0,30}):(?=[/\\]{2})"
    r"|((?:java|vb)script):"
    r"|\b(https?|ftp|wss?|file|data|blob|mailto|tel|sms):(?=\S)",
    re.IGNORECASE,
)
#: What programs that look for addresses in plain text take for one.
_HOST = re.compile(
    r"\bwww\.[^\s/]*"
    r"|(?<=//)[^\s/]*\w"
    r"|[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+"
    r"|\b(?:[\w-]{1,63}\.){1,8}(?:com|edu|gov|int|mil|net|org|info|io|ph|co|me|app|dev|xyz)\b"
    r"|\b(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?=[/?#])",
    re.IGNORECASE,
)


class InertText:
    """Takes a model's text in pieces of any size and gives back what may be shown.

    The pieces that come out, joined, are the same however the text was divided. Nothing comes
    out before the word that it belongs to has ended.

    Attributes:
        cited: The numbers that the text names and that there are, in order of appearance.
        dropped: The numbers that name no source; they are taken out of the text.
        is_changed: Whether links, HTML or their like were made inert.
    """

    def __init__(self, numbers: Collection[int] = ()) -> None:
        """Say which sources there are."""
        self._numbers = frozenset(numbers)
        self._held = ""
        self._looked_at = 0
        self.cited: list[int] = []
        self.dropped: list[int] = []
        self.is_changed = False

    def feed(self, piece: str) -> str:
        """Take some text and return what is ready, possibly nothing."""
        self._held += drop_unseen(piece)
        cut = self._last_break()
        ready, self._held = self._held[:cut], self._held[cut:]
        self._looked_at = len(self._held)
        return self._show(ready)

    def _last_break(self) -> int:
        """Return where the last white space begins that no citation may lie around."""
        # What was no place to break stays none, whatever follows.
        for space in reversed(list(_SPACE.finditer(self._held, self._looked_at))):
            cut = space.start()
            if 0 < cut == self._looked_at and self._held[cut - 1].isspace():
                continue  # it began before, and was looked at
            begin = max(0, cut - _LONGEST_CITATION)
            if self._held.rfind("[", begin, cut) <= self._held.rfind("]", begin, cut):
                return cut
        return 0

    def finish(self) -> str:
        """Return what is left."""
        ready, self._held = self._held, ""
        return self._show(ready).rstrip()

    def _show(self, text: str) -> str:
        inert = _HOST.sub(lambda found: found[0].replace(".", "[.]"), text)
        inert = _SCHEME.sub(_defang, inert)
        for pattern, replacement in _MARKUP:  # after these, which put brackets in
            inert = pattern.sub(replacement, inert)
        self.is_changed |= inert != text
        return _CITATION.sub(self._cite, inert)

    def _cite(self, found: re.Match[str]) -> str:
        numbers = [int(each) for each in re.findall(r"\d+", found[1])]
        known = [each for each in numbers if each in self._numbers]
        self.dropped += [n for n in numbers if n not in known and n not in self.dropped]
        self.cited += [n for n in dict.fromkeys(known) if n not in self.cited]
        if not known:
            return " " if found["end"] is None else ""
        space = found[0][: found[0].index("[")]
        return f"{space}[{', '.join(str(each) for each in known)}]"


def _defang(found: re.Match[str]) -> str:
    scheme = next(filter(None, found.groups()))
    return f"{scheme.lower().replace('http', 'hxxp')}[:]"


def make_inert(text: str) -> str:
    """Return a whole text that cites nothing; see `InertText`."""
    inert = InertText()
    return inert.feed(text) + inert.finish()
