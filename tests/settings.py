"""Settings of the test project.

OBC_AI_TEST_DATABASE=postgres runs the suite on a PostgreSQL server that the tests start.
tests/conftest.py fills in where the databases are, in these variables, which subprocesses inherit:
OBC_AI_TEST_SQLITE (path of the file), OBC_AI_TEST_POSTGRES_HOST (folder of the socket) and
OBC_AI_TEST_BASE_DIR (a temporary folder, below which the spool lies).
"""

from __future__ import annotations

import importlib.util
import os

import django

from tests.servers.databases import postgres_settings, sqlite_settings

BASE_DIR = os.environ.get("OBC_AI_TEST_BASE_DIR")
SECRET_KEY = "only for tests"
DEBUG = False
ALLOWED_HOSTS = ["*"]
USE_TZ = True
TIME_ZONE = "Asia/Manila"
ROOT_URLCONF = "tests.urls"
STATIC_URL = "/static/"
MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_obc_ai",
    "tests.testapp",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

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

if os.environ.get("OBC_AI_TEST_DATABASE") == "postgres":
    DATABASES = {"default": postgres_settings(os.environ.get("OBC_AI_TEST_POSTGRES_HOST", ""))}
else:
    DATABASES = {"default": sqlite_settings(os.environ.get("OBC_AI_TEST_SQLITE", ":memory:"))}

if django.VERSION >= (6, 0) and importlib.util.find_spec("django_tasks_db"):
    INSTALLED_APPS += ["django_tasks_db"]
    TASKS = {
        "default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"},
        "database": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": ["ai", "other"]},
    }

OBC_AI: dict[str, object] = {}
