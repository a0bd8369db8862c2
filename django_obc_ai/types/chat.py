"""Plans, results and answers of a conversation about a project's data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

#: What a plan may be about. "both" is a query whose rows and a search's hits go into one answer.
PlanKind = Literal["query", "search", "both", "answer", "refuse"]
PLAN_KINDS: tuple[PlanKind, ...] = ("query", "search", "both", "answer", "refuse")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryFilter:
    """One condition of a query.

    Attributes:
        path: Declared field, relations written with dots: "province.name".
        lookup: One of the lookups declared for the field, for example "exact".
        value: Already of the field's Python type; a tuple for "in" and "range".
        negate: Whether rows that match are left out.
    """

    path: str
    lookup: str = "exact"
    value: Any = None
    negate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryAggregate:
    """One figure over the rows of a query, or of each group.

    Attributes:
        function: "count", "sum", "avg", "min" or "max".
        path: The field that is aggregated; "" counts rows.
        alias: Name of the column in the result.
    """

    function: str
    path: str = ""
    alias: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryPlan:
    """What a question asks for: typed, and checked by `chat.guard.check_plan` alone.

    Attributes:
        kind: See `PlanKind`.
        model: Label of a declared model, "app.Model"; "" without a query.
        fields: Paths of the columns; () for a query of figures alone.
        filters: All must hold.
        group_by: Paths; one row for each combination of their values.
        aggregates: Figures, of each group if there are groups.
        order_by: Paths or aliases, each with whether it descends.
        limit: Rows at most.
        search: Words to search an index for; "" without a search.
        index: Name of the index; "" searches all.
        reason: Why a plan refuses, in words for the user.
    """

    kind: PlanKind = "query"
    model: str = ""
    fields: tuple[str, ...] = ()
    filters: tuple[QueryFilter, ...] = ()
    group_by: tuple[str, ...] = ()
    aggregates: tuple[QueryAggregate, ...] = ()
    order_by: tuple[tuple[str, bool], ...] = ()
    limit: int = 100
    search: str = ""
    index: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryResult:
    """The rows of a query.

    Attributes:
        plan: The plan that was run.
        columns: Paths and aliases, in the order of each row.
        labels: What people call the columns, in the same order.
        rows: Plain Python values; choices as people read them.
        total: Rows or groups that match, before the limit; None where that was not counted.
        is_cut: Whether the limit left rows out.
        pks: Primary keys of the rows, in their order; () for figures and groups.
    """

    plan: QueryPlan
    columns: tuple[str, ...]
    labels: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    total: int | None = None
    is_cut: bool = False
    pks: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A source that an answer names.

    Attributes:
        number: As the answer writes it, ``[number]``.
        title: What people call the source.
        text: The passage that was shown to the model.
        url: ``get_absolute_url()`` of the object, or "".
        object: The live object, or None for the rows of a query.
    """

    number: int
    title: str
    text: str
    url: str = ""
    object: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatAnswer:
    """What came of one message.

    Attributes:
        text: The answer, plain text with ``[number]`` citations; links and HTML inert.
        citations: The sources that the text names, by number.
        rows: What the database gave, or None if it was not asked.
        plan: The checked plan, or None if the message was refused before one was made.
        suggestions: Two or three questions to go on with.
        operation_ids: Primary keys of the `AIOperation` rows of this answer.
        conversation: The `Conversation` that holds message and answer.
        message_id: ``key`` of the `ChatMessage` that holds the answer; None if it was not stored.
        found_by: In words, how the rows were found; "" without rows.
        is_refused: Whether nothing was done, for the reason that the text states.
        is_offline: Whether no language model had a part in it; show it to people.
        warnings: What a check of the answer noticed, for example a number that no row holds.
        error: None, or the category of a failure, as in `GenerationResult`.
    """

    text: str
    citations: tuple[Citation, ...] = ()
    rows: QueryResult | None = None
    plan: QueryPlan | None = None
    suggestions: tuple[str, ...] = ()
    operation_ids: tuple[UUID, ...] = ()
    conversation: Any = field(default=None, compare=False)
    message_id: UUID | None = None
    found_by: str = ""
    is_refused: bool = False
    is_offline: bool = False
    warnings: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSettings:
    """``OBC_AI["CHAT"]``.

    Attributes:
        provider: Alias in ``OBC_AI["PROVIDERS"]``.
        models: Declarations by label "app.Model"; see `chat.ChatModel`.
        history_tokens: Tokens of earlier turns that a model is shown, at most.
        max_message_characters: Longer messages are refused.
        retention_days: Conversations untouched for longer may be purged; None keeps them.
        suggestions: Whether answers suggest what to ask next.
    """

    provider: str = "default"
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    history_tokens: int = 2_000
    max_message_characters: int = 4_000
    retention_days: int | None = 365
    suggestions: bool = True
