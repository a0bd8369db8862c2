"""The package's metrics, and what the kit adds to them: how the work of the night ended.

    obc_site_backup_timestamp_seconds       when the newest backup was made, 0 for none
    obc_site_nightly_failed{part="backup"}  1 if a part's last try failed

They are read from run/nightly.json, so that they are there under supervisord and systemd alike.
"""

from __future__ import annotations

from functools import wraps

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from deploy import nights
from django_obc_ai.api.prometheus import metrics_view

#: What ends the newer one of the two formats.
_END = b"# EOF\n"


def nightly_metrics() -> str:
    """Return the lines, which are the same in both formats of Prometheus."""
    records = nights.read(settings.RUN_DIR.parent)
    backup = records.get("backup")
    made = (backup.succeeded or 0) if backup is not None else 0
    name, failed = "obc_site_backup_timestamp_seconds", "obc_site_nightly_failed"
    lines = [
        f"# HELP {name} When the newest backup was made; 0 if there is none.",
        f"# TYPE {name} gauge",
        f"{name} {made:.3f}",
        f"# HELP {failed} Whether the last try of a part of the night's work failed.",
        f"# TYPE {failed} gauge",
        *(f'{failed}{{part="{part}"}} {int(each.failed)}' for part, each in records.items()),
    ]
    return "\n".join(lines) + "\n"


@wraps(metrics_view)  # with what its decorators say of it
def site_metrics(request: HttpRequest) -> HttpResponse:
    """Answer as the package's view does, with the kit's metrics at the end."""
    response = metrics_view(request)
    if response.status_code == 200:
        told = response.content
        end = _END if told.endswith(_END) else b""
        response.content = told.removesuffix(_END) + nightly_metrics().encode() + end
    return response
