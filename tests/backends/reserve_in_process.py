"""One process that spends against a budget: ``python -m tests.backends.reserve_in_process JSON``.

JSON holds DATABASES and OBC_AI, holds (pairs of key and limit), calls and amount. Prints what was
settled by each admitted call, as JSON. Every third admitted call is given back in full.
"""

from __future__ import annotations

import json
import uuid

from tests.in_process import begin, wait_for_the_others


def main() -> None:
    given = begin()
    from django.db import connections

    from django_obc_ai.backends.cost_stores import cost_stores
    from django_obc_ai.types import Amount, BudgetHold

    store = cost_stores["default"]
    store.totals(["warm"])
    wait_for_the_others()
    settled = []
    for number in range(given["calls"]):
        reservation = uuid.uuid4()
        holds = [BudgetHold(key=key, limit_nano=limit) for key, limit in given["holds"]]
        if store.reserve(
            reservation, holds[:: 1 if number % 2 else -1], Amount(nano=given["amount"])
        ):
            continue
        cost = 0 if number % 3 == 0 else given["amount"] - number % 2
        assert store.settle(reservation, Amount(nano=cost))
        settled.append(cost)
    connections.close_all()
    print(json.dumps(settled))


if __name__ == "__main__":
    main()
