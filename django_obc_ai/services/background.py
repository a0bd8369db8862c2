"""How work in the background stands at this moment: read once for whoever tells of it.

The dashboard, the health check and the metrics all take their figures from here. Each comes from
an index that holds it, however many jobs there are.
"""

from __future__ import annotations

import datetime
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.db import connections
from django.db.models import Count, Min, Q, Value
from django.utils import timezone

from django_obc_ai.backends.providers import providers
from django_obc_ai.backends.task_runners import BaseTaskRunner, task_runners
from django_obc_ai.exceptions import ConfigurationError, TaskRunnerError
from django_obc_ai.models import Job, JobHold, TaskState, Worker
from django_obc_ai.services.task_table import SCHEDULE

#: The task that only the schedule starts, so that its last start is the schedule's last beat.
BEAT = "recover_jobs"
#: A beat comes every 30 seconds; when several are missing, the schedule is late.
BEAT_LATE_SECONDS = 180.0
#: A worker that was seen within this works.
SEEN_SECONDS = 120.0
#: Nobody works where no worker was seen and a job could have been taken for longer than this.
UNTAKEN_SECONDS = 60.0
#: A job that could be taken and is not, for longer than this, is worth a look.
LATE_SECONDS = 600.0
#: A page waits so long for the broker.
PATIENCE_SECONDS = 2.0
DAY, _HOUR = datetime.timedelta(days=1), datetime.timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """The jobs of one provider that have not ended.

    Attributes:
        provider: Alias in ``OBC_AI["PROVIDERS"]``, or one that was there once.
        waiting: Jobs that nobody has taken.
        running: Jobs that a worker has taken.
        oldest_at: When the oldest waiting one was made; None without one.
        due_at: When the first of them may be taken, or might have been; None without one.
    """

    provider: str
    waiting: int = 0
    running: int = 0
    oldest_at: datetime.datetime | None = None
    due_at: datetime.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRun:
    """How a scheduled task last went.

    Attributes:
        name: Of the task.
        started_at: When it last began; None if it never did.
        finished_at: When a run last ended.
        is_ok: Whether that run did what it was to do.
        error_category: Why not.
    """

    name: str
    started_at: datetime.datetime | None
    finished_at: datetime.datetime | None
    is_ok: bool
    error_category: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """Jobs, workers and the schedule, as they were at one moment.

    Attributes:
        now: That moment, as the database holds times.
        queues: By provider: those that are configured, in their order, then others with jobs.
        ended: Jobs that ended in the last 24 hours, by status.
        ended_hour: The same of the last hour.
        workers: Processes that said within the last two minutes that they run tasks.
        seen_at: When one last said so; None if none is known.
        tasks: Scheduled tasks that have run once: failed ones first, then by name.
        is_immediate: Whether tasks run in the process that asks for them, without workers.
        at_broker: Tasks that wait at the broker; None where nobody can say, or was asked.
        broker_fault: Why the broker could not be asked; "" if it could, or was not.
    """

    now: datetime.datetime
    queues: tuple[Queue, ...] = ()
    ended: Mapping[str, int] = field(default_factory=dict)
    ended_hour: Mapping[str, int] = field(default_factory=dict)
    workers: int = 0
    seen_at: datetime.datetime | None = None
    tasks: tuple[TaskRun, ...] = ()
    is_immediate: bool = True
    at_broker: int | None = None
    broker_fault: str = ""

    @property
    def waiting(self) -> int:
        """Return how many jobs wait."""
        return sum(each.waiting for each in self.queues)

    @property
    def running(self) -> int:
        """Return how many jobs workers have taken."""
        return sum(each.running for each in self.queues)

    @property
    def failed(self) -> int:
        """Return how many jobs failed in the last 24 hours."""
        return self.ended.get(Job.Status.FAILED, 0)

    @property
    def failed_tasks(self) -> tuple[TaskRun, ...]:
        """Return the scheduled tasks whose last run failed, but for those that nobody starts.

        A task that was left out of the schedule never gets the chance to end well.
        """
        return tuple(each for each in self.tasks if not each.is_ok and self._is_started(each))

    def _is_started(self, task: TaskRun) -> bool:
        """Whether a task began or ended within the last few times that the schedule starts it."""
        moments = [at for at in (task.started_at, task.finished_at) if at is not None]
        period, within = SCHEDULE.get(task.name), 2 * DAY
        if period is not None and not isinstance(period, datetime.time):
            within = max(_HOUR, datetime.timedelta(seconds=3 * period))
        return not moments or self.now - max(moments) <= within

    @property
    def oldest_at(self) -> datetime.datetime | None:
        """Return when the oldest waiting job was made."""
        return min((each.oldest_at for each in self.queues if each.oldest_at), default=None)

    @property
    def beat_at(self) -> datetime.datetime | None:
        """Return when the schedule last worked; None if it never did."""
        return next((each.started_at for each in self.tasks if each.name == BEAT), None)

    @property
    def heard_at(self) -> datetime.datetime | None:
        """Return when a worker last was there; None if none ever was.

        A worker that ends in order is forgotten, but it is a worker that notes a beat.
        """
        return max(filter(None, (self.seen_at, self.beat_at)), default=None)

    @property
    def untaken_seconds(self) -> float:
        """Return for how long a waiting job could have been taken; 0 if none could.

        Jobs that wait for a provider's limits are due later, and do not count.
        """
        return max((self.untaken_of(each) for each in self.queues), default=0.0)

    def untaken_of(self, queue: Queue) -> float:
        """Return the same of one provider's jobs."""
        return 0.0 if queue.due_at is None else max(0.0, self.since(queue.due_at))

    def since(self, moment: datetime.datetime) -> float:
        """Return how many seconds ago a moment was."""
        return (self.now - moment).total_seconds()

    @property
    def is_late(self) -> bool:
        """Return whether a job has waited for a worker for too long."""
        return self.untaken_seconds > LATE_SECONDS

    @property
    def is_deserted(self) -> bool:
        """Return whether jobs wait for workers of which none was seen."""
        is_untaken = self.untaken_seconds > UNTAKEN_SECONDS
        return not (self.is_immediate or self.workers) and is_untaken

    @property
    def is_unmanned(self) -> bool:
        """Return whether workers were there and are gone, so that nobody indexes either."""
        heard = self.heard_at
        is_gone = heard is not None and self.since(heard) > SEEN_SECONDS
        return not (self.is_immediate or self.workers) and is_gone

    @property
    def is_beat_late(self) -> bool:
        """Return whether a schedule that workers should follow has not worked lately.

        Where no worker is there, nobody knows whether the scheduler is.
        """
        beat = self.beat_at
        return not self.is_immediate and (beat is None or self.since(beat) > BEAT_LATE_SECONDS)

    @property
    def is_used(self) -> bool:
        """Return whether there is anything to tell: a broker, a job, a worker or a task."""
        has_jobs = self.waiting or self.running or sum(self.ended.values())
        return bool(not self.is_immediate or has_jobs or self.workers or self.tasks)


def read_background(*, may_ask_broker: bool = True) -> Background:
    """Return the figures of this moment.

    Args:
        may_ask_broker: Whether to ask the broker how many tasks wait, for two seconds at most.

    Raises:
        DatabaseError: The database does not answer.
    """
    now = timezone.now()
    ended, ended_hour = _ended(now)
    at_broker, fault, is_immediate = None, "", False
    try:
        runner = task_runners["default"]
        is_immediate = runner.is_immediate
        at_broker = count_at_broker() if may_ask_broker else None
    except (TaskRunnerError, ConfigurationError) as error:
        fault = str(error)
    seen_from = now - datetime.timedelta(seconds=SEEN_SECONDS)
    # Few: those of dead processes are deleted.
    sightings = list(Worker.objects.order_by().values_list("seen_at", flat=True))
    return Background(
        now=now,
        queues=_queues(),
        ended=ended,
        ended_hour=ended_hour,
        workers=sum(at >= seen_from for at in sightings),
        seen_at=max(sightings, default=None),
        tasks=_tasks(),
        is_immediate=is_immediate,
        at_broker=at_broker,
        broker_fault=fault,
    )


def jobs(number: int, one: str, many: str) -> str:
    """Return how many jobs do something: "1 job waits", "2 jobs wait"."""
    return f"1 job {one}" if number == 1 else f"{number:,} jobs {many}"


def _queues() -> tuple[Queue, ...]:
    """Every row that is read is one of a job that has not ended."""
    one = Value(1)
    waiting = Job.objects.filter(status=Job.Status.QUEUED).order_by().values("provider")
    counted = waiting.annotate(
        waiting=Count(one), oldest_at=Min("created_at"), first_due=Min("due_at")
    )
    found = {row["provider"]: row for row in counted}
    for alias, until in JobHold.objects.values_list("provider", "until"):
        if alias in found:
            found[alias]["first_due"] = max(found[alias]["first_due"], until)
    # Not grouped: for that SQLite would go through all jobs by provider. They are few.
    taken = Job.objects.filter(status=Job.Status.RUNNING).order_by()
    running = Counter(taken.values_list("provider", flat=True))
    return tuple(
        Queue(
            provider=alias,
            waiting=found[alias]["waiting"] if alias in found else 0,
            running=running[alias],
            oldest_at=found[alias]["oldest_at"] if alias in found else None,
            due_at=found[alias]["first_due"] if alias in found else None,
        )
        for alias in dict.fromkeys([*providers, *sorted({*found, *running})])
    )


def _ended(now: datetime.datetime) -> tuple[dict[str, int], dict[str, int]]:
    rows = Job.objects.filter(finished_at__gte=now - DAY).order_by().values("status")
    one, is_of_hour = Value(1), Q(finished_at__gte=now - _HOUR)
    counted = list(rows.annotate(day=Count(one), hour=Count(one, filter=is_of_hour)))
    return (
        {row["status"]: row["day"] for row in counted},
        {row["status"]: row["hour"] for row in counted},
    )


def _tasks() -> tuple[TaskRun, ...]:
    columns = ("name", "started_at", "finished_at", "is_ok", "error_category")
    rows = TaskState.objects.filter(name__in=list(SCHEDULE), key="").order_by("is_ok", "name")
    return tuple(TaskRun(**row) for row in rows.values(*columns))


#: The thread that still waits for a broker, if any: what hangs is asked by one at a time.
_asking: threading.Thread | None = None


def count_at_broker() -> int | None:
    """Return how many tasks wait at the default runner's broker; None where nobody can say.

    Raises:
        ConfigurationError: The runner cannot be built.
        TaskRunnerError: It cannot be asked, or does not answer within two seconds.
    """
    global _asking
    runner = task_runners["default"]
    if runner.is_immediate:
        return None
    silent = TaskRunnerError(f"The broker did not answer within {PATIENCE_SECONDS:g} seconds.")
    if _asking is not None and _asking.is_alive():
        raise silent
    answers: list[int | Exception | None] = []
    thread = threading.Thread(
        target=_ask, args=(runner, answers), name="obc-ai-broker", daemon=True
    )
    thread.start()
    thread.join(PATIENCE_SECONDS)
    _asking = thread if thread.is_alive() else None
    if not answers:
        raise silent
    if isinstance(answers[0], Exception):
        raise answers[0]
    return answers[0]


def _ask(runner: BaseTaskRunner, answers: list[int | Exception | None]) -> None:
    try:
        answers.append(runner.waiting())
    except Exception as error:  # noqa: BLE001 - raised again by whoever waits for it
        answers.append(error)
    finally:
        connections.close_all()  # this thread's own
