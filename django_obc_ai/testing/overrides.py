"""Replacing what costs money, for the length of a test."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from django.conf import settings
from django.core.cache import caches
from django.test.utils import TestContextDecorator, override_settings

from django_obc_ai.backends.providers import BaseProvider, providers
from django_obc_ai.backends.vector_stores import vector_stores
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.gateway import pauses
from django_obc_ai.indexes import get_index, get_indexes
from django_obc_ai.logs.event import forget_limits
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.testing.provider import ScriptedProvider
from django_obc_ai.types import ReplicaState

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PROVIDER = "django_obc_ai.testing.provider.ScriptedProvider"
_CACHE_BACKEND = "django.core.cache.backends.locmem.LocMemCache"


class override_ai(TestContextDecorator):  # noqa: N801 - named like override_settings
    """Run a test with scripted answers, fresh memory stores and a fresh cache.

    A context manager, a decorator of functions, coroutines and ``TestCase`` classes, and through
    ``django_obc_ai.testing.plugin`` a pytest fixture. Embedder and indexes stay the
    project's own; vector store, cost store and coordinator live in memory for this test only, and
    neither rate limits nor fallbacks are in force, unless the test sets them. What is submitted to
    the background is answered at once.

    Args:
        script: What the provider answers, in order; see `ScriptedProvider`. Without a
            script it is the offline provider that answers.
        **settings: Further keys of ``OBC_AI`` for this test.

    Attributes:
        provider: The `ScriptedProvider`, with its ``requests``; None without a script.
    """

    def __init__(self, script: Sequence[Any] | None = None, **settings: Any) -> None:
        """Note what to override; nothing changes before the block is entered."""
        super().__init__()
        self._script = script
        self._settings = settings
        self._override: override_settings | None = None
        self._ended_with: BaseProvider | None = None

    def enable(self) -> Self:
        """Override the settings and start with empty stores."""
        self._ended_with = None
        forget_limits()  # a test that looks at logs finds what another has logged before
        cache = f"obc-ai-test-{uuid.uuid4()}"
        families = {
            "PROVIDERS": "django_obc_ai.backends.providers.offline.OfflineProvider",
            "VECTOR_STORES": "django_obc_ai.backends.vector_stores.numpy.NumpyVectorStore",
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
        cache_settings = {**project.get("CACHE", {}), "alias": cache}
        self._override = override_settings(
            OBC_AI={**project, **overridden, "CACHE": cache_settings, **self._settings},
            CACHES={**settings.CACHES, cache: {"BACKEND": _CACHE_BACKEND, "LOCATION": cache}},
        )
        self._override.enable()
        pauses.forget()  # those of another test
        self._cache = cache
        return self

    def disable(self) -> None:
        """Put the project's settings back."""
        assert self._override is not None
        with suppress(ConfigurationError):  # the test's own settings may be broken on purpose
            self._ended_with = providers["default"]
        caches[self._cache].clear()
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


def index_now(*names: str) -> None:
    """Bring indexes up to date in the test's own transaction; all of them by default.

    A ``TestCase`` never commits, so saves do not wake the indexer.
    """
    for name in names or [index.name for index in get_indexes()]:
        IndexingService().index(name)


def load_vectors(index: str, ids: Sequence[int], vectors: NDArray[np.float32]) -> None:
    """Fill the vector store of an index directly, for tests and benchmarks of stores.

    Args:
        index: Name of a registered index, or any other text for the default store.
        ids: n distinct chunk ids.
        vectors: (n, d) float32, rows L2-normalised.
    """
    import numpy as np

    names = [each.name for each in get_indexes()]
    alias = get_index(index).vector_store if index in names else "default"
    vector_stores[alias].reset(
        index,
        dimension=vectors.shape[1],
        batches=[(np.asarray(ids, dtype=np.int64), np.asarray(vectors, dtype=np.float32))],
        state=ReplicaState(
            index_uuid=uuid.uuid4(), generation=uuid.uuid4(), version=1, stamp="loaded"
        ),
    )
