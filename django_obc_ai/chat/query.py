"""Running a checked plan as a user: SELECTs alone, in a savepoint that is rolled back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from asgiref.sync import sync_to_async
from django.db import DatabaseError, connections, models, transaction
from django.db.models import Avg, Count, F, Max, Min, Q, Sum
from django.db.models.constants import LOOKUP_SEP

from django_obc_ai.chat.declaration import ChatModel
from django_obc_ai.chat.guard import check_plan
from django_obc_ai.chat.paths import FieldPath, allowed_models, resolve
from django_obc_ai.chat.plan import as_mapping
from django_obc_ai.exceptions import DangerousQuery
from django_obc_ai.types.chat import QueryAggregate, QueryPlan, QueryResult

_FUNCTIONS = {"count": Count, "sum": Sum, "avg": Avg, "min": Min, "max": Max}
_PREFIX = "obc_ai_figure_"  # no alias of a plan reaches the ORM
_SIZE = "obc_ai_size"
_STEPS = 1_000  # of SQLite's machine between two looks at the clock


def run(plan: QueryPlan | Mapping[str, Any], *, user: Any) -> QueryResult:
    """Run a plan for a user and return its rows.

    Whatever is given is checked again, so that no plan runs that this user may not run now.

    Args:
        plan: A plan of kind "query" or "both", checked or raw.
        user: Whose rows are read; a user, an AnonymousUser or None.

    Raises:
        DangerousQuery: The plan is refused, or takes the database longer than the
            declaration's ``max_seconds``.
    """
    raw = as_mapping(plan) if type(plan) is QueryPlan else plan
    if isinstance(plan, QueryPlan) and raw is plan:
        raise DangerousQuery("The plan is of a class of its own.")
    checked = check_plan(raw, user=user)  # type: ignore[arg-type]  # a mapping by now
    if checked.kind not in ("query", "both"):
        raise DangerousQuery("The plan holds no query.")
    return _Query(checked, user).result()


async def arun(plan: QueryPlan | Mapping[str, Any], *, user: Any) -> QueryResult:
    """See run()."""
    return await sync_to_async(run)(plan, user=user)


class _Query:
    """One plan of one user, from the rows that may be seen to the result."""

    def __init__(self, plan: QueryPlan, user: Any) -> None:
        self.plan, self.user = plan, user
        self.allowed = allowed_models(user)
        self.root = self.allowed[plan.model]
        names = [*plan.fields, *plan.group_by, *(each.path for each in plan.filters)]
        names += [each.path for each in plan.aggregates if each.path]
        aliases = {each.alias for each in plan.aggregates}
        names += [name for name, _ in plan.order_by if name not in aliases]
        self.paths = {name: resolve(self.root, name, self.allowed, "path") for name in names}

    def result(self) -> QueryResult:
        """Return the rows, read within the limits."""
        rows = self._rows()
        with _limited(rows.db, self.root.max_seconds):
            if self.plan.group_by:
                return self._breakdown(rows)
            if self.plan.aggregates:
                return self._figures(rows)
            return self._listing(rows)

    def _rows(self) -> models.QuerySet[Any]:
        """Return the root's rows that may be seen and match, ready for `values`."""
        rows = scoped(self.root, self.user)
        for hops in {path.hops[: at + 1] for path in self.paths.values() for at in range(9)} - {()}:
            rows = self._within_sight(rows, hops)
        return rows.filter(*(self._condition(each) for each in self.plan.filters))

    def _within_sight(
        self, rows: models.QuerySet[Any], hops: tuple[tuple[str, ChatModel], ...]
    ) -> models.QuerySet[Any]:
        """Leave out rows whose related row the user may not see."""
        declared = hops[-1][1]
        seen = scoped(declared, self.user)
        if not _is_filtered(seen):
            return rows
        path = LOOKUP_SEP.join(name for name, _ in hops)
        return rows.filter(
            Q((f"{path}{LOOKUP_SEP}isnull", True)) | Q((f"{path}{LOOKUP_SEP}in", seen.values("pk")))
        )

    def _condition(self, condition: Any) -> Q:
        path = f"{self.paths[condition.path].orm}{LOOKUP_SEP}{condition.lookup}"
        value = list(condition.value) if type(condition.value) is tuple else condition.value
        found = Q((path, value))
        return ~found if condition.negate else found

    def _listing(self, rows: models.QuerySet[Any]) -> QueryResult:
        shown = [self.paths[name] for name in self.plan.fields]
        order = list(self.plan.order_by)
        order += [(path.path, False) for path in shown if path.path not in dict(order)]
        ordered = rows.order_by(*(self._ordering(*each) for each in order))
        limit = self.plan.limit
        read = list(ordered.values_list(*(path.orm for path in shown))[: limit + 1])
        is_cut = len(read) > limit
        return self._made(
            shown, (), read[:limit], total=rows.count() if is_cut else len(read), is_cut=is_cut
        )

    def _ordering(self, name: str, descends: bool) -> Any:
        figure = {each.alias: at for at, each in enumerate(self.plan.aggregates)}.get(name)
        column = F(self.paths[name].orm if figure is None else f"{_PREFIX}{figure}")
        return column.desc(nulls_last=True) if descends else column.asc(nulls_last=True)

    def _expressions(self) -> dict[str, Any]:
        return {
            f"{_PREFIX}{at}": _FUNCTIONS[each.function](
                self.paths[each.path].orm if each.path else "*"
            )
            for at, each in enumerate(self.plan.aggregates)
        }

    def _figures(self, rows: models.QuerySet[Any]) -> QueryResult:
        found = rows.aggregate(**self._expressions(), **{_SIZE: Count("*")})
        is_small = 0 < found[_SIZE] < self.root.min_group_size
        names = [f"{_PREFIX}{at}" for at in range(len(self.plan.aggregates))]
        row = tuple(None if is_small else found[name] for name in names)
        return self._made([], self.plan.aggregates, [row], total=1)

    def _breakdown(self, rows: models.QuerySet[Any]) -> QueryResult:
        shown = [self.paths[name] for name in self.plan.group_by]
        groups = rows.values(*(path.orm for path in shown)).annotate(**self._expressions())
        if self.root.min_group_size > 0:
            groups = groups.annotate(**{_SIZE: Count("*")}).filter(
                Q((f"{_SIZE}{LOOKUP_SEP}gte", self.root.min_group_size))
            )
        order = list(self.plan.order_by)
        order += [(path.path, False) for path in shown if path.path not in dict(order)]
        names = [path.orm for path in shown] + list(self._expressions())
        ordered = groups.order_by(*(self._ordering(*each) for each in order))
        limit = self.plan.limit
        read = list(ordered.values_list(*names)[: limit + 1])
        is_cut = len(read) > limit
        total = groups.order_by().count() if is_cut else len(read)
        return self._made(shown, self.plan.aggregates, read[:limit], total=total, is_cut=is_cut)

    def _made(
        self,
        shown: list[FieldPath],
        figures: tuple[QueryAggregate, ...],
        rows: list[Any],
        *,
        total: int,
        is_cut: bool = False,
    ) -> QueryResult:
        readable = [dict(path.field.flatchoices) if path.field.choices else None for path in shown]
        return QueryResult(
            plan=self.plan,
            columns=(*(path.path for path in shown), *(each.alias for each in figures)),
            labels=(
                *(path.label for path in shown),
                *(each.alias.replace("_", " ").capitalize() for each in figures),
            ),
            rows=tuple(
                tuple(
                    str(readable[at].get(value, value))  # type: ignore[union-attr]  # checked
                    if at < len(shown) and readable[at] is not None and value is not None
                    else value
                    for at, value in enumerate(row)
                )
                for row in rows
            ),
            total=total,
            is_cut=is_cut,
        )


def scoped(declared: ChatModel, user: Any) -> models.QuerySet[Any]:
    """Return the rows that a user may be told about, each once, in no order."""
    every = declared.model._default_manager.all()
    seen = declared.visible_to(every, user).order_by()
    query = seen.query
    is_plain = not (
        query.distinct or query.is_sliced or query.combinator or query.annotations
        or query.extra or len(query.alias_map) > 1
    )  # fmt: skip
    if is_plain:
        return seen
    # A join may give a row twice, and an annotation of the project's would become a group.
    return (
        declared.model._default_manager.using(seen.db).filter(pk__in=seen.values("pk")).order_by()
    )


def _is_filtered(rows: models.QuerySet[Any]) -> bool:
    query = rows.query
    return bool(query.where) or query.is_sliced or bool(query.combinator) or query.is_empty()


@contextmanager
def _limited(alias: str, seconds: float) -> Iterator[None]:
    """Read within a time, in a savepoint that is rolled back whatever happens."""
    connection = connections[alias]
    deadline = time.monotonic() + seconds
    try:
        with transaction.atomic(using=alias):
            try:
                if connection.vendor == "postgresql":
                    with connection.cursor() as cursor:
                        milliseconds = str(max(1, int(seconds * 1000)))
                        cursor.execute(
                            "SELECT set_config('statement_timeout', %s, true)", [milliseconds]
                        )
                elif connection.vendor == "sqlite":
                    connection.connection.set_progress_handler(
                        lambda: time.monotonic() > deadline, _STEPS
                    )
                yield
            finally:
                if connection.vendor == "sqlite":
                    connection.connection.set_progress_handler(None, 0)
                transaction.set_rollback(True, using=alias)
    except DatabaseError as error:
        if not _is_timeout(error, deadline):
            raise
        raise DangerousQuery(
            f"The question takes the database longer than {seconds:g} seconds. Ask for less."
        ) from None


def _is_timeout(error: DatabaseError, deadline: float) -> bool:
    code = getattr(error.__cause__, "sqlstate", "")
    return code == "57014" or (time.monotonic() > deadline and "interrupted" in str(error))
