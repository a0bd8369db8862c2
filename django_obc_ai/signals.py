"""Signals that a project can listen to.

``operation_finished`` is sent with ``operation`` (the saved `AIOperation`) after every
call: answered, failed or served from the cache. Receivers run in the caller's thread
and their errors are logged, never raised into the caller's answer.

``budget_threshold_reached`` is sent with ``alert`` (the saved `BudgetAlert`) once per
budget, threshold and period, in the process that settled the call that reached it.
"""

from __future__ import annotations

from django.dispatch import Signal

operation_finished = Signal()
budget_threshold_reached = Signal()
