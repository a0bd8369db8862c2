"""Settings of the site that the proof of the kit's servers serves; copied into its release.

The kit's own, with what the proof must see, and without what would stop a crowd at one address.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

_base = import_module("deploy.settings" if find_spec("deploy.settings") else "obc_site.settings")
globals().update({name: value for name, value in vars(_base).items() if name.isupper()})

TRIAL_ROOT = _base.ROOT_URLCONF
ROOT_URLCONF = "trial_urls"
_tenant = {"scope": "tenant", "key": "visitors", "period": "day", "limit_usd": "5"}
OBC_AI: dict[str, Any] = {
    **_base.OBC_AI,
    "WEB": {
        "trusted_proxies": 1,
        **_base.OBC_AI.get("WEB", {}),
        "anonymous_scope": "visitors",
        "throttles": {"anon": None, "user": None, "burst": None},
    },
    "BUDGETS": [*_base.OBC_AI.get("BUDGETS", []), {**_tenant, "enforce": True}],
    "RATE_LIMITS": {"default": None},
}
