"""The health report as a check of django-health-check 4; loaded by projects that name it.

HealthCheckView.as_view(checks=["django_obc_ai.health.AIHealthCheck"])
"""

from __future__ import annotations

import dataclasses
import datetime
import threading
import time
from collections.abc import Sequence

from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable, ServiceWarning

from django_obc_ai.logs import events
from django_obc_ai.services.health import HealthItem, HealthReport, check_health

_Key = tuple[tuple[str, ...], bool]
_clock = time.monotonic
_lock = threading.Lock()
_kept: dict[_Key, tuple[float, HealthReport]] = {}


@dataclasses.dataclass
class AIHealthCheck(HealthCheck):  # type: ignore[misc]  # its package has no types
    """Fails where `check_health` finds something broken or cannot tell; never makes a paid call.

    A warning is no failure, since a probe that fails takes a server out of service. It is logged
    as ``health.warning``, as django-health-check has no place for it in an answer without fault.

    Args:
        only: Parts to look at, as for `check_health`; none looks at all.
        may_ping: Whether providers may be asked, free of charge, if they accept the key.
        cache_seconds: Answer from a report of this process that is not older, so that frequent
            probes ask nobody; 0 looks each time.
        warnings_fail: Let warnings fail, too, for a page that people look at.
        timeout: After so long, what has not answered counts as failed.
    """

    only: Sequence[str] = ()
    may_ping: bool = True
    cache_seconds: float = dataclasses.field(default=0.0, repr=False)
    warnings_fail: bool = dataclasses.field(default=False, repr=False)
    timeout: datetime.timedelta = dataclasses.field(
        default=datetime.timedelta(seconds=5), repr=False
    )

    def run(self) -> None:
        """Look at the parts.

        Raises:
            ServiceUnavailable: Something is broken, or could not be told.
            ServiceWarning: There is a warning, and `warnings_fail`.
        """
        report = self._report()
        failed = [each for each in report.items if each.status in ("error", "unknown")]
        warned = [each for each in report.items if each.status == "warning"]
        for each in warned:
            events.HEALTH_WARNING.log(about=each.name, part=each.name, text=each.message)
        if failed:
            raise ServiceUnavailable(_told(failed))
        if warned and self.warnings_fail:
            raise ServiceWarning(_told(warned))

    def _report(self) -> HealthReport:
        if self.cache_seconds <= 0:
            return self._look()
        key = (tuple(self.only), self.may_ping)
        with _lock:  # of several probes at once, one looks
            made_at, report = _kept.get(key, (0.0, None))
            if report is None or _clock() - made_at >= self.cache_seconds:
                report = self._look()
                _kept[key] = (_clock(), report)
            return report

    def _look(self) -> HealthReport:
        seconds = self.timeout.total_seconds()
        return check_health(may_ping=self.may_ping, only=self.only, timeout_seconds=seconds)


def _told(items: Sequence[HealthItem]) -> str:
    """Return what was found, without hints, which may name folders."""
    return "; ".join(f"{each.name}: {each.message}" for each in items)
