"""Inserting rows into the ledger, once per operation, out of reach of the caller's rollback."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.db import IntegrityError, connections
from django.db import transaction as transactions
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import sql
from django.utils import timezone

from django_obc_ai.exceptions import AbandonedCallError
from django_obc_ai.gateway import telling
from django_obc_ai.gateway.refusals import REFUSALS
from django_obc_ai.models import AIOperation
from django_obc_ai.models.connections import persist
from django_obc_ai.models.writer import transaction_of, with_writer
from django_obc_ai.signals import operation_finished


def must_wait(alias: str) -> bool:
    """Return whether a row can only be stored once the caller's transaction has ended."""
    connection = connections[alias]
    # In memory there is nothing to outlive: such a database ends with its process.
    is_file = connection.vendor == "sqlite" and not is_in_memory(connection)
    return is_file and transaction_of(alias) == "caller"


def is_in_memory(connection: BaseDatabaseWrapper) -> bool:
    """Return whether a database of SQLite is in memory alone."""
    name = str(connection.settings_dict["NAME"])
    return ":memory:" in name or "mode=memory" in name


def store(operation: AIOperation, alias: str) -> bool:
    """Write a row on the connection that fits; False if the call has its row already."""
    connection = connections[alias]
    if transaction_of(alias) == "caller" and connection.vendor != "sqlite":
        return with_writer(alias, lambda writer: _insert(operation, writer))
    if connection.in_atomic_block:  # a TestCase's, which a refused row must not break
        if _exists(operation, connection):
            return _replace(operation, connection)
        with transactions.atomic(using=alias):
            return _insert(operation, connection)
    # A file has no connection that could have died: it is busy, and was waited for already.
    attempts = 1 if connection.vendor == "sqlite" else 2
    return persist(alias, lambda: _insert(operation, connection), attempts=attempts)


def store_all(
    operations: Sequence[AIOperation],
    alias: str,
    *,
    new: list[AIOperation],
    refuse: Callable[[AIOperation, Exception], None],
) -> None:
    """Write rows, as many as go in one statement; the way of store() for those that are known.

    Args:
        operations: Each id at most once.
        alias: The database that takes them.
        new: Is given those that had no row before, also if the others fail.
        refuse: Called with each one that the database refuses for good.

    Raises:
        DatabaseError: The database is busy or away; some rows may be written.
        InterfaceError: Likewise.
    """
    connection = connections[alias]
    size = connection.ops.bulk_batch_size(AIOperation._meta.concrete_fields, operations)
    for at in range(0, len(operations), max(size, 1)):
        part = operations[at : at + max(size, 1)]
        try:
            _insert_together(part, alias)
            new += part
        except REFUSALS:
            for each in part:
                try:
                    if store(each, alias):
                        new.append(each)
                except REFUSALS as error:
                    refuse(each, error)


def _insert_together(operations: Sequence[AIOperation], alias: str) -> None:
    connection = connections[alias]
    if transaction_of(alias) == "caller":  # never on SQLite: see must_wait()
        with_writer(alias, lambda writer: _execute(operations, writer))
    elif connection.in_atomic_block:
        with transactions.atomic(using=alias):
            _execute(operations, connection)
    else:
        persist(alias, lambda: _execute(operations, connection), attempts=2)


def _execute(operations: Sequence[AIOperation], connection: BaseDatabaseWrapper) -> None:
    """Insert on any connection, also one that no alias of ``connections`` leads to."""
    now = timezone.now()
    for each in operations:
        each.recorded_at = now
    query = sql.InsertQuery(AIOperation)
    query.insert_values(AIOperation._meta.concrete_fields, list(operations), raw=True)
    query.get_compiler(connection=connection).execute_sql()
    for each in operations:
        each._state.adding, each._state.db = False, connection.alias


def _insert(operation: AIOperation, connection: BaseDatabaseWrapper) -> bool:
    try:
        _execute([operation], connection)
    except IntegrityError:
        if connection.in_atomic_block or not _exists(operation, connection):
            raise
        return _replace(operation, connection)
    return True


def _replace(operation: AIOperation, connection: BaseDatabaseWrapper) -> bool:
    """Put a call's own row in the place of a presumed one, once; whether it was put there.

    A presumed row only raises the cost of one that is there.
    """
    code = AbandonedCallError.code
    rows = AIOperation.objects.filter(pk=operation.pk, error_category=code, cost_known=False)
    changed = {field.attname for field in AIOperation._meta.concrete_fields} - {"id"}
    is_presumed = operation.error_category == code
    if is_presumed:
        rows, changed = rows.filter(cost_usd__lt=operation.cost_usd), {"cost_usd", "recorded_at"}
    query: Any = rows.query.chain(sql.UpdateQuery)  # Any: the stubs say Query
    query.add_update_values({name: getattr(operation, name) for name in changed})
    statement, parameters = query.get_compiler(connection=connection).as_sql()
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.rowcount > 0 and not is_presumed


def _exists(operation: AIOperation, connection: BaseDatabaseWrapper) -> bool:
    query = AIOperation.objects.filter(pk=operation.pk).query.exists()
    return bool(query.get_compiler(connection=connection).has_results())


def tell(operation: AIOperation) -> None:
    """Send ``operation_finished``."""
    telling.tell(operation_finished, operation=operation)
