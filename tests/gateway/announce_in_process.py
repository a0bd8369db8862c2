"""One process that crosses thresholds: ``python -m tests.gateway.announce_in_process JSON``.

JSON holds DATABASES, OBC_AI and keys. Prints what it has announced, as pairs of key and
percent.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from tests.in_process import begin, wait_for_the_others


def main() -> None:
    given = begin()
    from django.db import connections

    from django_obc_ai.conf import BudgetSettings
    from django_obc_ai.gateway import alerts
    from django_obc_ai.gateway.policy import Applied
    from django_obc_ai.models import BudgetAlert
    from django_obc_ai.signals import budget_threshold_reached
    from django_obc_ai.types import BudgetTotals

    heard: list[tuple[str, int]] = []

    def listen(alert: BudgetAlert, **_: Any) -> None:
        heard.append((alert.key, alert.percent))

    budget_threshold_reached.connect(listen)
    BudgetAlert.objects.using(given["OBC_AI"]["DATABASE"]).count()  # connects
    wait_for_the_others()
    budget = BudgetSettings(scope="global", period="day", limit=Decimal(1))
    for key in given["keys"]:
        found = [Applied(budget=budget, key=key, limit=100, resets_at=None)]
        alerts.announce(found, {key: BudgetTotals(spent_nano=95)}, lambda limit: limit)
    connections.close_all()
    print(json.dumps(heard))


if __name__ == "__main__":
    main()
