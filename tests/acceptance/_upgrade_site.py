"""A small site of its own for tests/acceptance/upgrade.py, run by the old and by the new package.

``python _upgrade_site.py fill|migrate|use FOLDER DATABASE PACKAGE`` prints JSON in its last line.
It uses public names alone, since it has to run with earlier releases, too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

QUESTIONS = 12
_MODELS = """
from django.db import models
class Book(models.Model):
    title = models.CharField(max_length=100)
"""
_INDEXES = """
from django_obc_ai.indexes import VectorIndex, register
from shelf.models import Book
@register
class BookIndex(VectorIndex):
    name, model, fields = "books", Book, ["title"]
    def visible_to(self, queryset, user):
        return queryset
"""


def configure(folder: Path, database: dict[str, Any]) -> None:
    """Set Django up for a site with one model."""
    (folder / "shelf").mkdir(exist_ok=True)
    for name, text in (("__init__", ""), ("models", _MODELS), ("ai_indexes", _INDEXES)):
        (folder / "shelf" / f"{name}.py").write_text(text)
    sys.path.insert(0, str(folder))
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="the same before and after",
        BASE_DIR=folder,
        INSTALLED_APPS=[
            "django.contrib.auth", "django.contrib.contenttypes", "django_obc_ai", "shelf",
        ],
        DATABASES={"default": database},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
        OBC_AI={
            "PROVIDERS": {
                "default": {
                    "BACKEND": "django_obc_ai.testing.ScriptedProvider",
                    "OPTIONS": {"script": ["Yes."], "repeat_last": True, "model": "made-up"},
                }
            },
            "PRICES": {"made-up": {"input_usd": "1.00", "output_usd": "2.00"}},
            "BUDGETS": [{"scope": "global", "period": "total", "limit_usd": "5.00"}],
        },
    )  # fmt: skip
    django.setup()


def fill() -> dict[str, Any]:
    """Migrate an empty database, and leave a row in as many tables as public services do."""
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from shelf.models import Book

    from django_obc_ai.services.chat import ChatService
    from django_obc_ai.services.text import TextService

    call_command("migrate", run_syncdb=True, verbosity=0)
    amina = get_user_model().objects.create_user("amina")
    for number in range(QUESTIONS):
        Book.objects.create(title=f"Book {number} of rice and coffee")
        TextService().generate_text(f"Question {number}?", user=amina, module=f"part{number % 3}")
    TextService().submit("A question for later?", user=amina)
    ChatService().send("Which books are there?", user=amina)
    call_command("ai_index", verbosity=0)
    return dump()


def dump() -> dict[str, Any]:
    """Return the schema and the rows of this package's tables."""
    from django.db import connection

    look, found = connection.introspection, {}
    with connection.cursor() as cursor:
        names = sorted(n for n in look.table_names(cursor) if n.startswith("django_obc_ai_"))
        for name in names:
            columns = look.get_table_description(cursor, name)
            constraints = look.get_constraints(cursor, name)
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(name)}")
            heads = [each[0] for each in cursor.description]
            rows = [{h: str(v) for h, v in zip(heads, row, strict=True)} for row in cursor]
            found[name] = {
                "columns": sorted(
                    [c.name, str(look.get_field_type(c.type_code, c)), bool(c.null_ok)]
                    for c in columns
                ),
                "constraints": sorted(
                    [name, *map(str, (c["columns"], c["unique"], c["index"], c["check"]))]
                    for name, c in constraints.items()
                    if not name.startswith("__")  # SQLite's, which have no name of their own
                ),
                "rows": sorted(rows, key=lambda row: json.dumps(row, sort_keys=True)),
            }
    return found


def migrate() -> dict[str, Any]:
    """Bring a database up to date, and look at it."""
    from django.core.management import call_command

    call_command("migrate", run_syncdb=True, verbosity=0)
    call_command("makemigrations", "django_obc_ai", check=True, dry_run=True, verbosity=0)
    return dump()


def use() -> dict[str, Any]:
    """Go on with the rows of the old package."""
    from django.db.models import Sum

    from django_obc_ai.models import AIOperation
    from django_obc_ai.services.budgets import check_budgets
    from django_obc_ai.services.search import SimilaritySearchService
    from django_obc_ai.services.text import TextService

    def figures() -> tuple[int, int]:
        total = AIOperation.objects.aggregate(total=Sum("cost_usd"))["total"]
        (budget,) = check_budgets()
        return round(total * 10**9), budget.spent

    before = figures()
    result = TextService().generate_text("And now?")
    result.raise_for_error()
    after = figures()
    found = SimilaritySearchService().search("books", "rice and coffee", user=None, k=3)
    return {
        "ledger": before[0],
        "spent": before[1],
        "added to both": [after[0] - before[0], after[1] - before[1]],
        "cost": round(result.cost * 10**9),
        "found": len(found),
    }


if __name__ == "__main__":
    configure(Path(sys.argv[2]), json.loads(sys.argv[3]))
    import django_obc_ai

    if sys.argv[4] and not Path(django_obc_ai.__file__).is_relative_to(sys.argv[4]):
        raise SystemExit(f"{django_obc_ai.__file__} is not the earlier package.")
    print(json.dumps({"fill": fill, "migrate": migrate, "use": use}[sys.argv[1]]()))
