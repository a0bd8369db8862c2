"""Replacing what costs money, for the length of a test."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from django.conf import settings
from django.core.cache import caches
from django.test.utils import TestContextDecorator, override_settings
from django.utils.module_loading import import_string

from django_obc_ai.backends.providers import BaseProvider, providers
from django_obc_ai.backends.vector_stores import vector_stores
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.gateway import pauses
from django_obc_ai.indexes import get_index, get_indexes
from django_obc_ai.logs.event import forget_limits
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.testing.cassettes import Cassette, CassetteError
from django_obc_ai.testing.provider import ScriptedProvider
from django_obc_ai.types import ReplicaState

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PROVIDER = "django_obc_ai.testing.provider.ScriptedProvider"
_CASSETTE = "django_obc_ai.testing.cassette_provider.CassetteProvider"
_CACHE_BACKEND = "django.core.cache.backends.locmem.LocMemCache"


class override_ai(TestContextDecorator):  # noqa: N801 - named like override_settings
    """Run a test with scripted answers, fresh memory stores and a fresh cache.

    A context manager, a decorator of functions, coroutines and ``TestCase`` classes, and through
    ``django_obc_ai.testing.plugin`` a pytest fixture. Embedder and indexes stay the
    project's own; vector store, lexical store, cost store and coordinator live in memory for this
    test only, and neither rate limits nor fallbacks are in force, unless the test sets them. What
    is submitted to the background is answered at once.

    Args:
        script: What the provider answers, in order; see `ScriptedProvider`. Without a
            script it is the offline provider that answers.
        cassette: In place of a script, a `Cassette` or the path of one: recorded answers of the
            project's own providers, or of those in ``PROVIDERS``.
        **settings: Further keys of ``OBC_AI`` for this test.

    Attributes:
        provider: The `ScriptedProvider`, with its ``requests``; None without a script.
    """

    def __init__(
        self,
        script: Sequence[Any] | None = None,
        *,
        cassette: Cassette | str | os.PathLike[str] | None = None,
        **settings: Any,
    ) -> None:
        """Note what to override; nothing changes before the block is entered.

        Raises:
            ValueError: There are a script and a cassette.
        """
        super().__init__()
        if script is not None and cassette is not None:
            raise ValueError("override_ai takes a script or a cassette, not both.")
        self._script = script
        if isinstance(cassette, (str, os.PathLike)):
            cassette = Cassette(cassette)
        self._cassette = cassette
        self._settings = settings
        self._override: override_settings | None = None
        self._ended_with: BaseProvider | None = None

    def enable(self) -> Self:
        """Override the settings and start with empty stores.

        Raises:
            CassetteError: The cassette cannot be read, or there is no provider to record.
        """
        self._ended_with = None
        forget_limits()  # a test that looks at logs finds what another has logged before
        cache = f"obc-ai-test-{uuid.uuid4()}"
        families = {
            "PROVIDERS": "django_obc_ai.backends.providers.offline.OfflineProvider",
            "VECTOR_STORES": "django_obc_ai.backends.vector_stores.numpy.NumpyVectorStore",
            "LEXICAL_STORES": "django_obc_ai.backends.lexical_stores.bm25.BM25LexicalStore",
            "COST_STORES": "django_obc_ai.backends.cost_stores.memory.MemoryCostStore",
            "COORDINATORS": "django_obc_ai.backends.coordinators.memory.MemoryCoordinator",
            "TASK_RUNNERS": "django_obc_ai.backends.task_runners.inline.InlineRunner",
        }
        overridden: dict[str, Any] = {
            key: {"default": {"BACKEND": path}} for key, path in families.items()
        }
        overridden |= {"RATE_LIMITS": {"default": None}, "FALLBACKS": {}}
        if self._script is not None:
            overridden["PROVIDERS"]["default"] = {
                "BACKEND": _PROVIDER,
                "OPTIONS": {"script": self._script},
            }
        project = dict(getattr(settings, "OBC_AI", {}))
        named = dict(self._settings)
        if self._cassette is not None:
            self._cassette.start()
            recorded = named.pop("PROVIDERS", None) or project.get("PROVIDERS", {})
            overridden["PROVIDERS"] = _before_each(recorded, self._cassette)
        cache_settings = {**project.get("CACHE", {}), "alias": cache}
        self._override = override_settings(
            OBC_AI={**project, **overridden, "CACHE": cache_settings, **named},
            CACHES={**settings.CACHES, cache: {"BACKEND": _CACHE_BACKEND, "LOCATION": cache}},
        )
        self._override.enable()
        pauses.forget()  # those of another test
        self._cache_alias = cache
        return self

    def disable(self) -> None:
        """Put the project's settings back."""
        assert self._override is not None
        with suppress(ConfigurationError):  # the test's own settings may be broken on purpose
            self._ended_with = providers["default"]
        caches[self._cache_alias].clear()
        self._override.disable()

    @property
    def provider(self) -> ScriptedProvider:
        """Return the scripted provider, after the block too; ``requests`` is what was asked.

        Raises:
            TypeError: There is no script, so another provider answers.
        """
        provider = self._ended_with or providers["default"]
        if not isinstance(provider, ScriptedProvider):
            raise TypeError(f"The provider of this test is {type(provider).__name__}, unscripted.")
        return provider


def _before_each(recorded: Mapping[str, Any], cassette: Cassette) -> dict[str, Any]:
    """Return provider settings with the cassette before each provider that is not offline."""
    found = {}
    for alias, entry in recorded.items():
        is_offline = import_string(entry["BACKEND"]).is_offline
        options = {"cassette": cassette, "alias": alias, "recorded": entry}
        found[alias] = entry if is_offline else {"BACKEND": _CASSETTE, "OPTIONS": options}
    if all(each["BACKEND"] != _CASSETTE for each in found.values()):
        raise CassetteError(
            "OBC_AI['PROVIDERS'] holds no provider that a cassette can record: the offline one is"
            " asked itself. Name one in the settings, whether its key is there or not, or in"
            " override_ai(cassette=…, PROVIDERS=…)."
        )
    return found


def index_now(*names: str) -> None:
    """Bring indexes up to date in the test's own transaction; all of them by default.

    A ``TestCase`` never commits, so saves do not wake the indexer.
    """
    for name in names or [index.name for index in get_indexes()]:
        IndexingService().index(name)


def load_vectors(index: str, ids: Sequence[int], vectors: NDArray[np.float32]) -> None:
    """Fill the vector store of an index directly, for tests and benchmarks of stores.

    A store in the database writes chunks without a text for it, in place of the index's own.

    Args:
        index: Name of a registered index, or any other text for the default store.
        ids: n distinct chunk ids.
        vectors: (n, d) float32, rows L2-normalised.
    """
    import numpy as np

    names = [each.name for each in get_indexes()]
    store = vector_stores["default"]
    if index in names:
        declared = get_index(index)
        store = vector_stores[declared.vector_store].using(declared.database)
    store.reset(
        index,
        dimension=vectors.shape[1],
        batches=[(np.asarray(ids, dtype=np.int64), np.asarray(vectors, dtype=np.float32))],
        state=ReplicaState(
            index_uuid=uuid.uuid4(), generation=uuid.uuid4(), version=1, stamp="loaded"
        ),
    )
