"""What a model writes, as HTML that holds nothing but text and its layout."""

from __future__ import annotations

import importlib
import sys
from html.parser import HTMLParser

import pytest

from django_obc_ai.exceptions import MissingDependencyError
from django_obc_ai.widget import markdown
from django_obc_ai.widget.markdown import GrowingMarkdown, render_markdown

TEXT = """# Places

There are **3** places [1], in *two* provinces [1, 2].
Next line.

1. Marawi
2. Jolo

   - within

| Place | Residents |
|:------|----------:|
| Jolo  |     1,200 |

```python
print("[1]")
```

> quoted

---

The end.
"""
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "[x](https://evil.example)",
    "![x](https://evil.example/?q=secret)",
    "<https://evil.example>",
    "[x]: https://evil.example\n\n[x] and [x][x]",
    "&lt;script&gt; &#x6a;avascript:",
    "`<b>`\n\n```html\n<b onclick=x>\n```",
    "<div class='obc-ai-frame' style='position:fixed'>",
    "[x](#obc-ai-source-k-1)",
    '<a href="#obc-ai-source-k-1" onclick="x">',
    "| a |\n|---|\n| <svg onload=x> |",
    "# <b>x</b>",
    "1. <form action=//evil>",
    "[1](https://evil.example)",
    "\\<script>",
]


class _Elements(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_layout_is_kept_below_the_headings_of_the_page() -> None:
    html = render_markdown(TEXT, key="k", numbers=[1, 2])
    tags = [tag for tag, _ in _Elements(html).found]
    wanted = ["h3", "strong", "em", "br", "ol", "ul", "table", "pre", "code", "blockquote", "hr"]
    assert set(wanted) <= set(tags)
    assert "h1" not in tags and "h2" not in tags
    assert '<td class="obc-ai-figure">1,200</td>' in html and "style" not in html
    assert render_markdown("#### four\n\n###### six") == "<h6>four</h6>\n<h6>six</h6>\n"


def test_numbers_of_sources_become_links_outside_code() -> None:
    html = render_markdown(TEXT, key="k", numbers=[1, 2])
    links = [attrs["href"] for tag, attrs in _Elements(html).found if tag == "a"]
    assert links == ["#obc-ai-source-k-1", "#obc-ai-source-k-1", "#obc-ai-source-k-2"]
    assert 'print("[1]")' in html and 'aria-label="Source 2"' in html


@pytest.mark.parametrize("text", ["[7]", "[1, 7]", "\\[1\\]", "`[1]`", "[1", "[x]", "[0001]"])
def test_what_names_no_source_is_no_link(text: str) -> None:
    assert "<a" not in render_markdown(f"See {text}.", key="k", numbers=[1])


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_hostile_becomes_an_element(text: str) -> None:
    for numbers in ([], [1]):
        for tag, attributes in _Elements(render_markdown(text, key="k", numbers=numbers)).found:
            assert tag in {"p", "br", "pre", "code", "a", "h3", "ol", "li", "div"} | {
                "table", "thead", "tbody", "tr", "th", "td",
            }  # fmt: skip
            assert set(attributes) <= {"class", "href", "aria-label", "tabindex", "role"}
            assert tag != "a" or attributes["href"] == "#obc-ai-source-k-1"
    assert "<a" not in render_markdown(text, key="k")


def test_the_sanitiser_holds_even_if_the_parser_let_something_through() -> None:
    cleaned = markdown._clean(
        '<p onclick=x style="color:red">a<script>x</script><img src=x>'
        '<a href="javascript:x">b</a><a href="//evil" class="other">c</a>'
        '<a class="obc-ai-cite" href="#obc-ai-source-k-1">d</a><!-- e --></p>'
    )
    assert cleaned == (
        '<p>a<a>b</a><a>c</a><a class="obc-ai-cite" href="#obc-ai-source-k-1">d</a></p>'
    )


def test_plain_text_stays_as_it_is() -> None:
    html = render_markdown("# *Sta. Maria* <b>\n- `x` [1]", key="k", numbers=[1], is_plain=True)
    assert html == (
        '<p># *Sta. Maria* &lt;b&gt;<br>\n- `x` <a class="obc-ai-cite"'
        ' href="#obc-ai-source-k-1" aria-label="Source 1">[1]</a></p>\n'
    )


@pytest.mark.parametrize("size", [1, 3, 7, 50, 10_000])
def test_pieces_of_any_size_grow_into_the_same_blocks(size: int) -> None:
    growing = GrowingMarkdown()
    pieces = [TEXT[at : at + size] for at in range(0, len(TEXT), size)]
    blocks = {number: html for piece in pieces for number, html in growing.feed(piece)}
    assert list(blocks) == sorted(blocks) == list(range(len(blocks)))
    assert "".join(blocks.values()) == render_markdown(TEXT)


def test_finished_blocks_are_not_told_again() -> None:
    growing = GrowingMarkdown()
    assert [number for number, _ in growing.feed("One.\n\nTwo")] == [0, 1]
    assert [(n, str(html)) for n, html in growing.feed(" and more.")] == [
        (1, "<p>Two and more.</p>\n")
    ]


def test_a_long_block_costs_no_more_than_its_length() -> None:
    growing = GrowingMarkdown()
    told = [html for _ in range(4_000) for _, html in growing.feed("word and word ")]
    assert 4_000 * 14 * 20 > sum(map(len, told)) > 4_000 * 14


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markdown.importlib.util, "find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "django_obc_ai.widget.urls", raising=False)
    with pytest.raises(MissingDependencyError, match=r'install "django-obc-ai\[chat\]"'):
        importlib.import_module("django_obc_ai.widget.urls")
