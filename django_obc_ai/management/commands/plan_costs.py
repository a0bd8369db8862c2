"""``manage.py plan_costs``: what a month would cost with each model."""

from __future__ import annotations

import argparse
from fractions import Fraction
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.services.cost_plans import MONTH_DAYS, plan_costs, seen_traffic
from django_obc_ai.types import Usage


class Command(BaseCommand):
    """Reads the ledger and the prices; asks nobody, and changes nothing."""

    help = "Show what a month of requests would cost with each model, from the ledger's figures."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("--requests", type=_count, metavar="N", help="Of a month.")
        parser.add_argument("--hit-rate", type=_rate, metavar="R", help="0 to 1, of the cache.")
        parser.add_argument(
            "--tokens",
            type=_count,
            nargs="+",
            metavar="N",
            help="Of one answer: input, output, and thinking if there is.",
        )
        parser.add_argument("--model", action="append", default=[], help="Again for more.")
        parser.add_argument(
            "--days", type=_days, default=MONTH_DAYS, metavar="N", help="Of the ledger."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Compute and print."""
        seen = seen_traffic(options["days"])
        given = options["tokens"]
        if given and len(given) not in (2, 3):
            raise CommandError("--tokens takes input and output, and thinking if there is.")
        usage = _usage(*given) if given else seen.usage
        if not usage.total_tokens:
            raise CommandError(
                f"The ledger has no answer of the last {seen.days} days: give --tokens."
            )
        requests = seen.requests if options["requests"] is None else options["requests"]
        hit_rate = seen.hit_rate if options["hit_rate"] is None else options["hit_rate"]
        try:
            found = plan_costs(
                requests=requests, hit_rate=hit_rate, usage=usage, models=options["model"]
            )
        except ConfigurationError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{requests:,} requests in {MONTH_DAYS} days, {float(hit_rate):.0%} from the cache"
        )
        self.stdout.write(
            f"each answer: {usage.input_tokens:,} tokens in ({usage.cached_tokens:,} cached),"
            f" {usage.output_tokens:,} out, {usage.thinking_tokens:,} of thinking"
        )
        width = max(len(each.model) for each in found)
        for each in found:
            since = f"  from {each.since}" if each.since else ""
            self.stdout.write(
                f"{each.model:<{width}}  ${each.request_usd:f} each  ${each.month_usd:,} a month"
                f"{since}"
            )


def _usage(given: int, written: int, thought: int = 0) -> Usage:
    return Usage(input_tokens=given, output_tokens=written, thinking_tokens=thought)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 0")
    return int(text)


def _days(text: str) -> int:
    if not (number := _count(text)):
        raise argparse.ArgumentTypeError("at least 1 day")
    return number


def _rate(text: str) -> Fraction:
    try:
        found = Fraction(text)
    except (ValueError, ZeroDivisionError):
        found = Fraction(-1)
    if not 0 <= found <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 1")
    return found
