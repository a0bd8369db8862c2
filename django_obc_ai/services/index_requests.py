"""What operators see of indexes, and the work that they ask for.

Little work is done at once. More is written down, and `run_requested` does it, which workers call,
or the command ``ai_index --requested``: nobody waits in front of a browser for hours.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Count
from django.utils import timezone

from django_obc_ai.backends.embedders import PaidEmbedder, embedders
from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import ConfigurationError, ObcAIError, TaskRunnerError
from django_obc_ai.gateway.prices import bounding_price
from django_obc_ai.indexes import VectorIndex, generations, get_index, get_indexes
from django_obc_ai.indexes.documents import iterate_keys, read_documents
from django_obc_ai.logs import events
from django_obc_ai.models import Chunk, DirtyRow, IndexRequest
from django_obc_ai.models.fields import NAME_LENGTH
from django_obc_ai.services import tasks
from django_obc_ai.services._claims import claimed, is_claimed
from django_obc_ai.services._index_reports import IndexReport

#: Rows that are indexed while a person waits.
AT_ONCE = 200
_SAMPLE = 200
_PER_MILLION = Decimal(1_000_000)
_CLAIM = "index_requests"
#: A message that has not come by then may be lost.
_LEFT_AFTER = datetime.timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStatus:
    """One registered index as it is now.

    Attributes:
        name: Of the index.
        model: What it is an index of.
        rows: Rows of its queryset.
        chunks: Pieces of text that it holds.
        vector_bytes: Size of their vectors.
        embedder: Alias in ``OBC_AI["EMBEDDERS"]``, and the class of that embedder.
        is_paid: Whether embedding costs money.
        is_current: Whether what serves was built with the present settings.
        built_at: When the build that serves was begun; None if there is none.
        waiting: Changed rows that are not indexed yet.
        oldest: When the first of them was changed.
        request: Work that is asked for and not done.
        fault: Why the embedder cannot be asked, "" if it can.
    """

    name: str
    model: str
    rows: int
    chunks: int
    vector_bytes: int
    embedder: str
    is_paid: bool
    is_current: bool
    built_at: datetime.datetime | None
    waiting: int
    oldest: datetime.datetime | None
    request: IndexRequest | None
    fault: str = ""

    def work_of(self, kind: str) -> int:
        """Return how many rows a piece of work looks at."""
        return self.waiting if kind == IndexRequest.Kind.SWEEP else self.rows


def read_statuses() -> list[IndexStatus]:
    """Return the state of every registered index, by name."""
    return [read_status(each.name) for each in sorted(get_indexes(), key=lambda e: e.name)]


def read_status(name: str) -> IndexStatus:
    """Return the state of one index.

    Raises:
        UnknownIndexError: No such index.
    """
    from django_obc_ai.services.indexing import IndexingService  # numpy: not at start-up

    index = get_index(name)
    serving = generations.serving_of(index)
    held = Chunk.objects.using(index.database).filter(generation=serving)
    chunks = 0 if serving is None else held.aggregate(count=Count("*"))["count"]
    waiting = DirtyRow.objects.using(index.database).filter(index_name=name)
    is_paid, is_current, fault, kind = False, False, "", ""
    try:
        embedder = embedders[index.embedder]
        kind, is_paid = f", {type(embedder).__name__}", isinstance(embedder, PaidEmbedder)
        is_current = serving is not None and IndexingService().is_current(name)
    except (ObcAIError, ConfigurationError) as error:
        fault = str(error)
    return IndexStatus(
        name=name,
        model=str(index.model._meta.verbose_name_plural),
        rows=index.get_queryset().using(index.database).count(),
        chunks=chunks,
        vector_bytes=0 if serving is None else chunks * serving.dimension * 4,
        embedder=f"{index.embedder}{kind}",
        is_paid=is_paid,
        is_current=is_current,
        built_at=None if serving is None else serving.created_at,
        waiting=waiting.count(),
        oldest=waiting.order_by("pk").values_list("created_at", flat=True).first(),
        request=IndexRequest.objects.filter(pk=name).first(),
        fault=fault,
    )


def estimate_usd(name: str, rows: int) -> Decimal | None:
    """Return about what it costs to embed so many rows whole, by the first 200 of the index.

    Texts that have not changed are not embedded again, so that it is mostly less.

    Returns:
        US dollars, 0 for an embedder that is free; None if its model has no price.
    """
    index = get_index(name)
    embedder = embedders[index.embedder]
    if not isinstance(embedder, PaidEmbedder):
        return Decimal(0)
    price = bounding_price(embedder.model, timezone.now())
    sampled = tokens = 0
    for keys in iterate_keys(index, _SAMPLE, _SAMPLE):
        sampled += len(keys)
        tokens += _tokens_of(index, keys)
    if price is None:
        return None
    return price.input_usd * tokens * rows / max(sampled, 1) / _PER_MILLION


def _tokens_of(index: VectorIndex, keys: Sequence[str]) -> int:
    """Return how many tokens texts have at most: each has at least one byte of UTF-8."""
    pieces = read_documents(index, keys).pieces.values()
    return sum(len(piece.text.encode()) for found in pieces for piece in found)


def request_indexing(name: str, kind: str, *, user: Any) -> IndexReport | None:
    """Have an index worked on: at once if it is little, else by a worker or by the command.

    Args:
        name: Of the index.
        kind: Of `IndexRequest.Kind`.
        user: Who asks.

    Returns:
        What was done, or None if it was written down for a worker, where the default task runner
        has some, or for ``ai_index --requested``.

    Raises:
        UnknownIndexError: No such index.
        ObcAIError: It was tried, and failed.
    """
    status = read_status(name)
    if status.work_of(kind) <= AT_ONCE:
        report = _run(name, kind)
        IndexRequest.objects.filter(pk=name, kind=kind).delete()
        return report
    who = "" if user is None else str(user.get_username())[:NAME_LENGTH]
    facts = {"kind": kind, "requested_by": who, "requested_at": timezone.now()}
    IndexRequest.objects.update_or_create(name=name, defaults=facts)
    if tasks.has_workers():
        if kind == IndexRequest.Kind.REBUILD:
            send = partial(send_task, "rebuild_index", name, if_requested=True)
        else:
            send = partial(send_task, "index_objects", name)
        transaction.on_commit(send, using=get_settings().database)
    return None


def send_task(task: str, index: str, **arguments: Any) -> None:
    """Send a task about an index; a broker that does not take it is logged.

    What is to be done is in the database, and the next run of ``index_objects`` finds it there.
    """
    try:
        tasks.send(task, index=index, **arguments)
    except TaskRunnerError as error:
        events.TASKS_NOT_SENT.log(about=index, error=error, task=task, index=index)


def left_requests(kind: str) -> list[str]:
    """Return the indexes whose request has waited for a minute, and that nobody is at."""
    before = timezone.now() - _LEFT_AFTER
    rows = IndexRequest.objects.filter(kind=kind, requested_at__lte=before)
    names = rows.order_by("requested_at").values_list("name", flat=True)
    return [name for name in names if not is_claimed(_CLAIM, name)]


def withdraw_request(name: str) -> bool:
    """Forget what was asked for an index; return whether anything was."""
    gone, _ = IndexRequest.objects.filter(pk=name).delete()
    return gone > 0


def run_requested(names: Sequence[str], *, kind: str = "") -> Iterator[IndexReport]:
    """Do what was asked for, index by index; what fails stays asked for.

    What another process is at is left to that.

    Args:
        names: Indexes that are looked at.
        kind: Of `IndexRequest.Kind`; "": any.

    Raises:
        ObcAIError: An index could not be worked on; it is raised when all others are done.
    """
    failed: Exception | None = None
    rows = IndexRequest.objects.filter(pk__in=list(names)).order_by("requested_at")
    for request in list(rows.filter(kind=kind) if kind else rows):
        try:
            report = _run_claimed(request)
        except (ObcAIError, ConfigurationError) as error:
            failed = failed or error
            continue
        if report is not None:
            yield report
    if failed is not None:
        raise failed


def _run_claimed(request: IndexRequest) -> IndexReport | None:
    same = IndexRequest.objects.filter(pk=request.pk, requested_at=request.requested_at)
    with claimed(_CLAIM, request.name) as is_mine:
        if not (is_mine and same.exists()):
            return None
        report = _run(request.name, request.kind)
        same.delete()
        return report


def _run(name: str, kind: str) -> IndexReport:
    from django_obc_ai.services.indexing import IndexingService

    if kind == IndexRequest.Kind.REBUILD:
        return IndexingService().index(name, rebuild=True)
    return IndexingService().sweep(name)
