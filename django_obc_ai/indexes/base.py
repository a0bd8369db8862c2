"""The declaration of a search index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import models, router
from django.db.models.constants import LOOKUP_SEP

from django_obc_ai.exceptions import ConfigurationError

if TYPE_CHECKING:
    from django_obc_ai.indexes.chunking import TextSpan


class VectorIndex:
    """Says which rows of a model are searched, by what text, and who may see them.

    Subclass it in an app's ``ai_indexes.py`` and decorate it with `register`::

        @register
        class CommunityIndex(VectorIndex):
            name = "communities"
            model = Community
            fields = ["name", "municipality__name"]

            def visible_to(self, queryset, user):
                return queryset.filter(is_public=True)
    """

    #: Unique short name, used by commands and searches.
    name: ClassVar[str]
    model: ClassVar[type[models.Model]]
    #: Field paths whose values make up the text; alternatively override `get_text`.
    fields: ClassVar[Sequence[str]] = ()
    #: Field paths that searches may filter by, with any lookup Django has.
    filter_fields: ClassVar[Sequence[str]] = ()
    #: Relations whose rows the text or `get_queryset` reads, such as "municipality__province";
    #: saving or deleting such a row, or one on the way to it, re-indexes what depends on it.
    dependencies: ClassVar[Sequence[str]] = ()
    #: Alias in ``OBC_AI["EMBEDDERS"]``.
    embedder: ClassVar[str] = "default"
    #: Alias in ``OBC_AI["VECTOR_STORES"]``.
    vector_store: ClassVar[str] = "default"
    #: Alias in ``OBC_AI["LEXICAL_STORES"]``, for searches by words.
    lexical_store: ClassVar[str] = "default"
    #: What searches go by: "vector", "lexical" (words) or "hybrid" (both); None is the
    #: embedder's own `search_mode`.
    search_mode: ClassVar[str | None] = None
    #: What a rank by words counts in hybrid searches, where one by vectors counts 1; above 0.
    lexical_weight: ClassVar[float] = 1.0
    #: Alias in ``OBC_AI["RERANKERS"]`` that puts the best results in order; None for none.
    reranker: ClassVar[str | None] = None
    #: Change it when `get_text` changes: the index is then rebuilt.
    text_version: ClassVar[str] = "1"
    #: What the text is, for splitting it where it is long: "text"; "markdown"; "code" of any
    #: language that is indented, or "code:python" for one that is parsed (extra `chunking`).
    text_format: ClassVar[str] = "text"
    #: Longer texts are split; tokens as the embedder counts them. Never more than it takes in;
    #: None: what it takes in, up to 400.
    chunk_tokens: ClassVar[int | None] = None
    #: Tokens that a piece repeats of the one before it at most; up to half of a piece.
    chunk_overlap: ClassVar[int] = 0

    #: What recall@10 approximate search must reach on measurement, above 0 and at most 1.
    minimum_recall: ClassVar[float] = 0.95

    def get_queryset(self) -> models.QuerySet[Any]:
        """Return the rows that belong into the index, all of them by default.

        Add ``select_related`` for what `get_text` follows. The base manager would see
        soft-deleted rows; the default manager is what the project means by "all".
        """
        return self.model._default_manager.all()

    def get_text(self, instance: Any) -> str:
        """Return the text that an object is found by; "" keeps it out of the results."""
        values = (_value_at(instance, path) for path in self.fields)
        return ", ".join(text for value in values if (text := str(value).strip()))

    def visible_to(self, queryset: models.QuerySet[Any], user: Any) -> models.QuerySet[Any]:
        """Return the rows of a queryset that a user may see; has no default.

        Args:
            queryset: Rows of the model.
            user: A user, an AnonymousUser or None.

        Raises:
            ConfigurationError: The index does not say; it cannot be searched.
        """
        raise ConfigurationError(
            f"The index {self.name!r} does not define visible_to().",
            hint="Return the rows the user may see; 'return queryset' makes all rows public.",
            check_id="E009",
        )

    def recall_queries(self) -> Sequence[str]:
        """Return search texts that are typical, for measuring the recall of approximate search.

        Those that people have typed, best of all. Without any, queries are made of the index's
        own chunks; see `services.recall.measure_recall`.
        """
        return ()

    @property
    def database(self) -> str:
        """Return the alias that holds the model and its index tables."""
        return router.db_for_write(self.model)

    @property
    def text_identity(self) -> str:
        """Return a text that changes when the same row would get another text."""
        from django_obc_ai.indexes import splitting

        parts = [list(self.fields), self.text_version, *splitting.identity_of(self)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def split(self, text: str) -> list[TextSpan]:
        """Return the chunks of an object's text, in order; [] if it is blank.

        Raises:
            ConfigurationError: The embedder cannot count tokens, or a package that
                `text_format` needs is missing.
        """
        from django_obc_ai.indexes import splitting

        return splitting.split(self, text)

    def is_fed_by(self, model: type[models.Model]) -> bool:
        """Return whether rows of a model may be rows of the index.

        So are those of its proxies, of its children, and of the parents whose columns
        its own rows have.
        """
        mine = self.model._meta.concrete_model or self.model
        other = model._meta.concrete_model or model
        return issubclass(other, mine) or issubclass(mine, other)

    def key_of(self, instance: models.Model) -> str:
        """Return an object's primary key as text."""
        return self.key_of_pk(instance.pk)

    def key_of_pk(self, pk: Any) -> str:
        """Return a primary key of any type as text, in the one form its field gives it."""
        field: Any = self.model._meta.pk
        # The field reads the value off an object; this one runs no __init__ of the project's.
        bare = SimpleNamespace(**{field.attname: field.to_python(pk)})
        text: str = field.value_to_string(bare)
        return text

    def pk_of(self, key: str) -> Any:
        """Return the primary key of a text made by `key_of`; None if it is none."""
        try:
            pk = self.model._meta.pk.to_python(key)
        except (ValidationError, ValueError, TypeError):
            return None
        return tuple(pk) if isinstance(pk, list) else pk  # a composite key comes as a list


def _value_at(instance: Any, path: str) -> Any:
    value = instance
    for name in path.split(LOOKUP_SEP):
        # A field with choices says what people read, not what the column holds.
        name = f"get_{name}_display" if hasattr(value, f"get_{name}_display") else name
        try:
            value = getattr(value, name)
            value = value() if callable(value) else value
        except ObjectDoesNotExist:  # an empty reverse one-to-one
            return ""
        if value is None:
            return ""
    return value
