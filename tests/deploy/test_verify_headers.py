"""What verify_security.sh says of headers of safety."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.deploy.test_verify_security import parts  # noqa: F401 - a fixture

GOOD_POLICY = (
    "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'; object-src 'none'"
)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("", ""), ""),
        (("default-src 'self'", "default-src 'none'; script-src 'nonce-abc' 'sha256-x'"), ""),
        (("default-src 'self'; ", ""), "neither script-src nor default-src"),
        (("default-src 'self'", "default-src 'self' 'unsafe-inline'"), "'unsafe-inline'"),
        (("default-src 'self'", "default-src 'self' https://*.example.org"), "*.example.org"),
        (("default-src 'self'", "default-src 'self'; script-src https:"), "https:"),
        (("default-src 'self'", "default-src 'self'; script-src-attr 'unsafe-inline'"), "attr"),
        # The first directive of a name counts.
        (("default-src 'self'", "script-src *; default-src 'self'; script-src 'self'"), "*"),
        (("default-src 'self'", "default-src 'self'; script-src 'self' https://unpkg.com"),
         "https://unpkg.com into script-src"),
        (("default-src 'self'", "default-src 'self' ws:"), "ws:"),
        (("default-src 'self'", "default-src 'self'; connect-src *"), "* into connect-src"),
        (("img-src 'self' data:", "img-src *"), "* into img-src"),
        (("img-src 'self' data:", "img-src https:"), "https: into img-src"),
        (("img-src 'self' data:", "img-src 'self' https://other.example"), "other.example"),
        (("img-src 'self' data:", "img-src 'self' https://tiles.example"), ""),
        (("default-src 'self'", "default-src 'self'; script-src 'self' https://tiles.example"),
         "https://tiles.example into script-src"),
        (("; object-src 'none'", ""), "object-src"),
        (("base-uri 'none'; ", ""), "base-uri"),
        (("frame-ancestors 'none'", "frame-ancestors *"), "frame-ancestors"),
        (("form-action 'self'; ", ""), "form-action"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_policy_is_named(
    parts: Any,  # noqa: F811
    change: tuple[str, str],
    fault: str,
) -> None:
    named = {"img-src": ["'self'", "https://tiles.example"], "script-src": ["https://unpkg.com"]}
    found = parts.headers.policy_fault(GOOD_POLICY.replace(*change), named)
    assert (fault in found) if fault else found == ""


@pytest.mark.parametrize(
    ("value", "decided", "fault"),
    [
        ("max-age=3600", (3600, False, False), ""),
        ("max-age=3600; includeSubDomains; preload", (3600, True, True), ""),
        ("includeSubDomains", (3600, True, False), "no max-age"),
        ("max-age=60", (3600, False, False), "says 60 seconds"),
        ("max-age=3600; includeSubDomains", (3600, False, False), "says includeSubDomains"),
        ("max-age=3600", (3600, True, False), "lacks includeSubDomains"),
        ("max-age=3600; preload", (3600, False, False), "says preload"),
    ],
)
def test_hsts_is_held_against_what_was_decided(
    parts: Any,  # noqa: F811
    value: str,
    decided: tuple[int, bool, bool],
    fault: str,
) -> None:
    from deploy.verify.decisions import decided_against, hsts_fault

    names = ("hsts_seconds", "hsts_subdomains", "hsts_preload")
    site: Any = SimpleNamespace(**dict(zip(names, decided, strict=True)))
    assert (fault in hsts_fault(value, site)) if fault else hsts_fault(value, site) == ""
    assert ("security.W005" in decided_against(site)) != decided[1]
