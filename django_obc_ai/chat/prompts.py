"""Prompt templates: files that a project overrides, and versions written in the admin.

The active `PromptTemplate` of a name comes first, else the file
``django_obc_ai/prompts/NAME.txt`` in Django's template directories. Either is rendered by an
engine of its own, which loads no other template and no library, with plain texts as values:
no value is ever read as template code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.template import Context, Engine, TemplateDoesNotExist, TemplateSyntaxError
from django.template.loader import get_template

from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.models import PromptTemplate
from django_obc_ai.types.quoting import neutralise

#: The prompts, with the values of each and whether a text must use it.
PROMPTS: Mapping[str, Mapping[str, bool]] = {
    "chat_plan": {"models": True, "today": True, "indexes": False},
    "chat_answer": {"language": True, "today": False},
}
_FILES = Path(__file__).parent.parent / "templates"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One version of a prompt.

    Attributes:
        name: A key of `PROMPTS`.
        text: Template code.
        version: "chat_plan v3" of the admin, or "chat_plan file 1a2b3c4d5e6f", a hash.
    """

    name: str
    text: str
    version: str

    def render(self, **values: str) -> str:
        """Return the text with its values.

        Raises:
            ConfigurationError: The template cannot be rendered.
        """
        try:
            return _render(self.text, values)
        except (TemplateSyntaxError, TemplateDoesNotExist) as error:
            raise ConfigurationError(
                f"The prompt {self.version!r} cannot be rendered: {error}.",
                hint="Correct the file, or activate another version in the admin.",
            ) from error


def get_prompt(name: str) -> Prompt:
    """Return the version of a prompt that is in use: one query, and a file if there is no row."""
    active = PromptTemplate.objects.filter(name=name, status=PromptTemplate.Status.ACTIVE).first()
    if active is not None:
        return Prompt(name=name, text=active.text, version=f"{name} v{active.version}")
    text = read_file(name)
    mark = hashlib.sha256(text.encode()).hexdigest()[:12]
    return Prompt(name=name, text=text, version=f"{name} file {mark}")


def read_file(name: str) -> str:
    """Return the template code of a prompt's file, the project's before the package's."""
    path = f"django_obc_ai/prompts/{name}.txt"
    try:
        # Any: other engines than Django's own may be configured, and wrap other templates.
        found: Any = get_template(path)
        source: str = found.template.source
    except (TemplateDoesNotExist, AttributeError):  # no engine that looks into apps
        return (_FILES / path).read_text(encoding="utf-8")
    return source


def find_fault(name: str, text: str) -> str:
    """Return what is wrong with the text of a prompt, or ""."""
    if name not in PROMPTS:
        return f"There is no prompt {name!r}. Valid names: {', '.join(PROMPTS)}."
    marks = {value: f"\N{SECTION SIGN}{value}\N{SECTION SIGN}" for value in PROMPTS[name]}
    try:
        rendered = _render(text, marks)
    except (TemplateSyntaxError, TemplateDoesNotExist) as error:
        return f"The template cannot be rendered: {error}."
    missing = [
        f"{{{{ {value} }}}}"
        for value, is_required in PROMPTS[name].items()
        if is_required and marks[value] not in rendered
    ]
    return f"The text does not use {', '.join(missing)}." if missing else ""


def _render(text: str, values: Mapping[str, str]) -> str:
    engine = Engine(loaders=[], libraries={}, autoescape=False)
    context = Context({name: str(value) for name, value in values.items()}, autoescape=False)
    return engine.from_string(text).render(context)


def write_question(
    question: str,
    *,
    summary: str = "",
    plans: Sequence[Mapping[str, Any]] = (),
    reason: str = "",
) -> str:
    """Return a prompt: what a person asked and what it may refer to, each in its own block.

    Nothing in a block can end it: brackets of tags are broken, and those of JSON escaped.

    Args:
        question: As it was asked.
        summary: Of earlier turns.
        plans: Earlier plans that were found safe, oldest first.
        reason: Why the plan that was made of this question was not accepted.
    """
    lines = [json.dumps(plan, cls=DjangoJSONEncoder).replace("<", "\\u003c") for plan in plans]
    blocks = {
        "summary": neutralise(summary),
        "plans": "\n".join(lines).replace(">", "\\u003e"),
        "reason": neutralise(reason and f"The last plan was not accepted: {reason}"),
        "question": neutralise(question),
    }
    return "\n\n".join(f"<{name}>\n{text}\n</{name}>" for name, text in blocks.items() if text)
