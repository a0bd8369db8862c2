"""What an event is: a name, a logger, a level, a message and fields; and how it is logged."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field

from django.core.exceptions import ImproperlyConfigured
from django.db.utils import InterfaceError, OperationalError

from django_obc_ai.exceptions import ObcAIError
from django_obc_ai.logs import correlation

ROOT = "django_obc_ai"
#: A fault that may come with every call is told once in so many seconds by each process.
OFTEN = 30.0
_FRAMES = 8
_MOST_LIMITED = 1_000
_clock = time.monotonic


class _Limiter:
    """When each event may be logged next in this process, and how many were not."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state: dict[tuple[str, str], tuple[float, int]] = {}

    def admit(self, key: tuple[str, str], seconds: float) -> int | None:
        """Return how many were held back since the last one, None to hold this back, too."""
        now = _clock()
        with self._lock:
            next_at, held_back = self._state.get(key, (0.0, 0))
            if now < next_at:
                self._state[key] = (next_at, held_back + 1)
                return None
            while len(self._state) >= _MOST_LIMITED:
                self._state.pop(next(iter(self._state)))
            self._state.pop(key, None)
            self._state[key] = (now + seconds, 0)
            return held_back

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self._state.clear()


_limiter = _Limiter()


def forget_limits() -> None:
    """Let every event be logged at once again; for tests."""
    _limiter.forget()


@dataclass(frozen=True, kw_only=True, eq=False)
class Event:
    """Something that is worth a record.

    Attributes:
        name: Stable; what to search and to alarm by. What stands before its dot is the child of
            the logger ``django_obc_ai`` that it goes to.
        level: Of `logging`.
        message: In %-style, of the fields.
        fields: Names of what `log` must be given; each is an attribute of the record.
        every_seconds: A process logs it at most once in so long for each ``about``, since what
            it tells of could happen at every call. The next one says how many there were.
    """

    name: str
    level: int
    message: str
    fields: tuple[str, ...] = ()
    every_seconds: float = 0.0
    logger: logging.Logger = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Find the logger."""
        child = self.name.partition(".")[0]
        object.__setattr__(self, "logger", logging.getLogger(f"{ROOT}.{child}"))

    @property
    def is_enabled(self) -> bool:
        """Return whether anybody wants it."""
        return self.logger.isEnabledFor(self.level)

    def log(self, *, about: str = "", error: BaseException | None = None, **fields: object) -> None:
        """Log it once, unless its like was logged a moment ago.

        Args:
            about: What repetitions are counted by, besides the event.
            error: Told as `describe` and `places_of` do, never as a traceback.
            fields: A value for each of `fields`.
        """
        if not self.is_enabled:
            return
        message = self.message
        if self.every_seconds:
            held_back = _limiter.admit((self.name, about), self.every_seconds)
            if held_back is None:
                return
            if held_back:
                fields["held_back"] = held_back
                message += " %(held_back)d like it were not logged."
        if error is not None:
            fields |= {"error": describe(error), "error_at": places_of(error)}
            message += " %(error)s at %(error_at)s."
        extra = {**fields, "event": self.name}
        extra["correlation_id"] = correlation.current() or correlation.NONE
        arguments = (fields,) if fields else ()
        try:
            self.logger.log(self.level, message, *arguments, extra=extra, stacklevel=2)
        except Exception as failure:  # noqa: BLE001 - of a filter or a factory of the project's
            # What is logged may be an answer that is paid for, which no logging may cost.
            sys.stderr.write(f"django_obc_ai cannot log {self.name}: {type(failure).__name__}\n")


def describe(error: BaseException) -> str:
    """Return an error's class, and its text where that holds nothing of anybody's data.

    Our own errors quote nothing, and a failed connection or system call is about machines. Other
    texts may hold a prompt, a row or a key: constraints quote rows, and SDKs quote requests.
    """
    name = type(error).__name__
    if isinstance(error, OSError):
        said = error.strerror or ""
    elif isinstance(error, (ObcAIError, ImproperlyConfigured, OperationalError, InterfaceError)):
        said = (str(error).splitlines() or [""])[0]
    else:
        said = ""
    cause = error.__cause__
    said = f"{name}: {said}" if said else name
    return said if cause is None else f"{said} (from {type(cause).__name__})"


def places_of(error: BaseException) -> str:
    """Return the lines that an error came through, the last of them where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return " > ".join(f"{each.filename}:{each.lineno} in {each.name}" for each in frames) or "?"


def name_of(receiver: object) -> str:
    """Return where a function or a method was made; its repr may hold anything."""
    made = receiver if hasattr(receiver, "__qualname__") else type(receiver)
    return f"{getattr(made, '__module__', '?')}.{getattr(made, '__qualname__', '?')}"
