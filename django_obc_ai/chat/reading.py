"""A question's words, each taken once for what it means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django_obc_ai.chat import words
from django_obc_ai.chat.lexicon import Lexicon, Phrase

_LONGEST_NAME = 6
_MOST_NAMES = 60


class Reading:
    """Takes words out of a message; what `rest` returns was not understood."""

    def __init__(self, lexicon: Lexicon, message: str) -> None:
        """Split the message."""
        self.lexicon = lexicon
        self.text = words.plain(message)
        self.spans = [(each.start(), each.end()) for each in words.TOKEN.finditer(self.text)]
        self.tokens = [
            token
            for start, end in self.spans
            for token in words.tokens_of(self.text[start:end])[:1] or ("",)
        ]
        self._split_superlatives()
        self.taken = [False] * len(self.tokens)

    def _split_superlatives(self) -> None:
        """Make "pinakamataong" two words: the superlative, and the field that it is made of."""
        known = {
            phrase[0]
            for entry in self.lexicon.entries.values()
            for phrase, path in entry.fields.items()
            if path.kind == "number" and len(phrase) == 1
        }
        for at in reversed(range(len(self.tokens))):
            stem = self.tokens[at].removeprefix("pinakama")
            root = next((each for each in (stem, stem[:-1], stem[:-2]) if each in known), "")
            if root and stem != self.tokens[at]:
                self.tokens[at : at + 1] = ["pinakamarami", root]
                self.spans.insert(at, self.spans[at])

    def rest(self) -> list[str]:
        """Return the words that were not used and carry something."""
        return [
            token
            for token, is_taken in zip(self.tokens, self.taken, strict=True)
            if not is_taken and token not in words.EMPTY
        ]

    def has(self, known: frozenset[str]) -> bool:
        """Return whether any word is one of these."""
        return any(token in known for token in self.tokens)

    def take_any(self, known: frozenset[str]) -> bool:
        """Take all words of a set; whether there was one."""
        at = [n for n, token in enumerate(self.tokens) if token in known and not self.taken[n]]
        self._take(at)
        return bool(at)

    def _take(self, positions: Iterable[int]) -> None:
        for at in positions:
            self.taken[at] = True

    def _find(self, phrases: Iterable[Phrase]) -> list[tuple[int, Phrase]]:
        """Return where phrases stand, the longest first; none overlaps another."""
        found: list[tuple[int, Phrase]] = []
        used: set[int] = set()
        for phrase in sorted(set(phrases), key=lambda each: (-len(each), each)):
            for at in range(len(self.tokens) - len(phrase) + 1):
                span = range(at, at + len(phrase))
                if used & set(span) or any(self.taken[each] for each in span):
                    continue
                if tuple(self.tokens[at : at + len(phrase)]) == phrase:
                    found.append((at, phrase))
                    used |= set(span)
        return sorted(found)

    def nouns(self) -> list[str]:
        """Take the names of models; return their labels in order, each once."""
        labels = [label for _, label in self._nouns()]
        return list(dict.fromkeys(labels))

    def _nouns(self) -> list[tuple[int, str]]:
        by_noun = {
            noun: label for label, each in self.lexicon.entries.items() for noun in each.nouns
        }
        found = []
        for at, phrase in self._find(by_noun):
            if self._begins_a_name(at, phrase):
                continue
            self._take(range(at, at + len(phrase)))
            found.append((at, by_noun[phrase]))
        return found

    def _begins_a_name(self, at: int, phrase: Phrase) -> bool:
        """Return whether "Region" is the beginning of "Region IX", which a row is called."""
        after = at + len(phrase)
        if after >= len(self.tokens):
            return False
        names = [
            self.text[self.spans[at][0] : self.spans[end][1]]
            for end in range(after, min(after + _LONGEST_NAME - 1, len(self.tokens)))
        ]
        return any(self.lexicon.rows_called(label, names) for label in self.lexicon.entries)

    def groups(self) -> list[str]:
        """Take "per province": a word such as "per" and what follows it.

        Returns:
            Labels of models; fields as ".name".
        """
        known: dict[Phrase, str] = {}
        for label, entry in self.lexicon.entries.items():
            known |= {
                phrase: f".{path.path}"
                for phrase, path in entry.fields.items()
                if path.kind in ("choice", "text") and path.field.name != entry.name
            }
            known |= dict.fromkeys(entry.nouns, label)
        found = []
        for at, token in enumerate(self.tokens):
            if token not in words.PER or self.taken[at]:
                continue
            after = at + 1
            while after < len(self.tokens) and self.tokens[after] in words.EMPTY:
                after += 1
            for length in range(3, 0, -1):
                phrase = tuple(self.tokens[after : after + length])
                if len(phrase) == length and phrase in known:
                    self._take(range(at, after + length))
                    found.append(known[phrase])
                    break
            else:
                self.taken[at] = token in words.BY  # "top 5 by population"
        return found

    def superlative(self) -> tuple[bool, int] | None:
        """Take "top 5", "the largest", "limang pinakamalaking"; whether it descends, and n."""
        found: tuple[bool, int] | None = None
        for at, token in enumerate(self.tokens):
            is_top = token in words.TOP or bool(words.TOP_TL.fullmatch(token))
            is_bottom = token in words.BOTTOM or bool(words.BOTTOM_TL.fullmatch(token))
            if not (is_top or is_bottom) or self.taken[at]:
                continue
            self._take([at])
            count = None
            for near in (at + 1, at - 1, at - 2):
                if 0 <= near < len(self.tokens) and not self.taken[near]:
                    number = words.number_of(self.tokens[near])
                    if isinstance(number, int) and 0 < number <= 1000:
                        self._take([near])
                        count = number
                        break
            if found is None or count is not None:
                found = (is_top, count or (found[1] if found else 1))
        return found

    def comparisons(self) -> list[tuple[str, list[Any]]]:
        """Take "more than 5,000" and "between 1 and 2"; return lookups with numbers."""
        found: list[tuple[str, list[Any]]] = []
        for phrase, lookup in words.COMPARISONS:
            for at, _ in self._find([phrase]):
                after = at + len(phrase)
                number = words.number_of(self.tokens[after]) if after < len(self.tokens) else None
                if number is not None:
                    self._take(range(at, after + 1))
                    found.append((lookup, [number]))
        for at, token in enumerate(self.tokens):
            if token in words.BETWEEN and not self.taken[at]:
                numbers = [
                    (n, value)
                    for n in range(at + 1, min(at + 5, len(self.tokens)))
                    if (value := words.number_of(self.tokens[n])) is not None
                ]
                if len(numbers) == 2:
                    self._take([at, *(n for n, _ in numbers)])
                    found.append(("range", sorted(value for _, value in numbers)))
        return found

    def numbers(self) -> list[str]:
        """Return numbers that were not taken."""
        pairs = zip(self.tokens, self.taken, strict=True)
        return [token for token, is_taken in pairs if not is_taken and token[:1].isdigit()]

    def field(self, kind: str, nouns: list[str]) -> Any:
        """Take the name of a field, of a model that was named where there is one; else None."""
        labels = [*nouns, *(each for each in self.lexicon.entries if each not in nouns)]
        for label in labels:
            entry = self.lexicon.entries[label]
            known = {
                phrase: path
                for phrase, path in entry.fields.items()
                if kind in ("any", path.kind) and path.field.name != entry.name
            }
            if found := self._find(known):
                for at, phrase in found:
                    self._take(range(at, at + len(phrase)))
                return known[found[0][1]]
        return None

    def adjectives(self, label: str) -> list[tuple[str, Any, bool]]:
        """Take conditions such as "rural"; return field, value and whether it is negated."""
        known = self.lexicon.entries[label].adjectives
        found = []
        for at, phrase in self._find(known):
            if at > 0 and self.tokens[at - 1] in words.CALLED:  # a name
                continue
            self._take(range(at, at + len(phrase)))
            name, value = known[phrase]
            found.append((name, value, self._is_negated(at)))
        return found

    def labels_of_choices(self) -> list[str]:
        """Return the models that have a choice which the message names; nothing is taken."""
        return [
            label for label, each in self.lexicon.entries.items() if self._find(each.adjectives)
        ]

    def _is_negated(self, at: int) -> bool:
        for before in (at - 1, at - 2):
            if before >= 0 and self.tokens[before] in words.NOT:
                self._take([before])
                return True
            if before >= 0 and self.tokens[before] not in words.EMPTY:
                break
        return False

    def values(self, label: str) -> list[tuple[str, str, bool]]:
        """Take names of rows that a model's relations lead to, or of its own rows.

        Returns:
            Paths with the stored names and whether they are negated. A name that several
            relations know is taken as the widest: the last on the way.
        """
        entry = self.lexicon.entries[label]
        found = []
        ways = sorted(entry.ways.items(), key=lambda item: -len(item[0].split(".")) * bool(item[0]))
        while spans := self._open_spans():
            names = {self.text[self.spans[a][0] : self.spans[b - 1][1]]: (a, b) for a, b in spans}
            best: tuple[int, int, str, str] | None = None
            for path, to in ways:
                name_field = self.lexicon.entries[to].name
                for name, stored in self.lexicon.rows_called(to, names).items():
                    a, b = names[name]
                    if best is None or b - a > best[1] - best[0]:
                        best = (a, b, f"{path}.{name_field}" if path else name_field, stored)
            if best is None:
                break
            self._take(range(best[0], best[1]))
            found.append((best[2], best[3], self._is_negated(best[0])))
        return found

    def own_name(self, label: str) -> str | None:
        """Take the name of a row of a model; None if no words are one."""
        names = {
            self.text[self.spans[a][0] : self.spans[b - 1][1]]: (a, b)
            for a, b in self._open_spans()
        }
        known = self.lexicon.rows_called(label, names)
        if not known:
            return None
        best = max(known, key=len)
        self._take(range(*names[best]))
        return known[best]

    def _open_spans(self) -> list[tuple[int, int]]:
        """Return runs of free words that may be a name, longest first."""
        spans = []
        for start in range(len(self.tokens)):
            for end in range(start + 1, min(start + _LONGEST_NAME, len(self.tokens)) + 1):
                if any(self.taken[start:end]):
                    break
                ends = (self.tokens[start], self.tokens[end - 1])
                if all(each not in words.EMPTY for each in ends):
                    spans.append((start, end))
        return sorted(spans, key=lambda span: span[0] - span[1])[:_MOST_NAMES]
