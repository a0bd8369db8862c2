"""Generate, index, search, and be stopped by the budget: each with the installed backends."""

from __future__ import annotations

import json
from decimal import Decimal

import django


def main() -> dict[str, object]:
    """Return what was seen, for the test to compare."""
    django.setup()
    from django.core.management import call_command

    from django_obc_ai.backends.cost_stores import cost_stores
    from django_obc_ai.backends.vector_stores import vector_stores
    from django_obc_ai.models import AIOperation
    from django_obc_ai.services.indexing import IndexingService
    from django_obc_ai.services.search import SimilaritySearchService
    from django_obc_ai.services.text import TextService
    from tests.testapp.models import Place

    call_command("check", fail_level="WARNING", verbosity=0)
    call_command("migrate", run_syncdb=True, verbosity=0)
    for name in ("Poblacion", "Bagumbayan", "San Isidro"):
        Place.objects.create(name=name, province="Cotabato")
    report = IndexingService().index("places")
    found = SimilaritySearchService().search("places", "poblacion", user=None, k=1)
    result = TextService().generate_text("Say it once more.", voice="loud")
    operation = AIOperation.objects.get(pk=result.operation_id)
    totals = cost_stores["default"].totals(["global:total:always"])["global:total:always"]
    refused = TextService().generate_text("Again.", max_output_tokens=10_000)
    return {
        "embedded": report.embedded,
        "found": [each.object.name for each in found],
        "text": result.text,
        "error": result.error,
        "cost": str(operation.cost_usd),
        "spent": str(Decimal(totals.spent_nano).scaleb(-9)),
        "held": totals.held_nano,
        "refused": refused.error,
        "held by the store": vector_stores["default"].count("places"),
    }


if __name__ == "__main__":
    print(json.dumps(main()))
