"""What people write comes back as text, wherever it is shown."""

from __future__ import annotations

import secrets

from deploy.verify.checks import Failed, Skipped, Suite
from deploy.verify.context import Context
from deploy.verify.security_asking import (
    FREE_MESSAGE,
    begin_conversation,
    patiently,
    programme,
    session_of,
    staff,
)
from deploy.verify.security_debug import BROKEN
from deploy.verify.security_queries import read_corpus
from deploy.verify.site import Answer, Visitor


def add(suite: Suite) -> None:
    """Add the checks."""
    add = suite.check
    add("xss-pages", "Markup in a question comes back as text", needs=("people",))(pages)
    add("xss-search", "Markup in a search comes back as text", needs=("site", "stores"))(search)
    add("xss-answers", "Markup in an answer comes back as text", needs=("settings",))(answers)


def pages(context: Context) -> str:
    """Ask with markup, and look at each page that shows the question."""
    person, visitor = staff(context)
    mark = f"verify{secrets.token_hex(4)}"
    # In front, so that it is in the title, too; refused, so that it costs nothing.
    message = (
        f"<b id={mark}>x</b><script>{mark}()</script>\"'><img src=x onerror={mark}()> {{{{7*7}}}}"
    )
    message = f"{FREE_MESSAGE} {message}"
    key = begin_conversation(context, person, message)
    seen = {
        "the conversation": visitor.get(f"/chat/{key}/"),
        "its messages alone": visitor.get(f"/chat/{key}/?part=log"),
        "the form": visitor.get(f"/chat/?message=%3Cscript%3E{mark}()%3C/script%3E%22%3E%3Cimg"),
        "the history": visitor.get("/chat/"),
        "a form that is refused": patiently(
            lambda: visitor.post("/chat/", message=f"<script>{mark}()</script>" + "x" * 5000)
        ),
    }
    for where, answer in seen.items():
        _look(where, answer, mark)
    boss = context.person("obc-verify-admin", is_superuser=True)
    office = session_of(context, boss)
    for path in (
        "/admin/django_obc_ai/conversation/",
        f"/admin/django_obc_ai/conversation/{key}/change/",
    ):
        answer = office.get(path)
        if answer.status != 200:
            raise Failed(f"{path} answers {answer.status} to a superuser")
        _look(path, answer, mark, is_shown=False)
    program = programme(context, person)
    told = program.get(f"/api/conversations/{key}/")
    kind, sniffing = told.header("content-type"), told.header("x-content-type-options")
    if not kind.startswith("application/json") or sniffing != "nosniff":
        raise Failed(
            f"/api/conversations/ sends what people wrote as {kind!r}: browsers may run it"
        )
    return f"escaped on {len(seen)} pages of the chat and 2 of the admin; JSON stays JSON"


def search(context: Context) -> str:
    """Search for markup."""
    visitor = Visitor(context.address)
    mark = f"verify{secrets.token_hex(4)}"
    for path in (
        f"/search/?q=%3Cscript%3E{mark}()%3C/script%3E",
        f"/search/?q=%22%3E%3Cimg%20src=x%20onerror={mark}()%3E",
        f"/search/?q=%27%20onfocus={mark}()%20autofocus=%27",
        f"/{mark}%3Cscript%3E/",
        f"/admin/login/?next=%22%3E%3Cscript%3E{mark}()",
        f"/admin/login/?next=javascript:{mark}()",
        f"/communities/%3Cscript%3E{mark}/",
    ):
        answer = visitor.get(path)
        if answer.status in BROKEN:
            raise Failed(f"{path} answers {answer.status}")
        _look(path, answer, mark, is_shown=False)
    return "escaped in searches, errors and the login"


def answers(context: Context) -> str:
    """Show answers with markup as the chat page shows those of a model."""
    try:
        from django_obc_ai.widget.markdown import render_markdown
    except ImportError:
        raise Skipped("the chat page is not installed") from None
    corpus = read_corpus()["answers"]
    for case in corpus:
        html = str(render_markdown(case["answer"]))
        for mark in (
            "<script",
            "<img",
            "<iframe",
            "<svg",
            " onerror=",
            'href="http',
            "javascript:",
        ):
            if mark in _tags(html):
                raise Failed(f"an answer ({case['why']}) is shown with {mark!r}: {html[:160]!r}")
    return f"{len(corpus)} answers: text and its layout alone"


def _look(where: str, answer: Answer, mark: str, *, is_shown: bool = True) -> None:
    """Look for the markup as markup, and for it as text where it has to be."""
    text = answer.text
    tags = _tags(text)
    for piece in (f"<script>{mark}", f"id={mark}", f"onerror={mark}", f"onfocus={mark}"):
        if piece in tags:
            raise Failed(
                f"{where} shows markup that somebody wrote as markup ({piece}): it can run scripts"
                " as whoever looks at it. Look for |safe and mark_safe in its template"
            )
    if is_shown and mark not in text:
        raise Failed(f"{where} does not show what was written (status {answer.status})")


def _tags(html: str) -> str:
    """Return the tags of a page with their attributes, joined, quoted values left out."""
    from html.parser import HTMLParser

    class Reader(HTMLParser):
        """Keeps tags and the names of attributes; of values, addresses alone."""

        def __init__(self) -> None:
            super().__init__(convert_charrefs=True)
            self.found: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            """Keep a tag."""
            given = "".join(
                f" {name}={value or ''}" if name[:2] == "on" or name == "id" else
                f' {name}="{value or ""}"' if name in ("href", "src", "action") else f" {name}"
                for name, value in attrs
            )  # fmt: skip
            self.found.append(f"<{tag}{given}>")

        def handle_data(self, data: str) -> None:
            """Keep what stands in a script."""
            if self.lasttag == "script" and self.found:
                self.found.append(data)

    reader = Reader()
    reader.feed(html)
    reader.close()
    return "".join(reader.found)
