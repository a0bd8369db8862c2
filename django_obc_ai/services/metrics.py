"""What a monitoring system reads: the ledger's sums, and how its parts are at this moment.

Everything is read from the database when it is asked for, so that each of several processes says
the same, and a restart changes nothing. No metric tells users or tenants apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Literal, TypeAlias

from django.utils import timezone

from django_obc_ai import __version__
from django_obc_ai.conf import get_settings
from django_obc_ai.gateway import spool
from django_obc_ai.logs import events
from django_obc_ai.services import figures
from django_obc_ai.services._ledger_total import BY, prepare, read_total
from django_obc_ai.services.background import count_at_broker, read_background
from django_obc_ai.services.limits import CLOSING, limits_now
from django_obc_ai.services.tally import BIN_GROWTH, Share, Tally
from django_obc_ai.types.jobs import FINAL_STATUSES

__all__ = ["METRICS", "Metric", "Sample", "prepare", "read_metrics"]
Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
_NONE = "(none)"
#: Every fifth bin of a tally, from 10 ms to 10 minutes. Times are whole milliseconds, so a bin
#: that ends at 10.8 ends at 10, and a bound counts exactly what lies in the bins up to it.
_BINS = tuple(range(25, 141, 5))
_BUDGET = ("scope", "key", "period", "unit", "enforced", "time_zone")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric without its values; ``name`` is that of its samples, but for a histogram's."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One value of a metric; that of a histogram is the sum of what it counted."""

    metric: Metric
    labels: tuple[str, ...] = ()
    value: Decimal | int | float | None = None
    buckets: tuple[tuple[str, int], ...] = ()


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"obc_ai_{name}_total", kind="counter", help=text, labels=labels)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"obc_ai_{name}", kind="gauge", help=text, labels=labels)


def _histogram(name: str, text: str) -> Metric:
    return Metric(name=f"obc_ai_{name}", kind="histogram", help=text)


INFO = _gauge("info", "Always 1; which version answers.", "version")
UP = _gauge("part_up", "Whether a part could be read, 0 or 1.", "part")
OPERATIONS = _counter(
    "operations",
    "Operations: answered by a provider, by the cache, by another call, or failed.",
    "outcome",
)
FAILURES = _counter("failures", "Failed operations by category.", "category")
TOKENS = _counter("tokens", "Billed tokens; the kinds do not overlap.", "kind")
COST = _gauge("cost_dollars", "What all operations cost, corrections included.")
UNKNOWN = _gauge("cost_unknown_operations", "Operations whose cost is only presumed.")
SAVED = _counter(
    "saved_dollars", "What cached and coalesced answers cost when they were paid for.", "kind"
)
WAITS = _counter("waits", "Operations that waited for rate limits or for another call.")
WAITED = _counter("wait_seconds", "How long they waited.")
FALLBACKS = _counter("fallbacks", "Operations that went to another provider than was asked.")
RESPONSES = _histogram("response_seconds", "Times of answers that a provider gave.")
FIRST_CHUNKS = _histogram("first_chunk_seconds", "Times until the first piece of a stream.")
LIMIT = _gauge("budget_limit", "The limit of a budget, in its unit.", *_BUDGET)
SPENT = _gauge("budget_spent", "What is settled in the present period.", *_BUDGET)
HELD = _gauge("budget_held", "What calls under way may still take.", *_BUDGET)
USED = _gauge("budget_used_ratio", "Spent and held, in the limit.", *_BUDGET)
SPOOLED = _gauge("spool_waiting", "Operations on this machine's disk that wait for the database.")
ASIDE = _gauge("spool_set_aside", "Operations on disk that somebody must look at.")
WAITING = _gauge("index_waiting", "Changed rows that are not indexed yet.", "index")
LAG = _gauge("index_lag_seconds", "Age of the oldest of them; 0 if there is none.", "index")
FAILED = _gauge("index_failures", "Objects that could not be indexed.", "index")
READY = _gauge("index_ready", "Whether an index can be searched as it is configured.", "index")
ALLOWED = _gauge("provider_limit", "What all workers may ask of a provider.", "provider", "limit")
ASKED = _gauge("provider_used", "What counts towards that limit now.", "provider", "limit")
QUEUED = _gauge("provider_waiting", "Calls that wait for a provider's limits.", "provider")
IN_FLIGHT = _gauge("provider_in_flight", "Attempts that are under way.", "provider")
CLOSED = _gauge(
    "provider_closed", "Whether no worker asks a provider, by reason, 0 or 1.", "provider", "reason"
)
JOBS_WAITING = _gauge("jobs_waiting", "Jobs that no worker has taken.", "provider")
JOBS_RUNNING = _gauge("jobs_running", "Jobs that a worker has taken.", "provider")
JOBS_OLDEST = _gauge(
    "jobs_oldest_seconds", "Age of the oldest waiting job; 0 if there is none.", "provider"
)
JOBS_UNTAKEN = _gauge(
    "jobs_untaken_seconds", "For how long a worker could have taken one; 0 if none.", "provider"
)
JOBS_ENDED = _gauge("jobs_ended", "Jobs that ended in the last hour.", "status")
WORKERS = _gauge("workers", "Workers that were heard of within the last two minutes.")
TASK_AGE = _gauge("task_age_seconds", "Since a scheduled task last began.", "task")
TASK_OK = _gauge(
    "task_ok", "Whether its last run did what it was to do, or is long past, 0 or 1.", "task"
)
AT_BROKER = _gauge("tasks_at_broker", "Tasks that wait at the broker, where it can say.")
#: By dimension: operations, failures, cached, cost, coalesced; the order of a `Share`.
BREAKDOWNS: dict[str, tuple[Metric, ...]] = {
    name: (
        _counter(f"{name}_operations", f"Operations by {words}.", name),
        _counter(f"{name}_failures", f"Failed operations by {words}.", name),
        _counter(f"{name}_cached", f"Cached answers by {words}.", name),
        _gauge(f"{name}_cost_dollars", f"Cost by {words}, corrections included.", name),
        _counter(f"{name}_coalesced", f"Coalesced answers by {words}.", name),
    )
    for name, words in ((each, each.replace("_", " ")) for each in BY)
}
METRICS = (
    INFO, UP, OPERATIONS, FAILURES, TOKENS, COST, UNKNOWN, SAVED, WAITS, WAITED, FALLBACKS,
    RESPONSES, FIRST_CHUNKS, LIMIT, SPENT, HELD, USED, SPOOLED, ASIDE, WAITING, LAG, FAILED, READY,
    ALLOWED, ASKED, QUEUED, IN_FLIGHT, CLOSED,
    JOBS_WAITING, JOBS_RUNNING, JOBS_OLDEST, JOBS_UNTAKEN, JOBS_ENDED, WORKERS, TASK_AGE, TASK_OK,
    AT_BROKER,
    *(metric for metrics in BREAKDOWNS.values() for metric in metrics),
)  # fmt: skip


class _NotYet(Exception):
    """A part cannot be told now, without a fault."""


def read_metrics() -> list[Sample]:
    """Return all samples; of a part that fails, none, and 0 for `UP`.

    Every part is asked whatever became of the others. The ledger is left out, too, until it has
    been added up for the first time.
    """
    found = [Sample(metric=INFO, labels=(__version__,), value=1)]
    parts: dict[str, Callable[[], Iterator[Sample]]] = {
        "ledger": _ledger,
        "budgets": _budgets,
        "spool": _spool,
        "indexes": _indexes,
        "limits": _limits,
        "jobs": _jobs,
        "broker": _broker,
    }
    for name, read in parts.items():
        samples, is_up = _guarded(name, read)
        found += [*samples, Sample(metric=UP, labels=(name,), value=int(is_up))]
    return found


def _guarded(name: str, read: Callable[[], Iterator[Sample]]) -> tuple[list[Sample], bool]:
    try:
        return list(read()), True
    except _NotYet:
        events.METRICS_NOT_ROLLED_UP.log()
    except Exception as error:  # noqa: BLE001 - the others must be told, whatever it is
        events.METRICS_PART_FAILED.log(about=name, part=name, error=error)
    return [], False


def _ledger() -> Iterator[Sample]:
    total = read_total()
    if total is None:
        raise _NotYet
    sums = total.sums
    outcomes = {
        "cached": sums["cached"],
        "coalesced": sums["coalesced"],
        "failed": sums["failures"],
    }
    outcomes["answered"] = sums["operations"] - sum(outcomes.values())
    for outcome, count in sorted(outcomes.items()):
        yield Sample(metric=OPERATIONS, labels=(outcome,), value=count)
    for category, count in sorted(total.errors.items()):
        yield Sample(metric=FAILURES, labels=(category,), value=count)
    for kind, count in _tokens(sums).items():
        yield Sample(metric=TOKENS, labels=(kind,), value=count)
    yield Sample(metric=COST, value=_dollars(sums["cost_nano"]))
    yield Sample(metric=UNKNOWN, value=sums["cost_unknown"])
    for kind, nano in (
        ("cache", figures.cache_saved_nano(total)),
        ("coalesced", sums["coalesced_nano"]),
    ):
        yield Sample(metric=SAVED, labels=(kind,), value=_dollars(nano))
    yield Sample(metric=WAITS, value=sums["waited"])
    yield Sample(metric=WAITED, value=Decimal(sums["waited_ms"]).scaleb(-3))
    yield Sample(metric=FALLBACKS, value=sums["fallbacks"])
    seconds = Decimal(sums["response_ms"]).scaleb(-3)
    yield Sample(metric=RESPONSES, value=seconds, buckets=_buckets(total.times))
    yield Sample(metric=FIRST_CHUNKS, buckets=_buckets(total.first_chunks))
    for dimension in BY:
        yield from _breakdown(dimension, total)


def _tokens(sums: dict[str, int]) -> dict[str, int]:
    plain = sums["input_tokens"] - sums["cached_tokens"] - sums["audio_tokens"]
    return {
        "input": plain,
        "cached_input": sums["cached_tokens"],
        "audio_input": sums["audio_tokens"],
        "output": sums["output_tokens"],
        "thinking": sums["thinking_tokens"],
        "tool": sums["tool_tokens"],
    }


def _breakdown(dimension: str, total: Tally) -> Iterator[Sample]:
    shares: dict[str, Share] = total.by[dimension]
    for number, metric in enumerate(BREAKDOWNS[dimension]):
        for value, share in sorted(shares.items()):
            amount = share[number]
            yield Sample(
                metric=metric,
                labels=(value or _NONE,),
                value=_dollars(amount) if metric.kind == "gauge" else amount,
            )


def _buckets(bins: dict[str, int]) -> tuple[tuple[str, int], ...]:
    """Return how many times lie at or below each bound, in seconds."""
    counts = {int(name): count for name, count in bins.items()}
    found = [
        (
            f"{int(BIN_GROWTH**last) / 1000:g}",
            sum(count for number, count in counts.items() if number <= last),
        )
        for last in _BINS
    ]
    return (*found, ("+Inf", sum(counts.values())))


def _budgets() -> Iterator[Sample]:
    gauges = figures.read_gauges(most=None, without=("user", "tenant"))
    told: dict[tuple[str, ...], figures.Gauge] = {}
    for gauge in gauges:  # the most used first: of two with one name, that is the one to look at
        budget = gauge.budget
        labels: tuple[str, ...] = (
            budget.scope,
            gauge.value,
            budget.period,
            budget.unit,
            "true" if budget.enforce else "false",
            budget.time_zone,
        )
        told.setdefault(labels, gauge)
    for labels, gauge in told.items():
        sample = partial(Sample, labels=labels)
        yield sample(metric=LIMIT, value=gauge.limit)
        yield sample(metric=SPENT, value=gauge.spent)
        yield sample(metric=HELD, value=gauge.held)
        yield sample(metric=USED, value=gauge.used_percent / 100)


def _spool() -> Iterator[Sample]:
    yield Sample(metric=SPOOLED, value=len(spool.find(get_settings().database)))
    yield Sample(metric=ASIDE, value=spool.count_set_aside())


def _indexes() -> Iterator[Sample]:
    now = timezone.now()
    for index in figures.read_indexes():
        lag = 0.0 if index.oldest is None else max(0.0, (now - index.oldest).total_seconds())
        yield Sample(metric=WAITING, labels=(index.name,), value=index.waiting)
        yield Sample(metric=LAG, labels=(index.name,), value=lag)
        yield Sample(metric=FAILED, labels=(index.name,), value=index.failures)
        yield Sample(metric=READY, labels=(index.name,), value=int(index.is_current))


def _limits() -> Iterator[Sample]:
    for each in limits_now():
        state, alias = each.known_state(), each.alias
        for meter in each.meters():
            labels = (alias, meter.name)
            yield Sample(metric=ALLOWED, labels=labels, value=meter.limit)
            yield Sample(metric=ASKED, labels=labels, value=meter.used)
        yield Sample(metric=QUEUED, labels=(alias,), value=state.waiting)
        yield Sample(metric=IN_FLIGHT, labels=(alias,), value=state.in_flight)
        for reason in CLOSING:
            yield Sample(metric=CLOSED, labels=(alias, reason), value=int(state.reason == reason))


def _jobs() -> Iterator[Sample]:
    found = read_background(may_ask_broker=False)
    for each in found.queues:
        oldest = 0.0 if each.oldest_at is None else max(0.0, found.since(each.oldest_at))
        sample = partial(Sample, labels=(each.provider,))
        yield sample(metric=JOBS_WAITING, value=each.waiting)
        yield sample(metric=JOBS_RUNNING, value=each.running)
        yield sample(metric=JOBS_OLDEST, value=oldest)
        yield sample(metric=JOBS_UNTAKEN, value=found.untaken_of(each))
    for status in FINAL_STATUSES:
        yield Sample(metric=JOBS_ENDED, labels=(status,), value=found.ended_hour.get(status, 0))
    if not found.is_immediate:  # else nobody waits for one
        yield Sample(metric=WORKERS, value=found.workers)
    failed = found.failed_tasks
    for task in found.tasks:
        if task.started_at is not None:
            since = max(0.0, found.since(task.started_at))
            yield Sample(metric=TASK_AGE, labels=(task.name,), value=since)
        yield Sample(metric=TASK_OK, labels=(task.name,), value=int(task not in failed))


def _broker() -> Iterator[Sample]:
    waiting = count_at_broker()
    if waiting is not None:
        yield Sample(metric=AT_BROKER, value=waiting)


def _dollars(nano: int) -> Decimal:
    return Decimal(nano).scaleb(-9)
