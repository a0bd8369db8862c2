"""``manage.py ai_rollup``: add the ledger up for the dashboard and the metrics."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from django_obc_ai.models import OperationRollup
from django_obc_ai.services.metrics import prepare


class Command(BaseCommand):
    """Exit code 0: done."""

    help = (
        "Add the ledger up by quarters of an hour and by days, for the dashboard and the metrics,"
        " which otherwise do it when somebody looks. Run it once for a ledger that is large"
        " already, or by cron."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Add up, and say what there is."""
        prepare()
        count = OperationRollup.objects.filter(is_day=False).count()
        self.stdout.write(f"{count:,} quarters of an hour are added up.")
