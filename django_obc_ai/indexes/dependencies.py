"""What else an index's rows are made of: declared relations, and saves that cannot tear."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db import connections, models, router, transaction
from django.db.models.constants import LOOKUP_SEP

from django_obc_ai.indexes.base import VectorIndex

_MARK = "_obc_ai_is_atomic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One relation on a dependency path.

    Attributes:
        path: Lookup path from the indexed model to the step's target.
        source: The path before this relation; "" for the indexed model itself.
        model: The target's model.
        through: The table of a many-to-many relation, or None.
        is_reverse: Whether the relation is declared on the target's side.
        is_moved_by_saves: Whether saving a target may change which objects reach it.
    """

    path: str
    source: str
    model: type[models.Model]
    through: type[models.Model] | None
    is_reverse: bool
    is_moved_by_saves: bool


def resolve(model: type[models.Model], path: str) -> list[Step]:
    """Return the relations of a path, in order.

    Raises:
        ValueError: A name is no relation to one known model.
    """
    current, source, steps = model, "", []
    for name in path.split(LOOKUP_SEP):
        field = _relation(current, name, path)
        is_reverse = field.auto_created and not field.concrete
        through = None
        if field.many_to_many:
            # The forward side holds the through table.
            forward = field.field if is_reverse else field
            through = forward.remote_field.through
        whole = f"{source}{LOOKUP_SEP}{name}" if source else name
        steps.append(
            Step(
                path=whole,
                source=source,
                model=field.related_model,
                through=through,
                is_reverse=is_reverse,
                is_moved_by_saves=field.one_to_many or (field.one_to_one and is_reverse),
            )
        )
        current, source = field.related_model, whole
    return steps


def _relation(model: type[models.Model], name: str, path: str) -> Any:
    try:
        field: Any = model._meta.get_field(name)
    except FieldDoesNotExist:
        field = None
    if field is None or not field.is_relation or field.related_model is None:
        raise ValueError(f"{path!r} names {name!r}, which is no relation of {model._meta.label}.")
    return field


def steps_of(index: VectorIndex) -> list[Step]:
    """Return every relation that the dependencies of an index pass, each once.

    Paths that do not resolve are left to the system check E016.
    """
    steps: dict[str, Step] = {}
    for path in index.dependencies:
        try:
            steps.update({step.path: step for step in resolve(index.model, path)})
        except ValueError:
            continue
    return list(steps.values())


def is_kin(model: type[models.Model], other: type[models.Model]) -> bool:
    """Return whether rows of one model may be rows of the other: proxies and inheritance."""
    mine = model._meta.concrete_model or model
    theirs = other._meta.concrete_model or other
    return issubclass(mine, theirs) or issubclass(theirs, mine)


def save_atomically(model: type[models.Model]) -> None:
    """Let each save of a model be one transaction with what its signals write.

    In autocommit mode Django commits the row and then sends post_save: a process killed in
    between would leave a changed row without its outbox row, and nothing would ever know.
    Deletes and many-to-many changes are atomic in Django already. Inside the caller's own
    transaction nothing is added.
    """
    original = model.save_base
    if getattr(original, _MARK, False):
        return

    @functools.wraps(original)
    def save_base(self: Any, *args: Any, **options: Any) -> Any:
        using = options.get("using") or (args[3] if len(args) > 3 else None)
        using = using or router.db_for_write(type(self), instance=self)
        if connections[using].in_atomic_block:
            return original(self, *args, **options)
        with transaction.atomic(using=using):
            return original(self, *args, **options)

    setattr(save_base, _MARK, True)
    save_base.alters_data = True  # type: ignore[attr-defined]  # Django's mark for templates
    model.save_base = save_base  # type: ignore[method-assign]  # see the docstring
