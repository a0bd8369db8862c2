"""Any sentence encoder that was exported to ONNX: the fast way with a model of your own."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from django.core.checks import CheckMessage

from django_obc_ai.backends.embedders._batches import clean, embed_in_batches
from django_obc_ai.backends.embedders.base import BaseEmbedder, check_similarity
from django_obc_ai.backends.providers._network import PerProcess
from django_obc_ai.exceptions import BadResponseError, ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODEL, TOKENIZER = "model.onnx", "tokenizer.json"
POOLINGS = ("mean", "cls", "model")
_BATCH_SIZE = 32
_INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class OnnxEmbedder(BaseEmbedder):
    """A sentence encoder in a folder with `model.onnx` and `tokenizer.json`.

    Runs on onnxruntime and tokenizers. The number of components is the model's own. A model
    that quantizes its activations while it runs sees each text alone, since the other texts
    of a batch would change its vector.
    """

    extra: ClassVar[str] = "onnx"
    sdk_module: ClassVar[str] = "onnxruntime"

    def __init__(
        self,
        *,
        path: str | Path = "",
        pooling: str = "mean",
        query_prefix: str = "",
        document_prefix: str = "",
        max_tokens: int = 256,
        minimum_similarity: float = -1.0,
        threads: int = 0,
        sha256: str = "",
    ) -> None:
        """Check the options; the folder is read at the first use, once per process.

        Args:
            path: The folder.
            pooling: "mean" of the tokens' vectors or "cls", the first one's, as the model
                was trained; "model" takes the vector of an output that is pooled already.
            query_prefix: Put before queries, for models that ask for it ("query: ").
            document_prefix: Put before documents ("passage: ").
            max_tokens: A longer text is cut. Take what the model was trained for.
            minimum_similarity: Results below it are noise, in [-1, 1]; measure it.
            threads: Threads of one call; 0 leaves that to onnxruntime, which takes all cores.
            sha256: Of `model.onnx`, in hexadecimal; another file is then refused.

        Raises:
            ValueError: An option is missing or out of its range.
        """
        if not str(path):
            raise ValueError("path is empty; name the folder of the model")
        if pooling not in POOLINGS:
            raise ValueError(f"pooling takes of these only: {', '.join(POOLINGS)}")
        if max_tokens < 1 or threads < 0:
            raise ValueError("max_tokens must be at least 1 and threads at least 0")
        self._folder = Path(path)
        self._pooling = pooling
        self._query_prefix = query_prefix
        self._document_prefix = document_prefix
        self._max_tokens = max_tokens
        self._threads = threads
        self._sha256 = sha256.lower()
        self.minimum_similarity = check_similarity(minimum_similarity)
        self._identity = ""
        self._encoders = PerProcess(self._load)
        self._tokenizers = PerProcess(self._load_tokenizer)

    @classmethod
    def is_installed(cls) -> bool:
        """See `BaseBackend.is_installed`; tokenizers is needed, too."""
        return super().is_installed() and find_spec("tokenizers") is not None

    @property
    def identity(self) -> str:
        """See `BaseEmbedder.identity`. Made of the files' contents, which are read once.

        Raises:
            ConfigurationError: The folder lacks a file, or `sha256` names another one.
        """
        if not self._identity:
            whole = hashlib.sha256(self._model_digest().encode())
            whole.update(self._digest_of(TOKENIZER).encode())
            for part in (self._pooling, self._query_prefix, self._document_prefix):
                whole.update(b"\x00" + part.encode())
            self._identity = f"onnx/{whole.hexdigest()[:32]}/{self._max_tokens}"
        return self._identity

    @property
    def dimension(self) -> int:
        """See `BaseEmbedder.dimension`. Loads the model."""
        return self._encoders.get().dimension

    def embed_documents(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[np.float32]:
        """See `BaseEmbedder.embed_documents`. A text is cut at `max_tokens`."""
        return self._embed(texts, self._document_prefix)

    def embed_queries(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[np.float32]:
        """See `BaseEmbedder.embed_queries`. A query is cut at `max_tokens`."""
        return self._embed(texts, self._query_prefix)

    def check(self, setting: str) -> list[CheckMessage]:
        """See `BaseBackend.check`: the folder must hold both files."""
        missing = [name for name in (MODEL, TOKENIZER) if not (self._folder / name).is_file()]
        if missing:
            raise ConfigurationError(
                f"The folder of {setting}['OPTIONS']['path'] lacks {' and '.join(missing)}.",
                hint="Export the encoder to ONNX, with its tokenizer.json beside it.",
                check_id="E004",
            )
        return []

    @property
    def max_tokens(self) -> int:
        """See `BaseEmbedder.max_tokens`: the option less what is put around a document."""
        return max(1, self._max_tokens - self._tokenizers.get().count(self._document_prefix))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See `BaseEmbedder.count_tokens`. Asks tokenizer.json; the model is not loaded."""
        tokenizer, prefix = self._tokenizers.get(), self._document_prefix
        added = tokenizer.count(prefix)
        return [max(0, tokenizer.count(prefix + clean(text)) - added) for text in texts]

    def close(self) -> None:
        """Let go of this process's model."""
        self._encoders.pop()
        self._tokenizers.pop()

    def _embed(self, texts: Sequence[str], prefix: str) -> NDArray[np.float32]:
        cleaned = [clean(text) for text in texts]
        if not any(text.strip() for text in cleaned):
            return np.zeros((len(texts), self.dimension), dtype=np.float32)
        encoder = self._encoders.get()
        return embed_in_batches(
            cleaned,
            lambda batch: encoder.embed([prefix + text for text in batch]),
            dimension=encoder.dimension,
            batch_size=1 if encoder.is_alone else _BATCH_SIZE,
            by_length=True,
        )

    def _digest_of(self, name: str) -> str:
        try:
            with (self._folder / name).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ConfigurationError(
                f"OnnxEmbedder cannot read {name} in the folder of its option 'path'.",
                hint="Export the encoder to ONNX, with its tokenizer.json beside it.",
                check_id="E004",
            ) from error

    def _model_digest(self) -> str:
        """Hash the model, and weights that lie beside it because the model is large."""
        digest = self._digest_of(MODEL)
        if self._sha256 and digest != self._sha256:
            raise ConfigurationError(
                f"{MODEL} in the folder of OnnxEmbedder has the SHA-256 {digest}, which is not"
                " the one that its option 'sha256' names.",
                hint="Fetch the model again, or name its hash if the change is meant.",
                check_id="E004",
            )
        beside = sorted(each.name for each in self._folder.glob(f"{MODEL}?*"))
        return ":".join([digest, *map(self._digest_of, beside)])

    def _load(self) -> _Encoder:
        _ = self.identity  # reads both files, and compares the hash before anything is run
        runtime = self.import_sdk()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 3
        path = self._folder / MODEL
        try:
            session = runtime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has one class for each status
            raise _unloadable(error) from error
        tokenizer = self._tokenizers.get()
        return _Encoder(session, tokenizer, self._pooling, is_alone=_quantizes_while_running(path))

    def _load_tokenizer(self) -> _Tokenizer:
        tokenizers = self.import_sdk("tokenizers")
        _ = self.identity  # names a file that is missing
        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(self._folder / TOKENIZER))
        except Exception as error:  # the library raises Exception itself
            raise _unloadable(error) from error
        tokenizer.no_padding()
        tokenizer.enable_truncation(self._max_tokens)
        return _Tokenizer(tokenizer)


class _Tokenizer:
    """A loaded tokenizer that cuts; may be used by many threads at once."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._marks: int = tokenizer.num_special_tokens_to_add(False)

    def ids(self, text: str) -> list[int]:
        """Return the tokens of a text with the marks around them, cut at the most it takes."""
        found: list[int] = self._tokenizer.encode(text).ids
        return found

    def count(self, text: str) -> int:
        """Return how many tokens a text has before it is cut, with the marks around it."""
        found = self._tokenizer.encode(text)
        # What was cut off comes in windows, each with marks of its own.
        rest = sum(len(each.ids) - self._marks for each in found.overflowing)
        return len(found.ids) + rest


class _Encoder:
    """A loaded model with its tokenizer; both may be used by many threads at once."""

    def __init__(
        self, session: Any, tokenizer: _Tokenizer, pooling: str, *, is_alone: bool
    ) -> None:
        """Find the inputs and the output to use.

        Raises:
            ConfigurationError: The model is no sentence encoder of a known form.
        """
        self.is_alone = is_alone
        self._session = session
        self._tokenizer = tokenizer
        self._is_cls = pooling == "cls"
        self._types = {each.name: _INTEGERS.get(each.type) for each in session.get_inputs()}
        self._is_pooled = pooling == "model"
        rank = 2 if self._is_pooled else 3
        fitting = [each for each in session.get_outputs() if len(each.shape) == rank]
        unknown = [name for name, kind in self._types.items() if name not in _INPUTS or not kind]
        if unknown or not fitting:
            what = f"asks for {', '.join(unknown)}" if unknown else f"has no output of rank {rank}"
            raise ConfigurationError(
                f"The model of OnnxEmbedder {what}.",
                hint=f"Export one with the inputs {', '.join(_INPUTS)} of whole numbers, and"
                " last_hidden_state, or with pooling='model' one vector per text.",
                check_id="E004",
            )
        self._output = fitting[0].name
        size = fitting[0].shape[-1]
        self.dimension = size if isinstance(size, int) else int(self.embed(["text"]).shape[1])

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Return (n, d) float32, not normalised yet."""
        # One by one: a batch would start threads of Rust's, which no fork survives.
        ids = [self._tokenizer.ids(text) for text in texts]
        width = max(1, *map(len, ids))
        tokens = np.zeros((len(ids), width), dtype=np.int64)
        mask = np.zeros_like(tokens)
        for row, found in enumerate(ids):
            tokens[row, : len(found)] = found
            mask[row, : len(found)] = 1
        values = (tokens, mask, np.zeros_like(tokens))
        feed = {
            name: value.astype(self._types[name])
            for name, value in zip(_INPUTS, values, strict=True)
            if name in self._types
        }
        try:
            (output,) = self._session.run([self._output], feed)
        except Exception as error:  # onnxruntime has one class for each status
            failure = BadResponseError(
                f"The model of OnnxEmbedder failed with {type(error).__name__}."
            )
            failure.retryable = False
            raise failure from error
        found_: NDArray[np.float32] = np.asarray(output, dtype=np.float32)
        if self._is_pooled:
            return found_
        if self._is_cls:
            return found_[:, 0]
        weights = mask[:, :, None].astype(np.float32)
        pooled: NDArray[np.float32] = (found_ * weights).sum(axis=1) / weights.sum(axis=1).clip(1)
        return pooled


def _unloadable(error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"OnnxEmbedder cannot load its model or tokenizer: {type(error).__name__}.",
        hint=f"Are {MODEL} and {TOKENIZER} whole, and made for each other?",
        check_id="E004",
    )


def _quantizes_while_running(path: Path) -> bool:
    """Return whether the model has an operator whose result depends on the whole batch."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(b"DynamicQuantize") >= 0
