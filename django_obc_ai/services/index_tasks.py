"""Indexing by workers: how they are sent for, and what they do.

What is to be done is in the outbox and in `IndexRequest`; a message only says that there is some.
So a burst of changes needs few messages: ``IndexState.woken_at`` says that one is under way. A
worker takes that back before it reads the outbox, so that whatever is committed later sends for
one again. A message that is lost, or a worker that dies, holds nothing back for long.
"""

from __future__ import annotations

import datetime

from django.utils import timezone

from django_obc_ai.exceptions import ConfigurationError, ObcAIError
from django_obc_ai.indexes import VectorIndex, get_index, get_indexes
from django_obc_ai.indexes.forgetting import waiting_of
from django_obc_ai.logs import events
from django_obc_ai.models import IndexRequest, IndexState
from django_obc_ai.services import tasks
from django_obc_ai.services._claims import claimed
from django_obc_ai.services.index_requests import left_requests, run_requested, send_task

#: After so long a message counts as lost. It also is how often a broker that is down is tried.
SEND_AGAIN_AFTER = datetime.timedelta(seconds=10)
_TASK = "index_objects"


def send_for_worker(index: VectorIndex) -> None:
    """Have a worker work off an index's outbox, unless one was sent for a moment ago.

    Nothing is raised if the broker does not take the message: the changes are in the outbox.
    """
    now = timezone.now()
    states = IndexState.objects.using(index.database).filter(pk=index.name)  # none: never built
    waiting = states.exclude(woken_at__range=(now - SEND_AGAIN_AFTER, now + SEND_AGAIN_AFTER))
    # Looked at first, since an UPDATE that finds nothing still takes SQLite's lock.
    if waiting.exists() and waiting.update(woken_at=now):
        send_task(_TASK, index.name)


def work_off(index: VectorIndex, *, is_whole: bool = False) -> bool:
    """Work off an index's outbox, unless somebody is at it; return whether it was done.

    One worker at a time: of two that read the same changes, each would embed them.

    Args:
        index: The index.
        is_whole: Try what this process could not do before, too.

    Raises:
        ObcAIError: It could not be done; what is left stays in the outbox.
    """
    from django_obc_ai.services.indexing import IndexingService  # numpy, at first use

    service = IndexingService()
    states = IndexState.objects.using(index.database).filter(pk=index.name)
    with claimed(_TASK, index.name) as is_mine:
        if is_mine:
            states.update(woken_at=None)
            (service.sweep if is_whole else service.process_changes)(index.name)
    # What was sent for meanwhile may have come, found this one at work, and gone.
    if is_mine and tasks.has_workers() and states.exclude(woken_at=None).exists():
        send_task(_TASK, index.name)
    return is_mine


def index_objects(index: str = "") -> None:
    """Work off the outbox of an index, and what operators have asked for of it.

    Of all indexes: also what could not be done before, and rebuilds that were asked for and
    nobody is at, since their message may be lost.

    Args:
        index: Name of an index; "": all of them.

    Raises:
        UnknownIndexError: No such index.
        ObcAIError: Of an index that could not be worked on, when all others are done.
    """
    failed: Exception | None = None
    for each in [get_index(index)] if index else get_indexes():
        try:
            list(run_requested([each.name], kind=IndexRequest.Kind.SWEEP))
            work_off(each, is_whole=not index)
        except (ObcAIError, ConfigurationError) as error:
            failed = failed or error
    if not index and tasks.has_workers():
        for name in left_requests(IndexRequest.Kind.REBUILD):
            send_task("rebuild_index", name, if_requested=True)
    if failed is not None:
        raise failed


def rebuild_index(index: str, if_requested: bool = False) -> None:
    """Build an index anew, unless somebody is at it.

    It is written down first, as if an operator had asked for it, and gone when it is done: of a
    worker that dies in the middle the next run of `index_objects` knows.

    Args:
        index: Name of an index.
        if_requested: Do nothing where nobody asks for it any more.

    Raises:
        UnknownIndexError: No such index.
        ObcAIError: It could not be built.
    """
    kind = IndexRequest.Kind.REBUILD
    name = get_index(index).name
    if not (if_requested or IndexRequest.objects.filter(pk=name, kind=kind).exists()):
        # Who asked for a sweep stays: a rebuild does that, too.
        facts = {"kind": kind, "requested_at": timezone.now()}
        IndexRequest.objects.update_or_create(name=name, defaults=facts)
    list(run_requested([name], kind=kind))


def verify_index(index: str = "", repair: bool = False) -> None:
    """Compare indexes with their rows, and log what differs, but for changes that wait.

    Args:
        index: Name of an index; "": all of them.
        repair: Bring up to date what differs.

    Raises:
        UnknownIndexError: No such index.
    """
    from django_obc_ai.services.indexing import IndexingService

    for each in [get_index(index)] if index else get_indexes():
        waiting = waiting_of(each)
        report = IndexingService().verify(each.name, repair=repair)
        if report.reason:
            events.INDEXES_NOT_COMPARED.log(index=each.name, reason=report.reason)
            continue
        found = {*report.different, *report.broken, *report.dangling}
        differ = len(found - waiting - waiting_of(each))
        if differ or report.repaired:
            events.INDEXES_DIFFER.log(index=each.name, differ=differ, repaired=report.repaired)
