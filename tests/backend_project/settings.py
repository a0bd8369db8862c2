"""A project whose four backends come from another distribution, by dotted path alone."""

from __future__ import annotations

import os
from pathlib import Path

VAR = Path(os.environ["BACKEND_PROJECT_VAR"])
SECRET_KEY = "only for tests"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django_obc_ai",
    "tests.testapp",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": VAR / "db.sqlite3"}}

OBC_AI = {
    "PROVIDERS": {
        "default": {
            "BACKEND": "obc_ai_test_backends.provider.ParrotProvider",
            "OPTIONS": {"api_key": os.environ.get("PARROT_API_KEY", "")},
        }
    },
    "EMBEDDERS": {"default": {"BACKEND": "obc_ai_test_backends.embedder.TrigramEmbedder"}},
    "VECTOR_STORES": {
        "default": {
            "BACKEND": "obc_ai_test_backends.vector_store.FileVectorStore",
            "OPTIONS": {"path": VAR / "vectors"},
        }
    },
    "COST_STORES": {
        "default": {
            "BACKEND": "obc_ai_test_backends.cost_store.SQLiteCostStore",
            "OPTIONS": {"path": VAR / "costs.sqlite3"},
        }
    },
    "PRICES": {"parrot-1": {"input_usd": "1.00", "output_usd": "2.00"}},
    "BUDGETS": [{"scope": "global", "period": "total", "limit_usd": "0.01"}],
}
