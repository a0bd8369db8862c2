"""Signals that a project can listen to.

``operation_finished`` is sent with ``operation`` (the saved `AIOperation`) after every
call: answered, failed or served from the cache. Receivers run in the caller's thread
and their errors are logged, never raised into the caller's answer.

``budget_threshold_reached`` is sent with ``alert`` (the saved `BudgetAlert`) once per
budget, threshold and period, in the process that settled the call that reached it.

``erasing_user`` is sent by `erase_user` before anything else, with ``user_id`` and ``user``, which
is None for one that is deleted. Delete or rewrite the rows that your project has of them; the
indexes follow. An error of a receiver ends the run, which can be repeated.
"""

from __future__ import annotations

from django.dispatch import Signal

operation_finished = Signal()
budget_threshold_reached = Signal()
erasing_user = Signal()
