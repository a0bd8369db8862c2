"""Sphinx configuration. Build: sphinx-build -W -n docs docs/_build/html"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import django
from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parent
# Last, so that an installed package is documented rather than the folder beside this one.
sys.path.append(str(DOCS.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

import django_obc_ai  # noqa: E402 - after the path is set

project = "django-obc-ai"
author = "django-obc-ai contributors"
copyright = author  # noqa: A001 - a setting of Sphinx
version = release = django_obc_ai.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 4

autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"django-obc-ai {release}"


# Files above docs/ that are pages here, too: the name of the file to that of the page.
PROJECT = {
    name: f"project/{name.lower().replace('_', '-')}"
    for name in ("ADDING_BACKENDS", "CHANGELOG", "CONTRIBUTING", "SECURITY")
}
LINK = re.compile(r"(?<!!)\[([^\[\]]+)\]\(([^)\s]+)\)")


def leave_out_empty_sections(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Drop the toctrees of index.md whose folder has no page yet: Sphinx warns about those."""
    if docname == "index":
        section = re.compile(r"```\{toctree\}[^`]*?\n([^\n]+/\*)\n```\n")
        source[0] = section.sub(
            lambda match: match[0] if any(DOCS.glob(f"{match[1]}.md")) else "", source[0]
        )


def lead_inside(match: re.Match[str]) -> str:
    """Turn a link of a file above docs/ into one that is right in the documentation."""
    text, target = match.groups()
    path, hash_sign, anchor = target.partition("#")
    if not path or ":" in path:
        return match[0]
    if path.startswith("docs/"):
        return f"[{text}](/{path.removeprefix('docs/')}{hash_sign}{anchor})"
    if path.removesuffix(".md") in PROJECT:
        return f"[{text}](/{PROJECT[path.removesuffix('.md')]}.md{hash_sign}{anchor})"
    return text  # a source file: it has no page


def take_in_project_files(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Fill the pages of project/, and lead other pages' links to those files there."""
    for name, page in PROJECT.items():
        if docname == page:
            source[0] = LINK.sub(lead_inside, (DOCS.parent / f"{name}.md").read_text())
            return
    outside = re.compile(rf"\]\((?:\.\./)+({'|'.join(PROJECT)})\.md")
    source[0] = outside.sub(lambda match: f"](/{PROJECT[match[1]]}.md", source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", leave_out_empty_sections)
    app.connect("source-read", take_in_project_files)
