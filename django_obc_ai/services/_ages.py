"""How long ago something was, in words."""

from __future__ import annotations

_UNITS = ((86_400, "days"), (3_600, "hours"), (60, "minutes"), (1, "seconds"))


def age(seconds: float) -> str:
    """Return a length of time in the largest unit of which there are two: "90 seconds"."""
    seconds = max(0.0, seconds)
    for length, unit in _UNITS:
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return "1 second" if seconds >= 0.5 else "a moment"
