"""Signals that a project can listen to.

``operation_finished`` is sent with ``operation`` (the saved `AIOperation`) after every
call: answered, failed or served from the cache. Receivers run in the caller's thread
and their errors are logged, never raised into the caller's answer.

``budget_threshold_reached`` is sent with ``alert`` (the saved `BudgetAlert`) once per
budget, threshold and period, in the process that settled the call that reached it.

``erasing_user`` is sent by `erase_user` before anything else, with ``user_id`` and ``user``, which
is None for one that is deleted. Delete or rewrite the rows that your project has of them; the
indexes follow. An error of a receiver ends the run, which can be repeated.

``call_retried`` is sent before each further attempt at the same provider, with ``operation_id``,
``alias``, ``attempt`` (that failed, from 1), ``error`` and ``wait_seconds``; ``call_fell_back``
when another provider is asked instead, with ``operation_id``, ``from_alias``, ``to_alias`` and
``error``. The sender of both is `AIOperation`.

``provider_closed`` is sent once, in the process whose call closed it, with ``alias``, ``reason``
("throttled", "quota" or "breaker") and ``until`` (an aware time in UTC, or None);
``provider_reopened`` with ``alias`` when it is asked as before. Errors of receivers of these four
are logged, too.
"""

from __future__ import annotations

from django.dispatch import Signal

operation_finished = Signal()
budget_threshold_reached = Signal()
erasing_user = Signal()
call_retried = Signal()
call_fell_back = Signal()
provider_closed = Signal()
provider_reopened = Signal()
