"""Logging: one registry of events, correlation ids, and a ready ``LOGGING``; loads no Django.

Every record of this package is an event of `django_obc_ai.logs.events`, with a name that stays,
fields that are documented, and neither prompts, answers, keys nor names of people in it.
"""

from __future__ import annotations

from django_obc_ai.logs.correlation import bound, current

__all__ = ["bound", "current"]
