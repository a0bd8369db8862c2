"""A model's Markdown as HTML that holds nothing but text and its layout.

What arrives was made inert already (`chat.inert`). Here nothing is taken for a link, an image or
HTML either; the only links are ours, from a number to its source. Afterwards a kept sanitiser
looks at the whole once more, so that one fault opens nothing.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Collection, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import pgettext

from django_obc_ai.exceptions import MissingDependencyError

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_core import StateCore
    from markdown_it.token import Token

_OFF = (
    "html_block", "html_inline", "link", "image", "autolink", "reference", "entity",
    "lheading",  # a line of dashes below text is a rule, or a table that is not here yet
    "code",  # models indent by habit; fences are how they show code
)  # fmt: skip
_CITATION = re.compile(r"\[(\d{1,3}(?:, \d{1,3}){0,9})\]")
_HEADINGS = {"h1": "h3", "h2": "h4", "h3": "h5"}
_LOWEST_HEADING = "h6"
_FIGURE = "obc-ai-figure"
_TAGS = {
    "p", "br", "hr", "h3", "h4", "h5", "h6", "strong", "em", "code", "pre", "blockquote",
    "ul", "ol", "li", "div", "table", "thead", "tbody", "tr", "th", "td", "a",
}  # fmt: skip
_ATTRIBUTES = {
    "a": {"href", "class", "aria-label"},
    "div": {"class", "tabindex", "role", "aria-label"},
    "ol": {"start"},
    "th": {"class"},
    "td": {"class"},
}
_CLASSES = {_FIGURE, "obc-ai-cite", "obc-ai-frame"}
_HREF = re.compile(r"#obc-ai-source-[\w-]{1,64}-\d{1,3}")
#: A block that grows is rendered anew when it has grown by this share, so that a long one costs
#: no more than its length.
_GROWTH = 1 / 16
_ALWAYS_BELOW = 2_000


def require_markdown() -> None:
    """Say what is missing before anything is asked; imports nothing.

    Raises:
        MissingDependencyError: The extra "chat" is not installed.
    """
    for module, package in (("markdown_it", "markdown-it-py"), ("nh3", "nh3")):
        if importlib.util.find_spec(module) is None:
            raise MissingDependencyError(
                f"The chat page needs the package {package!r}, which is not installed.",
                hint='Run: python -m pip install "django-obc-ai[chat]"',
                check_id="E005",
            )


def render_markdown(
    text: str, *, key: str = "", numbers: Collection[int] = (), is_plain: bool = False
) -> SafeString:
    """Return a text as HTML.

    Args:
        text: What a model wrote, made inert.
        key: Of the answer, for the links to its sources.
        numbers: Of the sources that there are; ``[1]`` becomes a link to the first.
        is_plain: Whether it is no Markdown: names of rows stay as they are, whatever is in them.
    """
    parser = _plain_parser() if is_plain else _parser()
    env = {"key": key, "numbers": frozenset(numbers)}
    return _clean(parser.renderer.render(parser.parse(text, env), parser.options, env))


class GrowingMarkdown:
    """Markdown that arrives in pieces, as numbered blocks of HTML.

    A block that another one follows is finished, and not looked at again. Numbers of sources
    are no links yet: the sources come with the whole answer.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._text = ""
        self._number = 0
        self._rendered = 0

    def feed(self, piece: str) -> Iterator[tuple[int, SafeString]]:
        """Take some text; yield the blocks that changed, each with its number from 0."""
        self._text += piece.replace("\r", "")  # lines are counted below
        grown = len(self._text) - self._rendered
        if len(self._text) > _ALWAYS_BELOW and grown < self._rendered * _GROWTH:
            return
        parser = _parser()
        env: dict[str, Any] = {"key": "", "numbers": frozenset()}
        tokens = parser.parse(self._text, env)
        blocks = list(_top_level(tokens))
        for block in blocks:
            html = _clean(parser.renderer.render(block, parser.options, env))
            yield self._number, html
            self._number += 1
        if blocks:
            self._number -= 1  # the last one may go on
            begin = (blocks[-1][0].map or [0])[0]
            self._text = "\n".join(self._text.split("\n")[begin:])
        self._rendered = len(self._text)


def _top_level(tokens: list[Token]) -> Iterator[list[Token]]:
    block: list[Token] = []
    for token in tokens:
        block.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield block
            block = []


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False, "linkify": False, "breaks": True})
    parser.enable("table")
    parser.disable([each for each in _OFF if each in _rules(parser)])
    parser.core.ruler.before("text_join", "obc_ai_citations", _link_citations)
    parser.core.ruler.push("obc_ai_layout", _adapt_layout)
    parser.add_render_rule("table_open", _open_table)
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return parser


@cache
def _plain_parser() -> MarkdownIt:
    """Return a parser that knows paragraphs and lines alone, and our links."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("zero", {"html": False, "linkify": False, "breaks": True})
    parser.enable("newline")
    parser.core.ruler.before("text_join", "obc_ai_citations", _link_citations)
    return parser


def _rules(parser: MarkdownIt) -> set[str]:
    return {name for names in parser.get_all_rules().values() for name in names}


def _link_citations(state: StateCore) -> None:
    """Make links of the numbers in text; what is code or was escaped is of another kind."""
    if not state.env.get("numbers"):
        return
    for block in state.tokens:
        if block.children:
            block.children = [
                part
                for token in block.children
                for part in (_with_links(token, state.env) if token.type == "text" else [token])
            ]


def _with_links(token: Token, env: Any) -> Iterator[Token]:
    # Any: markdown-it's own mapping of whatever its caller gave it.
    end = 0
    for found in _CITATION.finditer(token.content):
        numbers = [int(each) for each in found[1].split(", ")]
        if not env["numbers"].issuperset(numbers):
            continue
        yield _part(token, "text", token.content[end : found.start()])
        for number in numbers:
            attributes = {
                "class": "obc-ai-cite",
                "href": f"#obc-ai-source-{env['key']}-{number}",
                "aria-label": pgettext("django_obc_ai chat", "Source %(number)d")
                % {"number": number},
            }
            yield _part(token, "link_open", tag="a", nesting=1, attrs=attributes)
            yield _part(token, "text", f"[{number}]")
            yield _part(token, "link_close", tag="a", nesting=-1)
        end = found.end()
    yield _part(token, "text", token.content[end:])


def _part(token: Token, kind: str, content: str = "", **values: Any) -> Token:
    return type(token)(
        type=kind,
        tag=values.get("tag", ""),
        nesting=values.get("nesting", 0),
        attrs=values.get("attrs", {}),
        level=token.level,
        content=content,
    )


def _adapt_layout(state: StateCore) -> None:
    """Put headings below the page's own, and say by classes what a strict CSP forbids as style."""
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = _HEADINGS.get(token.tag, _LOWEST_HEADING)
        elif token.type in ("th_open", "td_open"):
            if token.attrs.pop("style", "") == "text-align:right":
                token.attrs["class"] = _FIGURE
        elif token.type == "fence":
            token.info = ""


def _open_table(*_arguments: Any) -> str:
    """Return the start of a table that can be scrolled, by the keyboard as well."""
    label = pgettext("django_obc_ai chat", "Table").replace('"', "")
    return f'<div class="obc-ai-frame" tabindex="0" role="group" aria-label="{label}"><table>\n'


def _clean(html: str) -> SafeString:
    import nh3

    cleaned = nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        attribute_filter=_allowed,
        link_rel=None,
        url_schemes=set(),
        strip_comments=True,
    )
    return mark_safe(cleaned)  # noqa: S308 - this is the sanitiser


def _allowed(_tag: str, name: str, value: str) -> str | None:
    if name == "href":
        return value if _HREF.fullmatch(value) else None
    if name == "class":
        return value if value in _CLASSES else None
    return value
