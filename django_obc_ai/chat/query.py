"""Running a checked plan as a user: SELECTs alone, in a savepoint that is rolled back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from asgiref.sync import sync_to_async
from django.db import DatabaseError, DataError, connections, models, transaction
from django.db.models import Avg, Case, Count, F, Max, Min, Q, Sum, When
from django.db.models.constants import LOOKUP_SEP

from django_obc_ai.chat.declaration import ChatModel
from django_obc_ai.chat.guard import check_plan, least_group
from django_obc_ai.chat.paths import FieldPath, allowed_models, resolve
from django_obc_ai.chat.plan import as_mapping
from django_obc_ai.exceptions import ConfigurationError, DangerousQuery
from django_obc_ai.types.chat import QueryAggregate, QueryFilter, QueryPlan, QueryResult

_FUNCTIONS = {"count": Count, "sum": Sum, "avg": Avg, "min": Min, "max": Max}
_PREFIX = "obc_ai_figure_"  # no alias of a plan reaches the ORM
_SIZE = "obc_ai_size"
_SEEN = "obc_ai_seen_"  # fields of related rows that may be hidden
_NO_ANSWER = "The database cannot calculate that; its figures are too large."
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
    raw = _as_data(plan) if isinstance(plan, QueryPlan) else plan
    checked = check_plan(raw, user=user)
    if checked.kind not in ("query", "both"):
        raise DangerousQuery("The plan holds no query.")
    return _Query(checked, user).result()


async def arun(plan: QueryPlan | Mapping[str, Any], *, user: Any) -> QueryResult:
    """See run()."""
    return await sync_to_async(run)(plan, user=user)


def _as_data(plan: QueryPlan) -> dict[str, Any]:
    if type(plan) is not QueryPlan:
        raise DangerousQuery("The plan is of a class of its own.")
    try:
        return as_mapping(plan)
    except (AttributeError, RecursionError, TypeError, ValueError):
        raise DangerousQuery("The plan holds parts of other types than a plan has.") from None


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
        self.columns = {name: path.orm for name, path in self.paths.items()}
        self.least = least_group(self.root, self.paths.values())

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
        for at, path in enumerate(self.paths.values()):
            if in_sight := self._in_sight(path):
                name = f"{_SEEN}{at}"
                rows = rows.annotate(**{name: Case(When(in_sight, then=F(path.orm)))})
                self.columns[path.path] = name
        return rows.filter(*(self._condition(each) for each in self.plan.filters))

    def _in_sight(self, path: FieldPath) -> Q | None:
        """Return whether the user may see the related rows on a path; None if always.

        What is out of sight counts as absent, as if the relation were empty. To leave the root's
        row out instead would tell rows whose relation is hidden from rows without one.
        """
        found = []
        for at, (_, declared) in enumerate(path.hops):
            seen = scoped(declared, self.user)
            if _is_filtered(seen):
                names = [*(name for name, _ in path.hops[: at + 1]), "pk", "in"]
                found.append((LOOKUP_SEP.join(names), seen.values("pk")))
        return Q(*found) if found else None

    def _condition(self, condition: QueryFilter) -> Q:
        column = self.columns[condition.path]
        value = list(condition.value) if type(condition.value) is tuple else condition.value
        found = Q((f"{column}{LOOKUP_SEP}{condition.lookup}", value))
        if not condition.negate:
            return found
        if condition.lookup == "isnull":
            return ~found
        return Q((f"{column}{LOOKUP_SEP}isnull", True)) | ~found  # no value is not that value

    def _listing(self, rows: models.QuerySet[Any]) -> QueryResult:
        shown = [self.paths[name] for name in self.plan.fields]
        order = list(self.plan.order_by)
        order += [(path.path, False) for path in shown if path.path not in dict(order)]
        ordered = rows.order_by(*(self._ordering(*each) for each in order))
        limit = self.plan.limit
        read = list(ordered.values_list(*(self.columns[path.path] for path in shown))[: limit + 1])
        is_cut = len(read) > limit
        return self._made(
            shown, (), read[:limit], total=rows.count() if is_cut else len(read), is_cut=is_cut
        )

    def _ordering(self, name: str, descends: bool) -> Any:
        figure = {each.alias: at for at, each in enumerate(self.plan.aggregates)}.get(name)
        column = F(self.columns[name] if figure is None else f"{_PREFIX}{figure}")
        return column.desc(nulls_last=True) if descends else column.asc(nulls_last=True)

    def _expressions(self) -> dict[str, Any]:
        return {
            f"{_PREFIX}{at}": _FUNCTIONS[each.function](
                self.columns[each.path] if each.path else "*"
            )
            for at, each in enumerate(self.plan.aggregates)
        }

    def _figures(self, rows: models.QuerySet[Any]) -> QueryResult:
        found = rows.aggregate(**self._expressions(), **{_SIZE: Count("*")})
        is_small = 0 < found[_SIZE] < self.least
        names = [f"{_PREFIX}{at}" for at in range(len(self.plan.aggregates))]
        row = tuple(None if is_small else found[name] for name in names)
        return self._made([], self.plan.aggregates, [row], total=1)

    def _breakdown(self, rows: models.QuerySet[Any]) -> QueryResult:
        shown = [self.paths[name] for name in self.plan.group_by]
        columns = [self.columns[path.path] for path in shown]
        groups = rows.values(*columns).annotate(**self._expressions())
        if self.least > 0:
            groups = groups.annotate(**{_SIZE: Count("*")}).filter(
                Q((f"{_SIZE}{LOOKUP_SEP}gte", self.least))
            )
        order = list(self.plan.order_by)
        order += [(path.path, False) for path in shown if path.path not in dict(order)]
        names = columns + list(self._expressions())
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
                *(_label(each.alias) for each in figures),
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


def _label(alias: str) -> str:
    # Figures of the offline planner end so, lest they be called like a field.
    return alias.removesuffix("_found").replace("_", " ").capitalize()


def scoped(declared: ChatModel, user: Any) -> models.QuerySet[Any]:
    """Return the rows that a user may be told about, each once, in no order."""
    model = declared.model
    seen: Any = declared.visible_to(model._default_manager.all(), user)  # the project's code
    if not isinstance(seen, models.QuerySet) or seen.model._meta.concrete_model is not (
        model._meta.concrete_model
    ):
        raise ConfigurationError(
            f"visible_to() of the chat declaration of {declared.label} returned no queryset of it.",
            hint="Return the queryset it was given, filtered.",
        )
    if not seen.query.is_sliced:  # else the order says which rows it holds
        seen = seen.order_by()
    query = seen.query
    is_plain = not (
        query.distinct or query.is_sliced or query.combinator or query.annotations
        or query.extra or query.values_select or query.select_for_update
        or len(query.alias_map) > 1
    )  # fmt: skip
    # Django's own class from here on: neither managers nor querysets of the project's take part.
    if is_plain:
        return models.QuerySet(model, query=query, using=seen.db)
    # A join may give a row twice, and an annotation of the project's would become a group.
    return models.QuerySet(model, using=seen.db).filter(pk__in=seen.values("pk"))


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
    except DataError:  # a sum out of range, for example
        raise DangerousQuery(_NO_ANSWER, phrase="no_answer") from None
    except DatabaseError as error:
        if "integer overflow" in str(error):  # SQLite's word for it
            raise DangerousQuery(_NO_ANSWER, phrase="no_answer") from None
        if not _is_timeout(error, deadline):
            raise
        raise DangerousQuery(
            f"The question takes the database longer than {seconds:g} seconds. Ask for less.",
            phrase="too_slow",
            amount=f"{seconds:g}",
        ) from None


def _is_timeout(error: DatabaseError, deadline: float) -> bool:
    code = getattr(error.__cause__, "sqlstate", "")
    return code == "57014" or (time.monotonic() > deadline and "interrupted" in str(error))
