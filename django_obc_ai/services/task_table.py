"""The tasks that run in the background, by name, and when the schedule starts them.

A project's Celery app imports this while settings are still being read, so nothing here needs them.
"""

from __future__ import annotations

from datetime import time

_SERVICES = "django_obc_ai.services"
#: Where the function of each task is: imported at first use. It takes the task's arguments by name.
TASKS: dict[str, str] = {
    "generate_text": f"{_SERVICES}.job_running.run_jobs",
    "recover_jobs": f"{_SERVICES}.job_running.recover_jobs",
    "index_objects": f"{_SERVICES}.index_tasks.index_objects",
    "rebuild_index": f"{_SERVICES}.index_tasks.rebuild_index",
    "verify_index": f"{_SERVICES}.index_tasks.verify_index",
    "check_budgets": f"{_SERVICES}.budgets.check_budgets",
    "send_cost_report": f"{_SERVICES}.reports.send_cost_report",
    "purge_operations": f"{_SERVICES}.upkeep.purge_operations",
    "warm_cache": f"{_SERVICES}.warming.warm_cache",
    "expire_reservations": f"{_SERVICES}.budgets.expire_reservations",
    "drain_spool": f"{_SERVICES}.upkeep.drain_spool",
    "roll_up": f"{_SERVICES}.upkeep.roll_up",
}
#: When: every so many seconds, or daily at a time of ``TIME_ZONE``. The daily ones come one after
#: another, at hours at which few people are about. What is not here, somebody asks for.
SCHEDULE: dict[str, float | time] = {
    "recover_jobs": 30,
    "expire_reservations": 60,
    "drain_spool": 60,
    "index_objects": 60,
    "check_budgets": 300,
    "roll_up": 900,
    "send_cost_report": 3_600,  # once for a day that is over; again if the mail server failed
    "purge_operations": time(1, 30),
    "verify_index": time(2, 30),
    "warm_cache": time(5, 30),
}
