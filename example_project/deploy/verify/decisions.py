"""What `.env` decides about HSTS, which Django's checks would have otherwise."""

from __future__ import annotations

from deploy.env import Deployment

#: Django's names of two decisions about the whole domain, which .env.example explains.
SUBDOMAINS, PRELOAD = "security.W005", "security.W021"


def decided_against(site: Deployment) -> list[str]:
    """Return the ids of checks whose advice the operator has declined."""
    wanted = {SUBDOMAINS: site.hsts_subdomains, PRELOAD: site.hsts_preload}
    return [name for name, is_on in wanted.items() if not is_on]


def hsts_fault(value: str, site: Deployment) -> str:
    """Return where Strict-Transport-Security says something else than `.env`, "" for nowhere."""
    parts = [part.strip().lower() for part in value.split(";")]
    ages = [part.partition("=")[2].strip('"') for part in parts if part.startswith("max-age=")]
    if len(ages) != 1 or not ages[0].isdecimal() or int(ages[0]) < 1:
        return "has no max-age above 0"
    if int(ages[0]) != site.hsts_seconds:
        return f"says {ages[0]} seconds, and OBC_SITE_HSTS_SECONDS {site.hsts_seconds}: restart web"
    for word, variable, is_on in (
        ("includeSubDomains", "OBC_SITE_HSTS_SUBDOMAINS", site.hsts_subdomains),
        ("preload", "OBC_SITE_HSTS_PRELOAD", site.hsts_preload),
    ):
        if (word.lower() in parts) != is_on:
            says = "lacks" if is_on else "says"
            return f"{says} {word}, and {variable} is {int(is_on)}: restart web"
    return ""
