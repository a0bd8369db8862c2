"""The deployed site's settings with faults; copied into a release by the tests of the verification.

OBC_SITE_FAULTS names them, with commas.
"""

from __future__ import annotations

import os

from deploy.settings import *  # noqa: F403 - a settings module
from deploy.settings import (
    AUTHENTICATION_BACKENDS,
    INSTALLED_APPS,
    MIDDLEWARE,
    OBC_AI,
    SECURE_CSP,
    TEMPLATES,
)

_faults = os.environ["OBC_SITE_FAULTS"].split(",")


def _without(word: str, names: list[str]) -> list[str]:
    return [name for name in names if word not in name]


if "debug" in _faults:
    DEBUG = True
if "policy" in _faults:
    MIDDLEWARE = _without("csp", _without("content_security_policy", MIDDLEWARE))
if "loose-policy" in _faults:
    SECURE_CSP = CONTENT_SECURITY_POLICY = {**SECURE_CSP, "script-src": ["*", "'unsafe-inline'"]}
if "headers" in _faults:
    SECURE_HSTS_SECONDS = 60
    SECURE_CONTENT_TYPE_NOSNIFF = False
    SECURE_REFERRER_POLICY = "unsafe-url"
    SECURE_CROSS_ORIGIN_OPENER_POLICY = None
    X_FRAME_OPTIONS = "SAMEORIGIN"
if "cookies" in _faults:
    SESSION_COOKIE_SECURE = False
    SESSION_COOKIE_SAMESITE = "Lax"
if "csrf" in _faults:
    MIDDLEWARE = _without("Csrf", MIDDLEWARE)
if "origins" in _faults:
    CSRF_TRUSTED_ORIGINS = ["https://evil.example"]
if "throttles" in _faults:
    none = {"anon": None, "user": None, "burst": None}
    OBC_AI = {**OBC_AI, "WEB": {**OBC_AI["WEB"], "throttles": none}}
if "anybody" in _faults:
    OBC_AI = {**OBC_AI, "WEB": {**OBC_AI["WEB"], "anonymous_scope": "visitors"}}
if "bodies" in _faults:
    OBC_AI = {**OBC_AI, "WEB": {**OBC_AI["WEB"], "max_body_bytes": 900_000}}
if "axes" in _faults:
    INSTALLED_APPS = _without("axes", INSTALLED_APPS)
    MIDDLEWARE = _without("axes", MIDDLEWARE)
    AUTHENTICATION_BACKENDS = _without("Guard", _without("axes", AUTHENTICATION_BACKENDS))
if "markup" in _faults:
    TEMPLATES = [{**TEMPLATES[0], "OPTIONS": {**TEMPLATES[0]["OPTIONS"], "autoescape": False}}]
if "tokens" in _faults:
    SIMPLE_JWT = {"CHECK_REVOKE_TOKEN": False, "SIGNING_KEY": "another key", "ALGORITHM": "HS256"}
if "logs" in _faults:
    # What a hurried programmer adds, and forgets: what every request holds.
    MIDDLEWARE = ["faulty_settings.tell", *MIDDLEWARE]


def tell(get_response):  # type: ignore[no-untyped-def]
    """Print each request with all that it holds."""

    def middleware(request):  # type: ignore[no-untyped-def]
        print(request.get_full_path(), request.body[:500], dict(request.headers), flush=True)
        return get_response(request)

    return middleware
