"""Take docs/images/dashboard.png: the dashboard of an invented project, in Chromium.

Run it with the group `browser` installed: ``python tests/acceptance/_dashboard_image.py FILE``.
"""

from __future__ import annotations

import datetime
import io
import os
import random
import sys
import tempfile
from decimal import Decimal

from tests.acceptance._browser_site import serve, spend
from tests.acceptance.dashboard_browser import find_chromium, visit

MODULES = ("communities", "coordination", "mana", "recommendations", "policies")
SIZE = {"width": 1280, "height": 1180}
DAYS = 60


def furnish(count: int = 9_000) -> bool:
    """Fill the ledger with two months of a project whose use grows."""
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.utils import timezone

    from django_obc_ai.models import AIOperation, Budget

    chance, now = random.Random(7), timezone.now()
    make = get_user_model().objects.create
    users = [make(username=name).pk for name in ("amina.m", "bai.s", "omar.t", "rahma.d")]
    rows = []
    for _ in range(count):
        began = now - datetime.timedelta(days=DAYS) * (1 - chance.random() ** 0.7)
        if began.weekday() > 4 and chance.random() < 0.7:
            continue
        success = chance.random() < 0.985
        cached = success and chance.random() < 0.83
        coalesced = success and not cached and chance.random() < 0.12
        price = Decimal(round(chance.lognormvariate(14.6, 0.8))).scaleb(-9)
        rows.append(
            AIOperation(
                created_at=began,
                recorded_at=began,
                module=chance.choices(MODULES, (5, 4, 3, 2, 1))[0],
                operation_type=chance.choice(["chat", "analysis", "search"]),
                model_used="gemini-3.5-flash-lite",
                user_id=chance.choices([*users, None], (5, 4, 3, 2, 1))[0],
                provider="default",
                success=success,
                error_category="" if success else chance.choice(["timeout", "rate_limited"]),
                cached=cached,
                coalesced=coalesced,
                waited_ms=chance.randrange(1, 2_500) if coalesced else 0,
                cost_usd=0 if cached or coalesced or not success else price,
                saved_usd=price if cached or coalesced else 0,
                input_tokens=400 + chance.randrange(3_000),
                output_tokens=chance.randrange(700),
                response_time_ms=round(chance.lognormvariate(7, 0.6)),
                first_chunk_ms=chance.choice([None, 250 + chance.randrange(500)]),
                prompt_hash="",
            )
        )
    AIOperation.objects.bulk_create(rows, batch_size=1_000)
    for command in ("ai_rollup", "ai_index"):
        call_command(command, stdout=io.StringIO())
    for scope, key, period, limit in (
        ("global", "", "day", "0.50"),
        ("global", "", "month", "5"),
        ("module", "communities", "month", "2"),
    ):
        Budget.objects.create(scope=scope, key=key, period=period, limit_usd=Decimal(limit))
    spend(
        {
            ("global", "", "day"): (0.5, 0.11, 0.02),
            ("global", "", "month"): (5, 2.9, 0.02),
            ("module", "communities", "month"): (2, 1.58, 0.01),
        }
    )
    return True


def main() -> None:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, serve(folder) as site, sync_playwright() as tools:
        site.apart(furnish)
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = tools.chromium.launch(executable_path=find_chromium(), args=arguments)
        context = browser.new_context(viewport=SIZE, color_scheme="light", locale="en-GB")
        context.add_cookies([{"name": "sessionid", "value": site.session, "url": site.url}])
        page = context.new_page()
        visit(page, f"{site.url}/admin/django_obc_ai/aioperation/dashboard/")
        page.screenshot(path=sys.argv[1])
        browser.close()


if __name__ == "__main__":
    main()
