"""``manage.py ai_rollup``: add the ledger up for the dashboard."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from django_obc_ai.models import OperationRollup
from django_obc_ai.services.rollups import roll_up


class Command(BaseCommand):
    """Exit code 0: done."""

    help = (
        "Add the ledger up by quarters of an hour, for the dashboard, which otherwise does it"
        " when somebody looks. Run it once for a ledger that is large already, or by cron."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Add up, and say what there is."""
        roll_up()
        count = OperationRollup.objects.filter(is_day=False).count()
        self.stdout.write(f"{count:,} quarters of an hour are added up.")
