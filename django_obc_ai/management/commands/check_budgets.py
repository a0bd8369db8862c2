"""``manage.py check_budgets``: how far budgets are used; announce what was not announced."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from django_obc_ai.gateway.alerts import describe
from django_obc_ai.services.budgets import check_budgets


class Command(BaseCommand):
    """Exit code 0: done."""

    help = (
        "Show how far each budget is used, and announce thresholds that no call has announced,"
        " such as after a corrected price or a lowered limit. Run it by cron."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Announce, and print a line for each budget, the most used first."""
        for state in check_budgets():
            spent, limit = (describe(state.unit, each) for each in (state.spent, state.limit))
            held = f", {describe(state.unit, state.held)} held" if state.held else ""
            self.stdout.write(f"{state.percent:5.1f} %  {state.key}: {spent} of {limit}{held}")
