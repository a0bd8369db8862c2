"""Every event that this package logs; docs/reference/logging.md has them in a table."""

from __future__ import annotations

from django_obc_ai.logs.event import Event
from django_obc_ai.logs.events._calls import *  # noqa: F403
from django_obc_ai.logs.events._jobs import *  # noqa: F403
from django_obc_ai.logs.events._money import *  # noqa: F403
from django_obc_ai.logs.events._services import *  # noqa: F403
from django_obc_ai.logs.events._traffic import *  # noqa: F403

#: All of them by name.
EVENTS = {each.name: each for each in list(globals().values()) if isinstance(each, Event)}
