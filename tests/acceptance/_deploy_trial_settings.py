"""Settings of the site that the proof of the kit's servers serves; copied into its release.

The kit's own, with what the proof must see, and without what would stop a crowd at one address.
"""

from __future__ import annotations

from deploy.settings import *  # noqa: F403 - a settings module
from deploy.settings import OBC_AI

ROOT_URLCONF = "trial_urls"
_visitors = {"scope": "tenant", "key": "visitors", "period": "day", "limit_usd": "5"}
OBC_AI |= {
    "WEB": {
        **OBC_AI["WEB"],
        "anonymous_scope": "visitors",
        "throttles": {"anon": None, "user": None, "burst": None},
    },
    "BUDGETS": [*OBC_AI["BUDGETS"], {**_visitors, "enforce": True}],
    "RATE_LIMITS": {"default": None},
}
