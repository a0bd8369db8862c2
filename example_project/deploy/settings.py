"""Settings of a site that others can reach: ``DJANGO_SETTINGS_MODULE=deploy.settings``.

They are the example's, with what a server needs, and take nothing from a file in the repository:
``deploy.env`` reads and checks the variables, and ``.env.example`` describes them. Debugging is
off and cannot be switched on.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import dj_database_url
import django
from django.core.exceptions import ImproperlyConfigured

from deploy import env

try:
    site = env.load(os.environ)
except env.NotConfigured as error:
    raise ImproperlyConfigured(str(error)) from None

# What the example's own settings ask for under names of their own. They would make a key otherwise.
os.environ.update(
    OBC_SITE_VAR=str(site.home),
    OBC_SITE_DEBUG="0",
    OBC_SITE_SECRET_KEY=site.secret_key,
    OBC_SITE_BROKER=site.redis_url,
)
if not os.environ.get("OBC_SITE_GEMINI_URL"):
    os.environ.pop("OBC_SITE_GEMINI_URL", None)  # an empty line of .env is none

from django_obc_ai import logging_config
from obc_site.settings import *  # noqa: F403
from obc_site.settings import (
    DATABASES,
    INSTALLED_APPS,
    MIDDLEWARE,
    OBC_AI,
    SECURE_CSP,
    TIME_ZONE,
)

RUN_DIR = site.home / "run"  # where beat remembers what it did
if not RUN_DIR.exists():
    RUN_DIR.mkdir(exist_ok=True)
    RUN_DIR.chmod(0o750)  # as render.py makes it: the proxy's user comes in by the group

DEBUG = False
SECRET_KEY = site.secret_key
ALLOWED_HOSTS = site.allowed_hosts
CSRF_TRUSTED_ORIGINS = site.csrf_trusted_origins
SILENCED_SYSTEM_CHECKS: list[str] = []

INSTALLED_APPS = [*INSTALLED_APPS, "axes", "rest_framework"]
ROOT_URLCONF = "deploy.urls"
WSGI_APPLICATION = "deploy.wsgi.application"
ASGI_APPLICATION = "deploy.asgi.application"

# --- What browsers are told -------------------------------------------------------------------
# nginx ends TLS, sets this header on every request and passes none that came from outside.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = True
# Two decisions about the domain, not about this site, that are hard to take back: whether every
# subdomain has to be served over HTTPS, too, and whether browsers may build that in. .env.example
# says how to answer no; `check --deploy` then warns of it.
SECURE_HSTS_SECONDS = site.hsts_seconds
SECURE_HSTS_INCLUDE_SUBDOMAINS = site.hsts_subdomains
SECURE_HSTS_PRELOAD = site.hsts_preload
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Strict"
SECURE_CSP = {
    **SECURE_CSP,
    "connect-src": ["'self'"],
    "script-src": ["'self'"],
    "style-src": ["'self'"],
}

# --- Who is let in ----------------------------------------------------------------------------
AUTHENTICATION_BACKENDS = [
    "deploy.logins.AddressGuard",  # one address that tries many names
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=30)
# Name and address together: by the name alone anybody could lock anybody out, by the address alone
# one person a whole office.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # 30 minutes are 30, and the answer is 429
AXES_CLIENT_IP_CALLABLE = "deploy.logins.login_address"
AXES_VERBOSE = False  # its version in every output
AXES_ALLOWED_CORS_ORIGINS = "null"  # by default any site could read that somebody is locked out

MIDDLEWARE = ["django_obc_ai.middleware.CorrelationIdMiddleware", *MIDDLEWARE]
if django.VERSION < (6, 0):  # Django 6.0 brought what django-csp does before
    INSTALLED_APPS += ["csp"]
    CONTENT_SECURITY_POLICY = {"DIRECTIVES": SECURE_CSP}
    MIDDLEWARE = [
        "csp.middleware.CSPMiddleware" if each.startswith("obc_site.middleware") else each
        for each in MIDDLEWARE
    ]
MIDDLEWARE += ["axes.middleware.AxesMiddleware"]

REST_FRAMEWORK: dict[str, Any] = {
    # The first one says how a request without credentials is answered: with 401.
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework_simplejwt.authentication.JWTAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    # For views that you add; the package's count by OBC_AI["WEB"], with the same figures.
    "DEFAULT_THROTTLE_CLASSES": [
        "rest_framework.throttling.AnonRateThrottle",
        "rest_framework.throttling.UserRateThrottle",
    ],
    "DEFAULT_THROTTLE_RATES": {"anon": "100/hour", "user": "1000/hour"},
    "NUM_PROXIES": site.proxies,
}
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=15),
    "REFRESH_TOKEN_LIFETIME": timedelta(hours=12),
    "CHECK_REVOKE_TOKEN": True,  # a new password ends all tokens
    "UPDATE_LAST_LOGIN": True,
}

# --- Where things are kept --------------------------------------------------------------------
sqlite = {**DATABASES["default"], "NAME": site.home / "db.sqlite3"}  # the example's, elsewhere
DATABASES = {"default": sqlite}
if site.database_url:
    found: dict[str, Any] = dict(dj_database_url.parse(site.database_url))
    if found["ENGINE"].endswith("sqlite3"):
        sqlite["NAME"] = found["NAME"]
    else:
        options = {"connect_timeout": 10, **found.get("OPTIONS", {})}
        if site.pool:  # Django takes one of both: a pool, or connections that are kept
            options["pool"] = {"min_size": 1, "max_size": site.pool, "timeout": 10}
        DATABASES["default"] = {
            **found,
            "OPTIONS": options,
            "CONN_MAX_AGE": 0 if site.pool else 60,
            "CONN_HEALTH_CHECKS": True,
        }

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": site.cache_url,
        "KEY_PREFIX": "obc-site",
        "OPTIONS": {"socket_connect_timeout": 2, "socket_timeout": 2},
    }
}
STATIC_URL = "/static/"
STATIC_ROOT = site.home / "static"
# Names hold a hash of what is in the file, so that nginx may let browsers keep it for ever; each
# release keeps its own list of them.
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "deploy.static_files.ReleaseStaticFiles",
    },
}
# Servers and workers also write JSON to standard output; what a command prints stays its own.
_program = Path(sys.argv[0])
IS_COMMAND = _program.name == "manage.py" or _program.parent.name in ("backups", "install")
LOGGING = logging_config(site.home / "log", json_to_stdout=not IS_COMMAND)

# --- Background work --------------------------------------------------------------------------
CELERY_TIMEZONE = TIME_ZONE
CELERY_BEAT_SCHEDULE_FILENAME = str(RUN_DIR / "beat")
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 3600}  # longer than any job takes
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_TIME_LIMIT = 600
CELERY_WORKER_HIJACK_ROOT_LOGGER = False  # LOGGING holds for workers, too
CELERY_WORKER_MAX_TASKS_PER_CHILD = 1000

# --- django-obc-ai ----------------------------------------------------------------------------
OBC_AI |= {
    "VECTOR_STORES": {
        "default": {
            "BACKEND": "django_obc_ai.backends.vector_stores.faiss.FaissVectorStore",
            "OPTIONS": {"path": site.home / "vectors"},
        }
    },
    # Words are beside the vectors, in folders of their own.
    "LEXICAL_STORES": {
        "default": {
            "BACKEND": "django_obc_ai.backends.lexical_stores.bm25.BM25LexicalStore",
            "OPTIONS": {"path": site.home / "vectors"},
        }
    },
    # What lets all workers act as one follows the cost store to Redis.
    "COST_STORES": {
        "default": {
            "BACKEND": "django_obc_ai.backends.cost_stores.redis.RedisCostStore",
            "OPTIONS": {"url": site.redis_url},
        }
    },
    "TASK_RUNNERS": {
        "default": {
            "BACKEND": "django_obc_ai.backends.task_runners.celery.CeleryRunner",
            "OPTIONS": {"app": "obc_site.celery.app"},
        }
    },
    "BUDGETS": [
        {
            "scope": "global",
            "period": period,
            "limit_usd": limit,
            "enforce": True,
            "alert_percent": [75, 90],
        }
        for period, limit in (("day", site.day_budget), ("month", site.month_budget))
    ],
    "MONEY": {"alert_emails": site.alert_emails},
    # People log in before they ask, also where answers are free.
    "WEB": {
        "throttles": {"anon": "100/hour", "user": "1000/hour", "burst": "60/minute"},
        "trusted_proxies": site.proxies,
    },
    "LOG": {"spool": site.home / "spool"},
    "METRICS": {"token": site.metrics_token},
}
if site.google_api_key:  # the offline provider has no limits to keep
    OBC_AI["RATE_LIMITS"] = {
        "default": {
            "per_minute": site.per_minute,
            "per_day": site.per_day,
            "day_starts": "America/Los_Angeles",
            "when_exceeded": "wait",
        }
    }
