"""The declaration of what may be asked about a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django.db import models

from django_obc_ai.exceptions import ConfigurationError

#: What may be computed over rows.
AGGREGATES = ("count", "sum", "avg", "min", "max")


class ChatModel:
    """Says which fields of a model may be asked about, and who may see which rows.

    Subclass it in an app's ``ai_chat.py`` and decorate it with `register`::

        @register
        class CommunityChat(ChatModel):
            model = Community
            fields = {"name": "Official name.", "population": "Residents in the census of 2024."}
            relations = ("municipality",)
            synonyms = ("barangay", "pamayanan")

            def visible_to(self, queryset, user):
                return queryset.filter(is_public=True)

    or write the same names as keys into ``OBC_AI["CHAT"]["models"]["app.Model"]``, where
    ``visible_to`` is a callable ``(queryset, user) -> queryset`` or its dotted path.
    """

    model: ClassVar[type[models.Model]]
    #: Names of the model's own fields, or a mapping of names to a help text for model and people.
    #: A field that is not here can neither be shown nor filtered, ordered, grouped, aggregated.
    fields: ClassVar[Sequence[str] | Mapping[str, str]] = ()
    #: Relations that may be followed, to models that are declared too: "municipality".
    relations: ClassVar[Sequence[str]] = ()
    #: Lookups of a field where not all that suit its type are wanted: {"name": ("exact",)}.
    lookups: ClassVar[Mapping[str, Sequence[str]]] = {}
    aggregates: ClassVar[Sequence[str]] = AGGREGATES
    #: Whether a user needs Django's view permission of the model besides `visible_to`.
    needs_permission: ClassVar[bool] = True
    #: Columns where a question names none; () takes the first four of `fields`.
    default_fields: ClassVar[Sequence[str]] = ()
    #: What people call one row, or many, in any language, besides the verbose names.
    synonyms: ClassVar[Sequence[str]] = ()
    #: What people call a field or relation: {"population": ("residents", "tao")}.
    field_synonyms: ClassVar[Mapping[str, Sequence[str]]] = {}
    #: Rows of a result at most.
    max_rows: ClassVar[int] = 100
    #: Seconds that the database may work on one query.
    max_seconds: ClassVar[float] = 2.0
    #: Groups of fewer rows are left out of breakdowns; 0 shows all.
    min_group_size: ClassVar[int] = 0

    def visible_to(self, queryset: models.QuerySet[Any], user: Any) -> models.QuerySet[Any]:
        """Return the rows of a queryset that a user may be told about; has no default.

        Raises:
            ConfigurationError: The declaration does not say; nothing can be asked.
        """
        raise ConfigurationError(
            f"The chat declaration of {self.label} does not define visible_to().",
            hint="Return the rows the user may see; 'return queryset' makes all rows public.",
            check_id="E009",
        )

    @property
    def label(self) -> str:
        """Return "app.Model", the name that plans use."""
        meta = self.model._meta
        return f"{meta.app_label}.{meta.object_name}"
