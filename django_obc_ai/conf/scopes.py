"""What a budget may be of, and for how long: for settings, rows and forms."""

from __future__ import annotations

PERIODS = ("hour", "day", "week", "month", "total")
#: "tenant" is the call's scope, the key that the project defines.
SCOPES = ("global", "module", "operation_type", "model", "user", "group", "tenant")
DEFAULT_ALERT_PERCENT = (75, 90)
