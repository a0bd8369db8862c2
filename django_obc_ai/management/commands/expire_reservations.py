"""``manage.py expire_reservations``: book the budget holds of dead processes."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from django_obc_ai.services.budgets import expire_reservations


class Command(BaseCommand):
    """Exit code 0: done."""

    help = (
        "Book what dead processes hold of budgets as spent, at its ceiling. Calls do it by"
        " themselves from time to time; run it by cron where there are few."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Book, and say how many."""
        self.stdout.write(f"{expire_reservations()} holds of dead processes were booked.")
