"""The SQL that a plan becomes, for people who check answers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from django.db import connections

from django_obc_ai.chat import query
from django_obc_ai.chat.registry import get_chat_model
from django_obc_ai.types.chat import QueryPlan


def show_sql(plan: QueryPlan, *, user: Any) -> str:
    """Return the statements that read the rows of a plan, with their parameters; runs them.

    Args:
        plan: A checked plan that holds a query.
        user: Whose rows are read.

    Raises:
        DangerousQuery: The user may not run it now.
    """
    found: list[str] = []
    declared = get_chat_model(plan.model)
    table = declared.model._meta.db_table if declared is not None else ""

    # Any: what Django hands to wrappers of `execute`.
    def note(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if context["connection"].ops.quote_name(table) in sql:
            values = ", ".join(repr(each) for each in params or ())
            found.append(f"{sql};\n-- with {values}" if values else f"{sql};")
        return execute(sql, params, many, context)

    with ExitStack() as stack:
        for connection in connections.all():
            stack.enter_context(connection.execute_wrapper(note))
        query.run(plan, user=user)
    return "\n\n".join(found)
