"""Write docs/project/external-links.md anew: ``python -m tests.docs.external_links``."""

from __future__ import annotations

from tests.docs.markdown import DOCS, documents, links
from tests.subprocesses import ROOT

PAGE = DOCS / "project" / "external-links.md"
_HEAD = """# External links

Where the documentation leads out of it. Links within it are followed by a test; these are listed,
so that somebody looks at them before a release. A test keeps the list complete;
`python -m tests.docs.external_links` writes it.

| Address | On |
| --- | --- |
"""


def listing() -> str:
    """Return the page."""
    found: dict[str, set[str]] = {}
    for page in documents():
        for _, target in links(page):
            if target.startswith(("https://", "http://")):
                found.setdefault(target, set()).add(f"`{page.relative_to(ROOT)}`")
    rows = [f"| <{each}> | {', '.join(sorted(pages))} |" for each, pages in sorted(found.items())]
    return _HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(listing())
