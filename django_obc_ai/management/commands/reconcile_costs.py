"""``manage.py reconcile_costs``: do ledger, cost store and bill agree?"""

from __future__ import annotations

import datetime
import getpass
import zoneinfo
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_obc_ai.exceptions import CostStoreError
from django_obc_ai.querysets import current_day
from django_obc_ai.services import reconciliation
from django_obc_ai.services.ledger import drain_spool
from django_obc_ai.services.reconciliation import BilledRow, Reconciliation


class Command(BaseCommand):
    """Exit code 0: the books agree; 1: they could not be compared; 2: they differ."""

    help = (
        "Compare ledger, cost store and, with --export, the provider's bill, by day and model."
        " Exit code 0: they agree, 1: could not be compared, 2: they differ."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        for name, text in (("--from", "First day"), ("--to", "Last day")):
            parser.add_argument(
                name,
                type=datetime.date.fromisoformat,
                metavar="YYYY-MM-DD",
                help=f"{text}, included; today if not given.",
            )
        parser.add_argument(
            "--export", metavar="FILE.csv", help="The provider's bill: day, model, cost."
        )
        parser.add_argument(
            "--timezone", help="Time zone of the export's days; TIME_ZONE if not given."
        )
        parser.add_argument(
            "--tolerance",
            default="0",
            metavar="USD",
            help="Drift by day and model that is none, for bills in whole cents.",
        )
        parser.add_argument(
            "--repair",
            action="store_true",
            help="Set unknown costs by the bill, and the store's totals by the ledger.",
        )
        parser.add_argument("--by", help="Who does it, for the trace.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Compare, repair if asked, print what differs."""
        drain_spool()
        today = current_day()
        first, last = options["from"] or today, options["to"] or today
        try:
            tolerance = Decimal(options["tolerance"])
            zone = zoneinfo.ZoneInfo(options["timezone"]) if options["timezone"] else None
            found = reconciliation.reconcile(
                first,
                last,
                bill=_read(options["export"]) if options["export"] else None,
                zone=zone,
                repair=options["repair"],
                made_by=options["by"] or getpass.getuser(),
            )
        except (ValueError, InvalidOperation, OSError, CostStoreError) as error:
            raise CommandError(str(error), returncode=1) from error
        except zoneinfo.ZoneInfoNotFoundError as error:
            raise CommandError(f"There is no time zone {options['timezone']!r}.") from error
        self._show(found, tolerance, has_bill=bool(options["export"]))
        if not found.is_balanced(tolerance):
            raise CommandError("The books differ.", returncode=2)
        self.stdout.write(self.style.SUCCESS("The books agree."))

    def _show(self, found: Reconciliation, tolerance: Decimal, *, has_bill: bool) -> None:
        for row in found.rows:
            if row.unknown:
                self.stdout.write(
                    f"unknown  {row.day} {row.model}: {row.unknown} operations, presumed"
                    f" ${row.presumed_usd:f}"
                )
            if abs(row.drift_usd) > tolerance:
                self.stdout.write(
                    f"bill     {row.day} {row.model}: ledger ${row.ledger_usd:f}, billed"
                    f" ${row.billed_usd:f}, drift {_drift(row.drift_usd, row.ledger_usd)}"
                )
        if has_bill:
            for model, (ledger, billed) in sorted(found.by_model.items()):
                self.stdout.write(
                    f"model    {model}: ledger ${ledger:f}, billed ${billed:f},"
                    f" drift {_drift(billed - ledger, ledger)}"
                )
        for each in found.store:
            if not each.drift:
                continue
            state = "repaired" if each.is_repaired else "in use" if each.held else "differs"
            self.stdout.write(f"store    {each}; {state}")
        if found.corrected:
            self.stdout.write(f"{found.corrected} costs set by the bill; run {found.run}")


def _drift(drift: Decimal, of: Decimal) -> str:
    share = f" ({drift / of * 100:+.2f} %)" if of else ""
    return f"{drift:+f}{share}"


def _read(path: str) -> list[BilledRow]:
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        return reconciliation.read_export(file, reconciliation.known_models())
