"""Signals that a project can listen to.

``operation_finished`` is sent with ``operation`` (the saved `AIOperation`) after every
call: answered, failed or served from the cache. Receivers run in the caller's thread
and their errors are logged, never raised into the caller's answer.
"""

from __future__ import annotations

from django.dispatch import Signal

operation_finished = Signal()
